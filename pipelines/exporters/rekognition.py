"""JSON in the shape of Amazon Rekognition's ``GetLabelDetection``: a file per video.

Source: the API reference of GetLabelDetection, LabelDetection and Label. Labels come by rising ``Timestamp``;
``Parents`` holds every ancestor, and ancestors are labels of their own, at the same times. Aggregated by segments, a
label has start, end and duration; aggregated by timestamps, it stands once for each frame that was looked at.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from pipelines import storage
from pipelines.exporters.about import About, Row, Write
from pipelines.exporters.per_video import files_in
from pipelines.exporters.text import json_text
from pipelines.exporters.video import Segment, Video

SUFFIX = ".json"
TAG = re.compile(r"[a-zA-Z0-9_.\-:+=/]{1,1024}")
AggregateBy = Literal["SEGMENTS", "TIMESTAMPS"]


@contextmanager
def writing(folder: str, about: About, aggregate_by: AggregateBy = "SEGMENTS") -> Iterator[Write]:
    """Write a ``.json`` file for each video and ``index.jsonl``; one that failed has ``JobStatus`` ``FAILED``."""
    with files_in(folder, SUFFIX) as put:
        yield lambda video: put(video, json_text(response(video, about, aggregate_by)) + "\n")


@contextmanager
def writing_timestamps(folder: str, about: About) -> Iterator[Write]:
    """Write the same, aggregated by timestamps."""
    with writing(folder, about, "TIMESTAMPS") as write:
        yield write


def response(video: Video, about: About, aggregate_by: AggregateBy) -> Row:
    """Return what GetLabelDetection would answer for one video."""
    entries = [e for segment in _with_ancestors(video, about) for e in _entries(segment, video, about, aggregate_by)]
    entries.sort(key=lambda e: (e["Timestamp"], -e["Label"]["Confidence"], e["Label"]["Name"]))
    failure = video.failure
    answer: Row = {
        "JobId": hashlib.sha256(video.video_id.encode()).hexdigest(),
        "JobStatus": "SUCCEEDED" if failure is None else "FAILED",
        "Labels": entries,
        "LabelModelVersion": about.model_id,
        "GetRequestMetadata": {"SortBy": "TIMESTAMP", "AggregateBy": aggregate_by},
    }
    if failure is not None:
        answer["StatusMessage"] = f"{failure.kind}: {failure.message}"
    if video.duration_s is not None:
        answer["VideoMetadata"] = {"DurationMillis": _ms(video.duration_s)}
    if TAG.fullmatch(video.video_id):
        answer["JobTag"] = video.video_id
    if storage.is_remote(video.uri):
        bucket, _, name = video.uri.removeprefix("s3://").partition("/")
        answer["Video"] = {"S3Object": {"Bucket": bucket, "Name": name}}
    return answer


def _entries(segment: Segment, video: Video, about: About, aggregate_by: AggregateBy) -> Iterator[Row]:
    """Yield what stands in the answer for a segment: itself, or the frames that were looked at within it."""
    label = _label(segment, about)
    start_ms, end_ms = _ms(segment.start_s), _ms(segment.end_s)
    if aggregate_by == "SEGMENTS":
        times = {"StartTimestampMillis": start_ms, "EndTimestampMillis": end_ms, "DurationMillis": end_ms - start_ms}
        yield {"Timestamp": start_ms, "Label": label, **times}
        return
    inside = [_ms(t) for t in video.frame_times_s if segment.start_s <= t < segment.end_s]
    for time_ms in dict.fromkeys(inside or [start_ms]):
        yield {"Timestamp": time_ms, "Label": label}


def _with_ancestors(video: Video, about: About) -> list[Segment]:
    """Return the segments of all labels: a parent's where one of its children is.

    A label without a segment holds of the whole video: to say nothing would be a clean bill for it.
    """
    wanted = {found.label: found.score for found in video.labels}
    by_label: dict[str, list[Segment]] = {label: [] for label in wanted}
    for s in video.segments:
        by_label.setdefault(s.label, []).append(s)
        for label in about.path(s.label)[:-1]:
            if label in wanted:
                by_label[label].append(Segment(label, s.start_s, s.end_s, s.score))
    whole_s = video.duration_s or max((s.end_s for s in video.segments), default=0.0)
    joined = [_joined(found) if found else [Segment(x, 0.0, whole_s, wanted[x])] for x, found in by_label.items()]
    return [segment for found in joined for segment in found]


def _joined(found: list[Segment]) -> list[Segment]:
    """Join segments of one label that overlap or touch; the best score counts."""
    joined: list[Segment] = []
    for s in sorted(found, key=lambda s: (s.start_s, s.end_s)):
        last = joined[-1] if joined else None
        if last is not None and s.start_s <= last.end_s:
            score, end_s = max(last.score, s.score), max(last.end_s, s.end_s)
            joined[-1] = Segment(s.label, last.start_s, end_s, score)
        else:
            joined.append(s)
    return joined


def _label(segment: Segment, about: About) -> Row:
    path, name = about.path(segment.label), about.name(segment.label)
    return {
        "Name": segment.label,
        "Confidence": min(100.0, max(0.0, round(segment.score * 100, 5))),
        "Instances": [],
        "Parents": [{"Name": parent} for parent in path[:-1]],
        "Aliases": [{"Name": name}] if name != segment.label else [],
        "Categories": [{"Name": path[0]}],
    }


def _ms(time_s: float) -> int:
    return max(0, round(time_s * 1000))
