"""Which frames make a clip: arithmetic on times and packet sizes, nothing is decoded to decide.

A video is cut into equal windows, a window into equal strata, and each stratum gives one frame. ``uniform`` takes the
frame nearest to the stratum's centre. ``key_moments`` takes the most *novel* frame. Novelty is read off the
compressed stream: an encoder spends bytes where a picture cannot be predicted from its neighbours, so a short event
shows as packets larger than usual around it, and a hard cut as a keyframe out of step. Packet sizes are averaged over
five frames (which evens out the pattern of P and B frames) and divided by the median of the frames within two
seconds. Where nothing stands out, every moment near the centre is as good as another. Among equally good moments the
one that needs the fewest frames decoded is taken.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fal_model.spec import Sampling

NOVELTY_MARGIN = math.log(1.25)
"""How far above the stratum's median a moment must stand out (log size ratio) to be called novel."""
TIE_MARGIN = math.log(1.1)
"""Moments this close to the best one (log size ratio) count as equally good."""
SMOOTH_FRAMES = 5
LOCAL_SPAN_S = 4.0
CUT_NOVELTY = 1.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTable:
    """Every frame a video presents, in presentation order, known without decoding.

    Attributes:
        times_s: Presentation times, seconds, non-decreasing; the first is 0.
        sizes_bytes: Compressed size of each frame.
        is_key: Whether decoding can start at the frame.
        cost_frames: Frames to decode to see this one, from the keyframe before it.
        until_s: How long each frame counts as being on screen: until the next one, but not beyond what its packet
            says (or a second, where packets say less), so that a hole in a damaged file does not count as seen.
        duration_s: End of the last frame, seconds, > 0.
    """

    times_s: Floats
    sizes_bytes: Floats
    is_key: npt.NDArray[np.bool_]
    cost_frames: Floats
    until_s: Floats
    duration_s: float

    def __len__(self) -> int:
        return len(self.times_s)


def cut_windows(duration_s: float, window_s: float) -> list[tuple[float, float]]:
    """Cut a video into equal half-open windows no longer than ``window_s``.

    Args:
        duration_s: Length of the video, seconds, > 0.
        window_s: Longest window, seconds, > 0.

    Returns:
        ``(start_s, end_s)`` of each window, rising, without gaps.
    """
    count = max(1, math.ceil(duration_s / window_s - 1e-6))
    edges = [*(duration_s * i / count for i in range(count)), duration_s]
    return list(itertools.pairwise(edges))


def choose_frames(
    table: FrameTable, novelty: Floats, window: tuple[float, float], num_frames: int, sampling: Sampling
) -> list[int]:
    """Choose one frame for each equal stratum of a window.

    Args:
        table: The frames of the video, at least one.
        novelty: What :func:`novelty_of` gave for the table.
        window: Start and end, seconds, half-open.
        num_frames: Strata in the window, ≥ 1.
        sampling: How to choose within a stratum.

    Returns:
        Indices into the table, non-decreasing; rising where every stratum has a frame of its own. A stratum without
        one repeats the frame that is still on screen at its centre.
    """
    edges = np.linspace(window[0], window[1], num_frames + 1)
    bounds = np.searchsorted(table.times_s, edges, side="left")
    chosen: list[int] = []
    for k in range(num_frames):
        centre_s = (edges[k] + edges[k + 1]) / 2
        inside = np.arange(bounds[k], bounds[k + 1])
        if len(inside) == 0:
            chosen.append(max(0, int(np.searchsorted(table.times_s, centre_s, side="right")) - 1))
        elif sampling is Sampling.UNIFORM:
            chosen.append(int(inside[np.argmin(np.abs(table.times_s[inside] - centre_s))]))
        else:
            chosen.append(_best_moment(table, novelty, inside, float(centre_s), float(edges[k + 1] - edges[k])))
    return chosen


def _best_moment(
    table: FrameTable, novelty: Floats, inside: npt.NDArray[np.int64], centre_s: float, stratum_s: float
) -> int:
    values = novelty[inside]
    distance_s = np.abs(table.times_s[inside] - centre_s)
    if values.max() - np.median(values) > NOVELTY_MARGIN:
        good = values >= values.max() - TIE_MARGIN
    else:
        good = distance_s <= max(stratum_s / 4, float(distance_s.min()))
    order = np.lexsort((distance_s, np.where(good, table.cost_frames[inside], np.inf)))
    return int(inside[order[0]])


def novelty_of(table: FrameTable) -> Floats:
    """Score how unpredictable each frame was for the encoder.

    Args:
        table: The frames of the video.

    Returns:
        Log ratio of smoothed packet size to its local median, about 0 where nothing happens; one per frame.
    """
    if len(table) == 0:
        return np.zeros(0)
    sizes = np.maximum(table.sizes_bytes, 1.0)
    keys = np.flatnonzero(table.is_key)
    others = np.flatnonzero(~table.is_key)
    if len(others) > 0:  # keyframes are large by nature: give them the size of their neighbours
        sizes = sizes.copy()
        sizes[keys] = np.interp(keys, others, sizes[others])
    smooth = _moving_mean(sizes)
    novelty: Floats = np.log(smooth / _local_median(table.times_s, smooth))
    if len(others) > 0:
        cuts = _cut_keyframes(keys)
        novelty[cuts] = np.maximum(novelty[cuts], CUT_NOVELTY)
    return novelty


def _moving_mean(values: Floats) -> Floats:
    """Average each value with its neighbours, ``SMOOTH_FRAMES`` together; fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    middle = np.arange(len(values))
    low = np.maximum(middle - SMOOTH_FRAMES // 2, 0)
    high = np.minimum(middle + SMOOTH_FRAMES // 2 + 1, len(values))
    mean: Floats = (sums[high] - sums[low]) / (high - low)
    return mean


def _cut_keyframes(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the keyframes that came sooner than the encoder's regular interval: it saw a new scene."""
    gaps = np.diff(keys)
    if len(gaps) == 0:
        return keys[:0]
    cuts: npt.NDArray[np.int64] = keys[1:][gaps < 0.9 * gaps.max()]
    return cuts


def _local_median(times_s: Floats, values: Floats) -> Floats:
    """Return the median within blocks of ``LOCAL_SPAN_S``, interpolated between block centres."""
    blocks = np.floor(times_s / LOCAL_SPAN_S).astype(np.int64)
    starts = np.flatnonzero(np.diff(blocks, prepend=blocks[0] - 1))
    ends = np.append(starts[1:], len(blocks))
    medians = np.array([np.median(values[a:b]) for a, b in zip(starts, ends, strict=True)])
    centres_s = np.array([times_s[a:b].mean() for a, b in zip(starts, ends, strict=True)])
    local: Floats = np.interp(times_s, centres_s, medians)
    return local


def choose_neighbours(
    table: FrameTable, frames: list[int], window: tuple[float, float], step_s: float, max_gap_s: float
) -> list[int | None]:
    """Choose for each frame the one that its optical flow is measured to.

    Args:
        table: The frames of the video.
        frames: Indices into the table.
        window: Start and end, seconds; neighbours come from inside it.
        step_s: Wanted time between a frame and its neighbour, seconds.
        max_gap_s: A neighbour further away is of no use, seconds.

    Returns:
        For each frame the index of the frame nearest to ``step_s`` later, or failing that nearest to ``step_s``
        earlier, or None where the window has no other frame near enough.
    """
    first, last = (int(i) for i in np.searchsorted(table.times_s, window, side="left"))
    neighbours: list[int | None] = []
    for frame in frames:
        later = _nearest(table.times_s, frame, (max(frame + 1, first), last), step_s, max_gap_s)
        earlier = _nearest(table.times_s, frame, (first, min(frame, last)), -step_s, max_gap_s)
        neighbours.append(earlier if later is None else later)
    return neighbours


def _nearest(times_s: Floats, frame: int, among: tuple[int, int], step_s: float, max_gap_s: float) -> int | None:
    """Return the index in the half-open range ``among`` nearest to ``step_s`` from the frame, if near enough."""
    low, high = among
    if low >= high:
        return None
    nearest = low + int(np.argmin(np.abs(times_s[low:high] - times_s[frame] - step_s)))
    gap_s = abs(float(times_s[nearest] - times_s[frame]))
    return nearest if 0 < gap_s <= max_gap_s else None
