"""From what is said of frames to when classes hold in a video: events of windows, joined, and soft-NMS. Numpy only.

Within a window, frames in a row at which a class holds are an event; the first of them says when it began, the last
when it ends. What several windows find of one event, which a border cuts or which lies in two windows that overlap, is
joined. What still shares time within a class is settled by soft-NMS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fal_model.timeline import Timeline, frame_places

Floats = npt.NDArray[np.float64]

OFFSET_STEPS = 255
"""Offsets are kept as whole numbers of this part of a stratum."""
DECAY = 0.3
"""Of soft-NMS: scores fall by exp(−IoU² / DECAY) for each better segment of the class."""
SAME_SHARE = 0.5
"""Of the shorter of two segments of overlapping windows: sharing as much time, they are the same event. Measured: as
good as 0, and better than leaving all to soft-NMS."""
SHORTEST_S = 1e-6
"""Seconds below which a segment is none, and a gap is rounding."""
TINY = 1e-12
"""Segments may all be without length."""


class Segment(NamedTuple):
    """One class during ``[start_s, end_s)``, with a score from 0 to 1."""

    class_index: int
    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True, slots=True)
class ClipScores:
    """What is said of the frames of one clip.

    Attributes:
        scores_TC: Calibrated scores of some classes at each frame.
        offsets_TC2: Distances from each frame to the borders of the same classes, strata, 0 to 1.
        frame_times_s: Times of the frames, never falling.
        start_s: Start of the clip's window.
        end_s: End of the window.

    Raises:
        ValueError: shapes that do not fit together.
    """

    scores_TC: npt.NDArray[np.floating]
    offsets_TC2: npt.NDArray[np.floating]
    frame_times_s: Sequence[float]
    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        shape = self.scores_TC.shape
        if self.offsets_TC2.shape != (*shape, 2) or shape[0] != len(self.frame_times_s):
            raise ValueError(
                f"scores, offsets and times: got {list(shape)}, {list(self.offsets_TC2.shape)} and "
                f"{len(self.frame_times_s)}, must be [T, C], [T, C, 2] and T"
            )


class Part(NamedTuple):
    """A segment as one window sees it.

    Attributes:
        start_s: Start, seconds.
        end_s: End.
        score: From 0 to 1.
        window_s: The stretch of the video in which it was looked for.
        is_open_before: It holds at the first frame of the window: it may have begun in an earlier one.
        is_open_after: It holds at the last frame: it may go on in a later window.
    """

    start_s: float
    end_s: float
    score: float
    window_s: tuple[float, float]
    is_open_before: bool
    is_open_after: bool


def quantise_offsets(offsets: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Turn offsets from 0 to 1 into whole numbers of ``OFFSET_STEPS``, one byte each."""
    steps: npt.NDArray[np.uint8] = np.rint(np.clip(offsets, 0.0, 1.0) * OFFSET_STEPS).astype(np.uint8)
    return steps


def find_segments(
    clips: Sequence[ClipScores],
    class_indices: Sequence[int] | npt.NDArray[np.integer],
    thresholds_C: Sequence[float] | npt.NDArray[np.floating],
    duration_s: float,
) -> list[Segment]:
    """Find when classes hold in a video.

    Args:
        clips: The clips of the video by the start of their windows, each with scores and offsets of the C classes.
        class_indices: The classes' numbers.
        thresholds_C: For each class the lowest score of a frame at which it holds, and of a segment.
        duration_s: Length of the video; nothing ends later.

    Returns:
        Segments by start, then class, then end. Segments of one class share time only if each is about as likely.
    """
    found: list[Segment] = []
    alone = _borders_looked_at_once(clips)
    floor_C = np.asarray(thresholds_C, np.float64)
    is_on = [clip.scores_TC.astype(np.float64) >= floor_C for clip in clips]
    for c, class_index in enumerate(class_indices):
        threshold = float(floor_C[c])
        near = [(clip, ends) for clip, ends, is_on_TC in zip(clips, alone, is_on, strict=True) if is_on_TC[:, c].any()]
        if not near:
            continue
        parts = [part for clip, ends in near for part in clip_parts(clip, c, threshold, ends)]
        joined = np.array([part[:3] for part in join(parts)], np.float64).reshape(-1, 3)
        joined[:, :2] = joined[:, :2].clip(0.0, duration_s)
        found += [Segment(int(class_index), *segment) for segment in soft_nms(joined, threshold).tolist()]
    return sorted(found, key=lambda s: (s.start_s, s.class_index, s.end_s, s.score))


def _borders_looked_at_once(clips: Sequence[ClipScores]) -> list[tuple[bool, bool]]:
    """Tell of each clip whether the clip before, and the one after, sees nothing of its window."""
    after = [a.end_s <= b.start_s + SHORTEST_S for a, b in pairwise(clips)]
    return list(zip([False, *after], [*after, False], strict=True)) if clips else []


def clip_parts(clip: ClipScores, c: int, threshold: float, fills: tuple[bool, bool] = (False, False)) -> list[Part]:
    """Find when one class holds within one clip.

    Frames in a row at which it holds are one event. Where between two frames it begins, the first of them says, and
    where it ends, the last.

    Args:
        clip: The clip.
        c: Which of its classes.
        threshold: Lowest score of a frame at which the class holds.
        fills: Whether what holds at the first frame fills the window from its start, and at the last frame to its
            end: best where no other window sees the border.

    Returns:
        Segments by start.
    """
    scores_T = clip.scores_TC[:, c].astype(np.float64)
    events = runs(scores_T >= threshold)
    if not events:
        return []
    num_frames = len(scores_T)
    timeline = Timeline(clip.frame_times_s, clip.start_s, clip.end_s)
    places_T2 = frame_places(num_frames)[:, None] + clip.offsets_TC2[:, c] * ((-1 / num_frames, 1 / num_frames),)
    parts: list[Part] = []
    for first, last in events:
        is_open_before, is_open_after = first == 0, last == num_frames
        start = 0.0 if is_open_before and fills[0] else places_T2[first, 0]
        end = 1.0 if is_open_after and fills[1] else places_T2[last - 1, 1]
        start_s, end_s = timeline.seconds([start, end]).tolist()
        score = max(float(scores_T[first:last].mean()), threshold)  # of equal scores the mean may be rounded down
        parts.append(Part(start_s, end_s, score, (clip.start_s, clip.end_s), is_open_before, is_open_after))
    return parts


def runs(is_on: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return ``[first, last)`` of each unbroken run of True."""
    padded = np.concatenate(([False], is_on, [False])).astype(np.int8)
    change = np.diff(padded)
    return list(zip(np.flatnonzero(change == 1).tolist(), np.flatnonzero(change == -1).tolist(), strict=True))


def soft_nms(segments_N3: Floats, threshold: float) -> Floats:
    """Drop segments that are likely another's event.

    The best segment is taken, and the scores of the others fall the more, the more time they share with it. Source:
    Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", ICCV 2017, the Gaussian form.

    Args:
        segments_N3: Start and end in seconds, and score from 0 to 1, of one class.
        threshold: Segments whose score is below, or falls below, are dropped.

    Returns:
        Segments of the same form, by falling score; their order in the input does not matter.
    """
    segments_N3 = segments_N3[segments_N3[:, 2] >= threshold]
    kept = np.concatenate([np.zeros((0, 3)), *(_nms_together(group, threshold) for group in _groups(segments_N3))])
    return kept[np.lexsort((kept[:, 1], kept[:, 0], -kept[:, 2]))]


def _groups(segments_N3: Floats) -> list[Floats]:
    """Split segments into groups that share no time: they do not know of each other. Those without length are left."""
    segments_N3 = segments_N3[segments_N3[:, 1] - segments_N3[:, 0] > SHORTEST_S]
    segments_N3 = segments_N3[np.lexsort((segments_N3[:, 2], segments_N3[:, 1], segments_N3[:, 0]))]
    reached_N = np.maximum.accumulate(segments_N3[:, 1])
    return np.split(segments_N3, np.flatnonzero(segments_N3[1:, 0] >= reached_N[:-1]) + 1)


def _nms_together(left: Floats, threshold: float) -> Floats:
    kept: list[Floats] = []
    while len(left) > 0:
        best = int(np.argmax(left[:, 2]))
        chosen = left[best]
        kept.append(chosen)
        left = np.delete(left, best, axis=0)
        left[:, 2] *= np.exp(-(overlap(chosen, left) ** 2) / DECAY)
        left = left[left[:, 2] >= threshold]
    return np.array(kept, np.float64).reshape(-1, 3)


def overlap(one: Floats, others_N3: Floats) -> Floats:
    """Return the shared time over the joint time of a segment with each of others, 0 to 1, shape [N]."""
    shared_N = np.minimum(one[1], others_N3[:, 1]) - np.maximum(one[0], others_N3[:, 0])
    joint_N = np.maximum(one[1], others_N3[:, 1]) - np.minimum(one[0], others_N3[:, 0])
    ratio_N: Floats = np.clip(shared_N, 0.0, None) / np.maximum(joint_N, SHORTEST_S)
    return ratio_N


def join(parts: Sequence[Part]) -> list[Part]:
    """Join what one window's border has cut from what another window has found of it.

    Two parts of windows that touch or overlap belong together if they are open towards each other: the one that starts
    first holds at the last frame of its window, the other at the first frame of its own. How much time lies between
    the two is not looked at. They also do if they share time, and one of them is open there or it is ``SAME_SHARE`` of
    the shorter one.

    Args:
        parts: Of one class, of all windows.

    Returns:
        Parts by start; none of them is to be joined with another. The score of a joined one is the mean, weighted by
        length.
    """
    done: list[Part] = []
    near: list[Part] = []  # those whose windows reach as far as the windows that are still to come
    for part in sorted(parts, key=lambda p: (p.window_s, p)):
        done += [p for p in near if p.window_s[1] + SHORTEST_S < part.window_s[0]]
        near = [p for p in near if p.window_s[1] + SHORTEST_S >= part.window_s[0]]
        current = part
        while (other := next((p for p in near if _belong_together(p, current)), None)) is not None:
            near.remove(other)
            current = _union(other, current)
        near.append(current)
    return sorted(done + near)


def _belong_together(a: Part, b: Part) -> bool:
    if a.window_s == b.window_s:  # what one window keeps apart stays apart
        return False
    first, second = (a, b) if a.start_s <= b.start_s else (b, a)
    if first.is_open_after and second.is_open_before:
        return True
    shared_s = min(first.end_s, second.end_s) - second.start_s
    shortest_s = min(first.end_s - first.start_s, second.end_s - second.start_s)
    is_cut = first.is_open_after or second.is_open_before
    return shared_s > 0 and (is_cut or shared_s >= SAME_SHARE * shortest_s)


def _union(a: Part, b: Part) -> Part:
    first, second = (a, b) if a.start_s <= b.start_s else (b, a)
    last = first if first.end_s > second.end_s else second
    length_a, length_b = a.end_s - a.start_s, b.end_s - b.start_s
    mean = (a.score * length_a + b.score * length_b) / max(length_a + length_b, TINY)
    score = min(max(mean, min(a.score, b.score)), max(a.score, b.score))  # rounding, or no length, may lead outside
    window_s = (min(a.window_s[0], b.window_s[0]), max(a.window_s[1], b.window_s[1]))
    return Part(first.start_s, last.end_s, score, window_s, first.is_open_before, last.is_open_after)
