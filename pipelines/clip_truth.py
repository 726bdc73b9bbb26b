"""What is true of a clip, from what a manifest says of its video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class ClipTruth(NamedTuple):
    """What is known of one clip.

    Attributes:
        labels: Ids true somewhere in it, sorted.
        frame_labels: Ids true at each frame; None where that is unknown.
    """

    labels: list[str]
    frame_labels: list[list[str]] | None


def clip_truth(video: Mapping[str, Any], frame_times_s: Sequence[float]) -> ClipTruth:
    """Say what holds in a clip of a labelled video.

    A label with segments holds in a clip if it holds at one of its frames; a label of a video without segments holds
    in all its clips, and at which frames is unknown.

    Args:
        video: Row of a manifest with labels.
        frame_times_s: Times of the clip's frames, seconds.
    """
    segments = video["segments"]
    frame_labels = None if segments is None else [_active(segments, t) for t in frame_times_s]
    timed = {s["label"] for s in segments or []}
    untimed = [label for label in video["labels"] if label not in timed]
    seen = {label for labels in frame_labels or [] for label in labels} | set(untimed)
    return ClipTruth(sorted(seen), None if untimed else frame_labels)


def _active(segments: Sequence[Mapping[str, Any]], time_s: float) -> list[str]:
    return sorted({s["label"] for s in segments if s["start_s"] <= time_s < s["end_s"]})
