"""What is exported of one video: numbers that are numbers, scores as short as they were stored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Label:
    """A class that holds of a video.

    Attributes:
        label: Its id.
        path: Ids from the top of the tree down to it.
        score: Calibrated probability.
    """

    label: str
    path: tuple[str, ...]
    score: float

    @property
    def level(self) -> int:
        """Depth in the tree; 0 has no parent."""
        return len(self.path) - 1


@dataclass(frozen=True, slots=True)
class Segment:
    """When a class holds: ``[start_s, end_s)``, seconds."""

    label: str
    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a video has no labels."""

    stage: str
    kind: str
    message: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A labelled video, or one that could not be labelled.

    Attributes:
        video_id: Its id.
        uri: The address that was labelled.
        split: ``train``, ``val`` or ``test``, where the manifest says it.
        failure: Why it has no labels; None where it has.
        sha256: Of its bytes.
        duration_s: Length, seconds; None where it is not known.
        top_label: The class it most probably is; empty where that has no score.
        top_path: Ids from the top of the tree down to it.
        top_score: Calibrated probability.
        is_abstained: The model is not sure of ``top_label``.
        labels: Classes that hold, best first.
        segments: When they hold, by start.
        num_segments_left_out: Segments over the limit of the labelling run.
        coverage: Share of the length that was looked at.
        frame_times_s: When the frames were that the model saw; empty where no format asks for them.
        embedding: Unit vector; empty where no format asks for it.
        num_not_numbers: Labels and segments that are not here because a score or a time is no number.
    """

    video_id: str
    uri: str
    split: str | None = None
    failure: Failure | None = None
    sha256: str = ""
    duration_s: float | None = None
    top_label: str = ""
    top_path: tuple[str, ...] = ()
    top_score: float | None = None
    is_abstained: bool = False
    labels: tuple[Label, ...] = ()
    segments: tuple[Segment, ...] = ()
    num_segments_left_out: int = 0
    coverage: float | None = None
    frame_times_s: tuple[float, ...] = ()
    embedding: tuple[float, ...] = ()
    num_not_numbers: int = 0

    @property
    def deepest(self) -> list[Label]:
        """Return the labels that are no ancestor of another one, which say the rest, best first."""
        inner = {label for found in self.labels for label in found.path[:-1]}
        return [found for found in self.labels if found.label not in inner]


def video_of(row: Row) -> Video:
    """Make a video of a row of the ``labels`` or the ``failures`` table; what has no number is left out and counted."""
    if row.get("kind") is not None:
        failure = Failure(row["stage"], row["kind"], row["message"], row["attempts"])
        return Video(video_id=row["video_id"], uri=row["uri"], split=row.get("split"), failure=failure)
    labels = [_label(entry) for entry in row["labels"]]
    segments = [_segment(entry) for entry in row["segments"]]
    duration_s, top_score = row["duration_s"], short(row["top_score"])
    return Video(
        video_id=row["video_id"],
        uri=row["uri"],
        split=row.get("split"),
        sha256=row["sha256"] or "",
        duration_s=duration_s if duration_s is not None and math.isfinite(duration_s) and duration_s > 0 else None,
        top_label="" if top_score is None else row["top_label"],
        top_path=() if top_score is None else tuple(row["top_path"]),
        top_score=top_score,
        is_abstained=row["is_abstained"],
        labels=tuple(entry for entry in labels if entry is not None),
        segments=tuple(sorted((e for e in segments if e is not None), key=lambda s: (s.start_s, s.end_s, s.label))),
        num_segments_left_out=row["num_segments_left_out"],
        coverage=short(row["coverage"]),
        frame_times_s=tuple(t for t in row.get("frame_times_s") or () if math.isfinite(t)),
        embedding=tuple(row.get("embedding") or ()),
        num_not_numbers=sum(entry is None for entry in (*labels, *segments)),
    )


def short(value: float | None) -> float | None:
    """Return the shortest number that a 32-bit float is stored as, 0.9 and not 0.8999999761581421; None for NaN."""
    return None if value is None or not math.isfinite(value) else float(str(np.float32(value)))


def _label(entry: Row) -> Label | None:
    score = short(entry["score"])
    return None if score is None else Label(entry["label"], tuple(entry["path"]), score)


def _segment(entry: Row) -> Segment | None:
    score, start_s, end_s = short(entry["score"]), entry["start_s"], entry["end_s"]
    if score is None or not (math.isfinite(start_s) and math.isfinite(end_s)):
        return None
    return Segment(entry["label"], start_s, end_s, score)
