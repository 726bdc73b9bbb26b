"""Label Studio: tasks with predictions to correct, and the labeling configuration they need.

Source: the documentation of pre-annotations and of the tags Video, TimelineLabels, Taxonomy and Filter. A task is
``{"data": {"video": address, …}, "predictions": [{"model_version", "score", "result": […]}]}``; a result of
TimelineLabels has ``{"ranges": [{"start", "end"}], "timelinelabels": [label]}`` with frames from one, both ends
included, numbered by the ``frameRate`` of the Video tag; one of Taxonomy ``{"taxonomy": [path, …]}``.

Of the labels only the deepest are given: the rest follows, and a person who corrects one has one to change. The rate
stands in every task as ``fps``, which the importer reads: what comes back is in seconds again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from xml.sax.saxutils import quoteattr

from fal_model.taxonomy import Node
from pipelines import storage
from pipelines.exporters.about import About, Row, Write
from pipelines.exporters.media import media_address
from pipelines.exporters.text import Items, json_text
from pipelines.exporters.video import Segment, Video

TASKS, CONFIG = "tasks.json", "labeling_config.xml"
VIDEO, SEGMENTS, LABELS = "video", "segments", "labels"
"""Names of the tags."""


@contextmanager
def writing(folder: str, about: About) -> Iterator[Write]:
    """Write ``tasks.json`` and ``labeling_config.xml``; a video that failed is a task without predictions."""
    storage.write_bytes(storage.join(folder, CONFIG), labeling_config(about).encode())
    with storage.writing(storage.join(folder, TASKS)) as file:
        tasks = Items(file, "[")
        yield lambda video: tasks.add(json_text(task(video, about)))
        tasks.end("]\n")


def task(video: Video, about: About) -> Row:
    """Return the task of one video."""
    failure = video.failure
    data: Row = {
        VIDEO: media_address(video, about.config),
        "video_id": video.video_id,
        "uri": video.uri,
        "fps": about.config.frame_rate_fps,
        "duration_s": video.duration_s,
        "split": video.split,
        "is_abstained": video.is_abstained,
        "failure": None if failure is None else f"{failure.kind}: {failure.message}",
    }
    if failure is not None:
        return {"data": data}
    results = [_timeline(i, segment, about) for i, segment in enumerate(video.segments)]
    if video.labels:
        paths = [list(found.path) for found in video.deepest]
        results.append(_result("labels", LABELS, "taxonomy", {"taxonomy": paths}))
    prediction = {"model_version": about.model_id, "score": video.top_score or 0.0, "result": results}
    return {"data": data, "predictions": [prediction]}


def _timeline(index: int, segment: Segment, about: About) -> Row:
    first, last = frames_of(segment, about.config.frame_rate_fps)
    value = {"ranges": [{"start": first, "end": last}], "timelinelabels": [segment.label]}
    return _result(f"segment-{index}", SEGMENTS, "timelinelabels", value) | {"score": segment.score}


def _result(result_id: str, tag: str, kind: str, value: Row) -> Row:
    return {"id": result_id, "from_name": tag, "to_name": VIDEO, "type": kind, "value": value}


def frames_of(segment: Segment, rate_fps: float) -> tuple[int, int]:
    """Return the first and the last frame of a segment, from one: its borders to the nearest frame."""
    first = max(1, round(segment.start_s * rate_fps) + 1)
    return first, max(first, round(segment.end_s * rate_fps))


def labeling_config(about: About) -> str:
    """Return the labeling configuration: segments on a timeline of the lowest classes, the whole tree for the video."""
    parents = {node.parent for node in about.nodes}
    lines = [
        "<View>",
        f'  <Filter name="find" toName="{SEGMENTS}" minlength="0" placeholder="find a class"/>',
        f'  <TimelineLabels name="{SEGMENTS}" toName="{VIDEO}">',
        *(f"    <Label {_names(node)}/>" for node in about.nodes if node.id not in parents),
        "  </TimelineLabels>",
        f'  <Video name="{VIDEO}" value="${VIDEO}" frameRate="{about.config.frame_rate_fps:g}"/>',
        f'  <Taxonomy name="{LABELS}" toName="{VIDEO}" showFullPath="true" pathSeparator=" › ">',
        *_choices(about.nodes),
        "  </Taxonomy>",
        "</View>",
    ]
    return "\n".join(lines) + "\n"


def _choices(nodes: tuple[Node, ...]) -> Iterator[str]:
    """Write the tree, however deep it is."""
    children: dict[str | None, list[Node]] = {}
    for found in nodes:
        children.setdefault(found.parent, []).append(found)
    todo: list[tuple[int, str, Node | None]] = [(0, "", node) for node in reversed(children.get(None, []))]
    while todo:
        depth, closing, node = todo.pop()
        indent = "    " + "  " * depth
        if node is None:
            yield indent + closing
        elif node.id not in children:
            yield f"{indent}<Choice {_names(node)}/>"
        else:
            yield f"{indent}<Choice {_names(node)}>"
            todo.append((depth, "</Choice>", None))
            todo += [(depth + 1, "", child) for child in reversed(children[node.id])]


def _names(node: Node) -> str:
    """Return the attributes of a class: ids are what comes back, so they are shown, and the name beside."""
    hint = f" hint={quoteattr(node.name)}" if node.name != node.id else ""
    return f"value={quoteattr(node.id)}{hint}"
