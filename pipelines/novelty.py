"""What the packet sizes tell of a video before anything is decoded: bursts, where something short happens, and cuts.

An encoder spends bytes where a picture cannot be predicted from those before it. So the bytes of a sliding window of
0.3 s are divided by what such windows usually hold within two seconds around it, as a logarithm, and by how much that
ratio usually varies in this video (its median absolute deviation). The result, the score, is below about 1 where
nothing happens and several times that where something does. Keyframes are large by nature and are given the size of
their neighbours; where all frames are keyframes, nothing is predicted, and a change in either direction counts.

This is blind where the encoder holds the rate instead of the quality, and to what costs few bytes, such as slow fades.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.frame_table import Floats, FrameTable, Ints

WIDTH_S = 0.3
LOCAL_SPAN_S = 4.0
USUAL_SPREAD = 0.05
"""Added to the spread (log ratio), so that streams of nearly constant size make no large scores out of nothing."""
INTRA_SPREAD = 0.01
"""The same where every frame is a keyframe: their sizes depend on the picture alone and hardly waver."""
FEW_BYTES = 8.0
"""Added to the bytes of a frame: skipping one costs a few, and a few more are no event."""
GAUSSIAN_MAD = 1.4826
"""Median absolute deviation times this is the standard deviation of a normal distribution."""
OUT_OF_STEP = 0.9
"""A keyframe sooner after the one before than this share of the longest such distance was not due: there is a cut."""
CUT_SIZE = 0.4
CUT_RATIO = 3.0
"""A frame at least ``CUT_SIZE`` as large as the next keyframe, and ``CUT_RATIO`` as large as its like usually are,
could not be predicted: another shot has begun."""
CUT_LEAD = 1.5
CUT_REACH_S = 1.0
"""It is also ``CUT_LEAD`` as large as any of the second before: hidden reference frames come as large all the time."""


@dataclass(frozen=True, slots=True)
class Burst:
    """A stretch of frames that cost more bytes than those around it.

    Attributes:
        score: How unusual it is; see the module's text.
        first: Its first frame, index into the table.
        last: Its last frame, index into the table.
    """

    score: float
    first: int
    last: int


class Novelty:
    """Scores of a whole video.

    Args:
        table: Its frames, at least one.
    """

    def __init__(self, table: FrameTable) -> None:
        is_intra = 2 * np.count_nonzero(table.is_key) > len(table)
        sums = np.concatenate([[0.0], np.cumsum(table.sizes_bytes if is_intra else _without_keyframes(table))])
        starts = np.arange(len(table))
        ends = np.searchsorted(table.times_s, table.times_s + WIDTH_S - 1e-6, side="left")
        self._ends = np.maximum(ends, starts + 1)
        mean_bytes = (sums[self._ends] - sums[:-1]) / (self._ends - starts)
        ratios = np.log(mean_bytes + FEW_BYTES)
        ratios -= local_median(table.times_s, ratios)
        ratios /= GAUSSIAN_MAD * np.median(np.abs(ratios)) + (INTRA_SPREAD if is_intra else USUAL_SPREAD)
        self._scores = np.abs(ratios) if is_intra else ratios

    def burst(self, start: int, stop: int) -> Burst | None:
        """Return the most unusual stretch within the half-open range of frames; None if there are no frames."""
        if start >= stop:
            return None
        fitting = start + int(np.searchsorted(self._ends[start:stop], stop, side="right"))
        first = start + int(np.argmax(self._scores[start : max(fitting, start + 1)]))
        return Burst(float(self._scores[first]), first, min(int(self._ends[first]), stop) - 1)


def _without_keyframes(table: FrameTable) -> Floats:
    others = np.flatnonzero(~table.is_key)
    sizes = table.sizes_bytes.copy()
    keys = np.flatnonzero(table.is_key)
    sizes[keys] = np.interp(keys, others, sizes[others])
    return sizes


def local_median(times_s: Floats, values: Floats) -> Floats:
    """Return the running median over ``LOCAL_SPAN_S``, taken each half span and interpolated between.

    Args:
        times_s: Times of the values, seconds, rising from 0.
        values: As many.

    Returns:
        The median around each value.
    """
    half_s = LOCAL_SPAN_S / 2
    centres_s = np.unique(np.floor(times_s / half_s)) * half_s + half_s / 2
    starts = np.searchsorted(times_s, centres_s - half_s)
    stops = np.searchsorted(times_s, centres_s + half_s)
    medians = np.array([np.median(values[a:b]) for a, b in zip(starts, stops, strict=True)])
    local: Floats = np.interp(times_s, centres_s, medians)
    return local


def cut_frames(table: FrameTable) -> Ints:
    """Find hard cuts, as far as the packets tell.

    Args:
        table: The frames of the video.

    Returns:
        Indices of frames that begin another shot: keyframes out of step with the encoder's interval, and frames that
        cost about as much as the next keyframe does. B-frames before such a frame belong to its shot. A cut that
        falls on a regular keyframe leaves no trace and is missed.
    """
    keys = np.flatnonzero(table.is_key)
    anchors = np.flatnonzero(~table.is_key & ~table.are_skippable())
    if len(keys) == 0 or len(anchors) == 0:
        return np.zeros(0, np.int64)
    gaps = np.diff(keys)
    out_of_step = keys[1:][gaps < OUT_OF_STEP * gaps.max(initial=0)]
    sizes = table.sizes_bytes[anchors]
    next_key = keys[np.minimum(np.searchsorted(keys, anchors), len(keys) - 1)]
    usual = local_median(table.times_s[anchors], sizes)
    large = np.flatnonzero((sizes > CUT_SIZE * table.sizes_bytes[next_key]) & (sizes > CUT_RATIO * usual))
    unusual = large[sizes[large] > CUT_LEAD * _largest_before(table.times_s[anchors], sizes, large)]
    is_anchor = ~table.are_skippable()
    is_anchor[0] = True
    before = np.maximum.accumulate(np.where(is_anchor, np.arange(len(table)), 0))
    first = before[np.maximum(anchors[unusual] - 1, 0)] + 1
    return np.union1d(out_of_step, first).astype(np.int64)


def _largest_before(times_s: Floats, sizes: Floats, which: Ints) -> Floats:
    starts = np.searchsorted(times_s, times_s[which] - CUT_REACH_S)
    return np.array([sizes[a:b].max(initial=0.0) for a, b in zip(starts, which, strict=True)], np.float64)
