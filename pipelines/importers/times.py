"""Put the segments of one video in order: numbers only, within the video, one at a time of each label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.importers.annotations import Kind, Problem, RawSegment
from pipelines.importers.reading import number_in


@dataclass(slots=True)
class Timed:
    """Segments as a manifest has them, by start and label, and what became of the others.

    ``len(raw) == len(segments) + num_merged + sum(left_out.values())`` always.
    """

    segments: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    num_merged: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


UNTOUCHED: Timed = Timed()
"""What a video without segments has."""
_WHY: Mapping[Kind, str] = {
    Kind.NO_FRAME_RATE: "frames, but no frame rate: importing.frame_rate_fps says that of the Video tag",
    Kind.TIMES_UNUSED: "the file may be cut to these times already: importing.is_untrimmed=true says it is whole",
}


def segments_of(raw: Sequence[RawSegment], duration_s: float | None) -> Timed:
    """Check segments, cut them to the video, and join those of one label that overlap.

    A segment that has no length, ends before it begins, or lies outside the video is left out; segments of different
    labels may overlap as they like.

    Args:
        raw: Segments of one video.
        duration_s: Length of the video, seconds; None where nobody says it, then nothing is cut at the end.
    """
    timed = Timed()
    by_label: dict[str, list[tuple[float, float, str]]] = {}
    for segment in raw:
        span = _checked(timed, segment, duration_s)
        if span is not None:
            by_label.setdefault(segment.label, []).append((*span, segment.place))
    for label, spans in by_label.items():
        _join(timed, label, sorted(spans))
    timed.segments.sort(key=lambda s: (s["start_s"], s["label"]))
    return timed


def _checked(timed: Timed, segment: RawSegment, duration_s: float | None) -> tuple[float, float] | None:
    start, end = number_in(segment.start), number_in(segment.end)
    shown = f"{segment.label}, {segment.start}–{segment.end}"
    reason, why = segment.unusable, _WHY.get(segment.unusable, "") if segment.unusable else ""
    if reason is None:
        reason, why = _reason(start, end, duration_s)
    if reason is not None or start is None or end is None:
        kind = reason or Kind.SEGMENT_NOT_A_NUMBER
        timed.left_out[kind.value] += 1
        timed.problems.append(Problem(segment.place, kind, f"{shown}: {why}"))
        return None
    inside = (max(start, 0.0), end if duration_s is None else min(end, duration_s))
    if inside != (start, end):
        what = f"{shown} s: cut to the video, 0–{'…' if duration_s is None else f'{duration_s:g}'} s"
        timed.problems.append(Problem(segment.place, Kind.SEGMENT_CUT, what))
    return inside


def _reason(start: float | None, end: float | None, duration_s: float | None) -> tuple[Kind | None, str]:
    if start is None or end is None:
        return Kind.SEGMENT_NOT_A_NUMBER, "start and end must be numbers"
    if start > end:
        return Kind.SEGMENT_REVERSED, "ends before it begins"
    if start == end:
        return Kind.SEGMENT_EMPTY, "has no length"
    if end <= 0 or (duration_s is not None and start >= duration_s):
        length = "" if duration_s is None else f" of {duration_s:g} s"
        return Kind.SEGMENT_OUTSIDE, f"lies outside the video{length}"
    return None, ""


def _join(timed: Timed, label: str, spans: Sequence[tuple[float, float, str]]) -> None:
    """Append the union of spans that overlap; those that only touch stay two."""
    joined: list[tuple[float, float]] = []
    for start, end, place in spans:
        if joined and start < joined[-1][1]:
            timed.num_merged += 1
            before = f"{joined[-1][0]:g}–{joined[-1][1]:g} s"
            what = f"{label}, {start:g}–{end:g} s: overlaps {before} of the same label; joined"
            timed.problems.append(Problem(place, Kind.SEGMENTS_MERGED, what))
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    timed.segments += [{"label": label, "start_s": start, "end_s": end} for start, end in joined]
