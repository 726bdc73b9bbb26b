"""ActivityNet JSON, and what is written like it: HACS Segments, THUMOS-14 as others converted it, one's own.

Source: ``activity_net.v1-3.min.json``: ``{"version", "taxonomy": [{"nodeId", "nodeName", "parentId", "parentName"}],
"database": {"<youtube id>": {"subset", "duration", "url", "resolution", "annotations": [{"label", "segment": [start,
end]}]}}}``, times in seconds, videos named ``v_<youtube id>`` with any suffix, annotations of the subset ``testing``
withheld. What FAL exports also has ``labels``, ``[{"label"}]``, of the whole video. ``HACS_segments_v1.1.json`` has
durations as text and no taxonomy; the THUMOS-14 JSON that the detection toolboxes share has subsets ``Validation`` and
``Test`` and further fields, which are not read. The JSON files of Kinetics hold one annotation instead of a list and
no ``database`` around it: they are read too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fal_model.errors import TaxonomyError
from fal_model.taxonomy import Node, Taxonomy
from pipelines.importers.annotations import (
    Entry,
    FormatError,
    Kind,
    Parsed,
    RawSegment,
    TextFile,
    is_text,
    split_named,
    tails,
)
from pipelines.importers.reading import json_of

ROOT = "Root"


def parse(files: Sequence[TextFile], *, group_field: str = "") -> Parsed:
    """Read one or more JSON files.

    Args:
        files: The files.
        group_field: Field of a video that names its group, as ``subject``; empty takes none.

    Raises:
        FormatError: a file that is not JSON, or has no videos.
    """
    parsed = Parsed()
    for file in files:
        data, repeated = json_of(file)
        for key in repeated:
            parsed.note(file.name, Kind.DUPLICATE_ROW, f"{key!r} is there twice in one object; the last one counts")
        database, prefix = _database(file, data)
        for video_id, video in database.items():
            _video(parsed, f"{file.name}, {prefix}{video_id}", video_id, video, group_field)
        _tree(parsed, f"{file.name}, taxonomy", data.get("taxonomy"))
    return parsed


def _database(file: TextFile, data: Any) -> tuple[dict[str, Any], str]:
    if isinstance(data, dict) and isinstance(data.get("database"), dict):
        return data["database"], "database."
    if isinstance(data, dict) and data and all(isinstance(v, dict) for v in data.values()):
        if any("annotations" in v for v in data.values()):
            return data, ""
        if any("sentences" in s for v in data.values() for s in (v, *v.values()) if isinstance(s, dict)):
            hint = "this is ActivityNet Captions: --format activitynet-captions"
            raise FormatError([f"{file.name}: sentences, no 'database' of labels; {hint}"])
    raise FormatError([f"{file.name}: no object 'database' with videos"])


def _video(parsed: Parsed, place: str, video_id: str, video: Any, group_field: str) -> None:
    if not isinstance(video, dict) or not is_text(video_id):
        parsed.leave_out(place, Kind.BAD_ROW, f"expected an object with annotations, got {video!r}")
        return
    given = video.get("annotations")
    annotations = [given] if isinstance(given, dict) else given or []
    if not isinstance(annotations, list):
        parsed.leave_out(place, Kind.BAD_ROW, f"annotations: expected a list, got {given!r}")
        return
    whole, _ = _annotations(parsed, f"{place}.labels", _without_times(video.get("labels")))
    labels, segments = _annotations(parsed, f"{place}.annotations", annotations)
    labels = tuple(dict.fromkeys((*whole, *labels)))
    split = video.get("subset")
    is_withheld = not labels and not annotations and split_named(str(split)) == "test"
    group = video.get(group_field) if group_field else None
    path = video.get("path")
    parsed.entries.append(
        Entry(
            place,
            names=(*(tails(path) if isinstance(path, str) and is_text(path) else ()), f"v_{video_id}", video_id),
            cut_names=(),
            labels=None if is_withheld else labels,
            segments=segments or None,
            split=None if split is None else str(split),
            duration=video.get("duration"),
            group=str(group) if is_text(str(group)) and group is not None else None,
        )
    )


def _without_times(labels: Any) -> list[Any]:
    """Return the labels of the whole video that FAL's export has, as annotations that say nothing of times."""
    given = labels if isinstance(labels, list) else []
    return [{"label": found.get("label")} if isinstance(found, dict) else found for found in given]


def _annotations(
    parsed: Parsed, place: str, annotations: Sequence[Any]
) -> tuple[tuple[str, ...], tuple[RawSegment, ...]]:
    labels: dict[str, None] = {}
    segments: list[RawSegment] = []
    for number, annotation in enumerate(annotations):
        at = f"{place}[{number}]"
        label = annotation.get("label") if isinstance(annotation, dict) else None
        if not isinstance(label, str) or not is_text(label):
            parsed.note(at, Kind.NOT_A_CLASS, f"no label, got {annotation!r}")
            continue
        labels[label] = None
        times = annotation.get("segment")
        if times is None:
            continue
        match times:
            case [start, end]:
                segments.append(RawSegment(label, start, end, at))
            case _:
                segments.append(RawSegment(label, times, None, at))
    return tuple(labels), tuple(segments)


def _tree(parsed: Parsed, place: str, given: Any) -> None:
    """Take the taxonomy block as the classes, if it is a tree and not another one than before."""
    if not given:
        return
    try:
        tree = _nodes(given)
    except (TypeError, KeyError, AttributeError, TaxonomyError) as error:
        parsed.note(place, Kind.BROKEN_TREE, f"not used: not a tree ({type(error).__name__}: {error})")
        return
    if parsed.classes not in ([], tree):
        parsed.note(place, Kind.BROKEN_TREE, "not used: another tree than that of a file before")
        return
    parsed.classes = tree


def _nodes(given: Any) -> list[Node]:
    """Make nodes; ids are names, as in labels; the root, which says nothing, is left out."""
    by_id = {n["nodeId"]: (n["nodeName"], n.get("parentId")) for n in given}
    names = [name for name, _ in by_id.values()]
    if not all(map(is_text, names)):
        raise TaxonomyError(["a node without a name"])
    roots = [i for i, (_, parent) in by_id.items() if parent is None or parent not in by_id]
    dropped = {i for i in roots if by_id[i][0] == ROOT}
    inner = {parent for _, parent in by_id.values()}
    ids = {i: f"{n} ({i})" if names.count(n) > 1 and i in inner else n for i, (n, _) in by_id.items()}
    nodes = [
        Node(ids[i], name, None if parent in dropped or i in roots else ids[parent])
        for i, (name, parent) in by_id.items()
        if i not in dropped
    ]
    return list(Taxonomy(nodes).nodes)
