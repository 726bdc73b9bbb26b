"""Label Studio: JSON and JSON-MIN exports of video projects.

Source: the documentation of the tags Video, TimelineLabels, VideoRectangle, Choices and Taxonomy and the converter of
HumanSignal/label-studio-sdk. A full export is a list of tasks, ``{"id", "data": {"video":
"/data/upload/1/1a2b3c4d-x.mp4"}, "annotations": [{"was_cancelled", "ground_truth", "result": [{"type", "value"}]}]}``.
JSON-MIN is a list with one object per annotation: the task's data, then ``id``, then the values of each control tag
under its name, then ``annotator`` and so on.

Values: ``{"ranges": [{"start": 3, "end": 5}], "timelinelabels": ["Moving"]}``: frames, from one, both ends included;
``{"framesCount", "duration", "sequence": [{"frame", "enabled", "time"}], "labels"}`` of a VideoRectangle: a box is
there from a key frame that is enabled up to the next that is not; ``{"choices": [...]}``; ``{"taxonomy": [["Sport",
"Running"]]}``, paths whose last part is the class, in JSON-MIN the paths alone; ``{"start", "end", "labels"}`` in
seconds, of videos that are labelled through their sound.

Frames are not those of the file: the editor numbers them by the ``frameRate`` of the project's Video tag, 24 unless it
is given. The export holds that rate only indirectly (``framesCount / duration`` of a VideoRectangle) or as a field of
the task (``fps``). Where neither is there and the user does not say it, a segment cannot be put into seconds: its label
stays, without times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pipelines.importers.annotations import (
    Entry,
    FormatError,
    Kind,
    Parsed,
    RawSegment,
    TextFile,
    is_text,
    tails,
)
from pipelines.importers.matching import is_video
from pipelines.importers.reading import json_of, number_in

RATE_FIELDS = ("fps", "frame_rate", "framerate", "frameRate")
LABEL_FIELDS = ("timelinelabels", "labels", "choices", "videorectanglelabels")
AFTER_RESULTS = ("annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement")
HASH_CHARS = 8


def parse(files: Sequence[TextFile], *, frame_rate_fps: float = 0.0, choice_field: str = "") -> Parsed:
    """Read one or more exports.

    Args:
        files: The files.
        frame_rate_fps: ``frameRate`` of the Video tag, for tasks that do not tell it; 0 means unknown.
        choice_field: JSON-MIN: name of the Choices tag whose plain texts are classes.

    Raises:
        FormatError: a file that is not such an export.
    """
    parsed = Parsed()
    for file in files:
        data, _ = json_of(file)
        tasks = [data] if isinstance(data, dict) else data
        if not isinstance(tasks, list):
            raise FormatError([f"{file.name}: expected a list of tasks, got {type(data).__name__}"])
        for number, task in enumerate(tasks):
            _task(parsed, f"{file.name}, [{number}]", task, frame_rate_fps, choice_field)
    return parsed


def _task(parsed: Parsed, place: str, task: Any, frame_rate_fps: float, choice_field: str) -> None:
    if not isinstance(task, dict):
        parsed.leave_out(place, Kind.BAD_ROW, f"expected a task, got {task!r}")
        return
    is_full = isinstance(task.get("data"), dict)
    data: Mapping[str, Any] = task["data"] if is_full else task
    names = _names(data) or _names({"file_upload": task.get("file_upload")})
    if not names:
        parsed.leave_out(place, Kind.BAD_ROW, "no field of the task's data names a video")
        return
    values = list(_full_values(parsed, place, task) if is_full else _min_values(parsed, place, task, choice_field))
    duration_s, rate_fps = _clock(data, [v for _, v in values], frame_rate_fps)
    labels: dict[str, None] = {}
    segments: list[RawSegment] = []
    for at, value in values:
        classes = _classes(value)
        labels |= dict.fromkeys(classes)
        for start, end, unusable in _times(value, rate_fps):
            segments += [RawSegment(label, start, end, at, unusable) for label in classes]
    is_judged = _is_judged(task) if is_full else bool(values) or task.get("annotation_id") is not None
    if not is_judged:
        parsed.note(place, Kind.NO_TRUTH, f"{names[0]}: nobody has annotated it, or all skipped it")
    entry = Entry(
        place,
        names=names,
        labels=tuple(labels) if is_judged else None,
        segments=tuple(segments) or None,
        duration=duration_s,
    )
    parsed.entries.append(entry)


def _names(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the first field that names a video, ``video`` before others."""
    for key in sorted(data, key=lambda k: k != "video"):
        value = data[key]
        names = _names_in(value) if isinstance(value, str) and is_text(value) else ()
        if names and (key == "video" or is_video(names[0])):
            return names
    return ()


def _names_in(address: str) -> tuple[str, ...]:
    """Return what a video may be called that the export has under an address of Label Studio, S3 or the web."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ()
    local = parse_qs(parts.query).get("d", [""])[0]
    path = local or unquote(parts.path)
    names = [*tails(path), *(tails(address) if is_video(address) else ())]
    hashed, _, name = path.rpartition("/")[2].partition("-")
    if name and len(hashed) == HASH_CHARS and all(c in "0123456789abcdef" for c in hashed):
        names.append(name)  # uploads get a prefix of eight digits
    return tuple(dict.fromkeys(names))


def _is_judged(task: Mapping[str, Any]) -> bool:
    return any(not a.get("was_cancelled") for a in _annotations(task))


def _annotations(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    given = task.get("annotations", task.get("completions"))
    return [a for a in given if isinstance(a, dict)] if isinstance(given, list) else []


def _full_values(parsed: Parsed, place: str, task: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the values of the annotations that count: of the ground truth alone, where one is marked as such."""
    counting = [(i, a) for i, a in enumerate(_annotations(task)) if not a.get("was_cancelled")]
    truth = [(i, a) for i, a in counting if a.get("ground_truth")]
    for i, annotation in truth or counting:
        results = annotation.get("result")
        for number, result in enumerate(results if isinstance(results, list) else []):
            at = f"{place}.annotations[{i}].result[{number}]"
            value = result.get("value") if isinstance(result, dict) else None
            if isinstance(value, dict) and _classes(value):
                yield at, value
            else:
                kind = result.get("type") if isinstance(result, dict) else result
                parsed.note(at, Kind.NOT_A_CLASS, f"a result of type {kind!r} names no class")


def _min_values(
    parsed: Parsed, place: str, task: Mapping[str, Any], choice_field: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the values of a JSON-MIN row: what stands after ``id``, where the task's data ends."""
    keys = list(task)
    begin = keys.index("id") + 1 if "id" in keys else 0
    for key in [k for k in keys if k == choice_field or (keys.index(k) >= begin and k not in AFTER_RESULTS)]:
        given = task[key] if isinstance(task[key], list) else [task[key]]
        for number, value in enumerate(given):
            at = f"{place}.{key}[{number}]" if isinstance(task[key], list) else f"{place}.{key}"
            if isinstance(value, dict) and _classes(value):
                yield at, value
            elif _leaves([value]):
                yield at, {"taxonomy": [value]}
            elif isinstance(value, str) and is_text(value) and key == choice_field:
                yield at, {"choices": [value]}
            else:
                hint = f"; if it is a choice: --columns label={key}" if isinstance(value, str) else ""
                parsed.note(at, Kind.NOT_A_CLASS, f"{value!r} may be free text{hint}" if hint else "names no class")


def _classes(value: Mapping[str, Any]) -> list[str]:
    given = [c for field in LABEL_FIELDS for c in (value[field] if isinstance(value.get(field), list) else [])]
    given += _leaves(value.get("taxonomy"))
    return [c for c in dict.fromkeys(c for c in given if isinstance(c, str)) if is_text(c)]


def _leaves(paths: Any) -> list[str]:
    """Return the last part of each path of a Taxonomy tag: the class that was chosen."""
    given = paths if isinstance(paths, list) else []
    return [p[-1] for p in given if isinstance(p, list) and p and all(isinstance(c, str) and is_text(c) for c in p)]


def _clock(
    data: Mapping[str, Any], values: Sequence[Mapping[str, Any]], frame_rate_fps: float
) -> tuple[float | None, float]:
    """Return the length of the video and the rate by which its frames were numbered, None and 0 where unknown."""
    duration_s, rate_fps = None, 0.0
    for value in values:
        length_s, frames = number_in(value.get("duration")), number_in(value.get("framesCount"))
        if length_s and length_s > 0:
            duration_s = duration_s or length_s
            rate_fps = rate_fps or (frames / length_s if frames and frames > 0 else 0.0)
    given = [n for field in RATE_FIELDS if (n := number_in(data.get(field))) and n > 0]
    return duration_s, rate_fps or (given[0] if given else frame_rate_fps)


def _times(value: Mapping[str, Any], rate_fps: float) -> Iterator[tuple[object, object, Kind | None]]:
    """Yield the stretches of a value in seconds; frames count from one, both ends included."""
    if isinstance(value.get("ranges"), list):
        for item in value["ranges"]:
            given = item if isinstance(item, dict) else {}
            yield _seconds(given.get("start"), given.get("end"), rate_fps)
    elif isinstance(value.get("sequence"), list):
        for first, last in _lifespans(value["sequence"], value.get("framesCount")):
            yield _seconds(first, last, rate_fps)
    elif "start" in value or "end" in value:
        yield value.get("start"), value.get("end"), None


def _seconds(first: object, last: object, rate_fps: float) -> tuple[object, object, Kind | None]:
    start, end = number_in(first), number_in(last)
    if start is None or end is None:
        return first, last, None
    if rate_fps <= 0:
        return first, last, Kind.NO_FRAME_RATE
    return (start - 1) / rate_fps, end / rate_fps, None


def _lifespans(sequence: Sequence[Any], frames_count: object) -> Iterator[tuple[object, object]]:
    """Yield first and last frame of every stretch in which a box is there."""
    first: object = None
    last: object = None
    for key in sequence:
        if not isinstance(key, dict):
            continue
        last = key.get("frame")
        first = last if first is None else first
        if not key.get("enabled", True):
            yield first, last
            first = None
    if first is not None:
        yield first, frames_count if number_in(frames_count) is not None else last
