"""Which frames make a clip.

A video is cut into equal windows (at cuts where there are some in reach), a window into equal strata, and each stratum
gives one frame. ``uniform`` takes the frame nearest to the stratum's centre. ``keyframes`` takes the frame of the
stratum's middle half that needs the fewest packets decoded, mostly a keyframe. ``key_moments`` does the same but for
the two strata with the most novel bursts of bytes (:mod:`pipelines.novelty`): there the frames of the burst are
candidates, all are decoded, and the one that looks least like anything else seen of the window is taken. ``thorough``
spends what is left of ``uniform``'s cost on more candidates in all strata, the cheapest first, as packets do not tell
everything. None of them is planned to cost more than ``uniform``; what decoding takes is estimated, and a video with
B-frames may cost a few percent more after all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fal_model.spec import Sampling
from pipelines.frame_table import Floats, FrameTable, Ints
from pipelines.novelty import Novelty

MOST_BURSTS = 2
FAINT_SCORE = 1.0
"""This many bursts of a window are followed, down to this score: more of them cost more and found nothing more."""
SHORTEST_EVENT_S = 0.3
"""Strata no longer than this catch every event without looking for it."""
MARGIN_S = 0.2
"""Candidates reach this far beyond a burst, as the window that found it is wider than some events."""
BUDGET_SHARE = 0.92
"""The cost is an estimate, as nothing tells beforehand which B-frames are referred to; the rest is kept back."""
LOOK_STEP_S = 0.2
"""Distance of candidates where packets say nothing: below the shortest event worth finding."""
MOST_LOOKS = 256
"""Candidates beyond bursts in one window: all their pictures are in memory at once, and their neighbours'."""
FEW_PACKETS = 4
APART_S = 1.0
"""Pictures at least this far apart do not show the same short event."""
LOOK_LEVELS = 16
"""Steps of a gray level in which pictures are compared: sums of whole numbers are exact, in whatever order a processor
adds them."""

Strata = list[tuple[int, ...]]


def count_windows(duration_s: float, window_s: float, overlap: float = 0.0) -> int:
    """Count the windows of :func:`cut_windows`: as few as cover the video, at least one.

    Args:
        duration_s: Length of the video, seconds.
        window_s: Longest window, seconds, > 0.
        overlap: Share of a window that it has in common with the next, from 0 to less than 1.
    """
    return max(1, math.ceil((duration_s / window_s - overlap) / (1 - overlap) - 1e-6))


def cut_windows(
    duration_s: float, window_s: float, cuts_s: Sequence[float] = (), overlap: float = 0.0
) -> list[tuple[float, float]]:
    """Cut a video into half-open windows no longer than ``window_s``, as few as possible and about equal.

    Args:
        duration_s: Length of the video, seconds, > 0.
        window_s: Longest window, seconds, > 0.
        cuts_s: Where another shot begins, seconds, rising. The start of a window moves to the nearest one, if there is
            one in reach that makes no window too long and none begin sooner after another than half of an equal step.
        overlap: Share of a window that it has in common with the next, from 0 to less than 1.

    Returns:
        ``(start_s, end_s)`` of each window; starts and ends rise, without gaps.
    """
    fresh = 1 - overlap  # share of a window by which the next one begins later
    count = count_windows(duration_s, window_s, overlap)
    windows = 1 + (count - 1) * fresh  # how many equal windows would last as long as the video side by side
    cuts = np.asarray(cuts_s, np.float64)
    starts = [0.0]
    for index in range(1, count):
        low_s = max(
            duration_s - (1 + (count - index - 1) * fresh) * window_s, starts[-1] + duration_s * fresh / windows / 2
        )
        high_s = min(starts[-1] + window_s * fresh, duration_s * fresh * (index + 0.5) / windows)
        even_s = duration_s * fresh * index / windows
        near = cuts[(cuts >= low_s) & (cuts <= high_s)]
        starts.append(
            float(near[np.argmin(np.abs(near - even_s))]) if len(near) > 0 else min(max(even_s, low_s), high_s)
        )
    common_s = duration_s * overlap / windows
    return list(zip(starts, [*(start_s + common_s for start_s in starts[1:]), duration_s], strict=True))


def plan_frames(
    table: FrameTable, novelty: Novelty, window: tuple[float, float], num_frames: int, sampling: Sampling
) -> Strata:
    """Name the candidates of each equal stratum of a window, before anything is decoded.

    Args:
        table: The frames of the video, at least one.
        novelty: Scores of the same table.
        window: Start and end, seconds, half-open.
        num_frames: Strata in the window, ≥ 1.
        sampling: How to choose within a stratum.

    Returns:
        For each stratum at least one index into the table; strata rise, and rise strictly where each has frames of
        its own. A stratum without any repeats the frame that is still on screen at its centre. To decode all
        candidates costs no more than to decode what ``uniform`` takes, as :meth:`FrameTable.cost` estimates it.
    """
    edges_s = np.linspace(window[0], window[1], num_frames + 1)
    centres_s = (edges_s[:-1] + edges_s[1:]) / 2
    bounds = np.searchsorted(table.times_s, edges_s, side="left")
    uniform = [_nearest_inside(table, bounds[k], bounds[k + 1], centres_s[k]) for k in range(num_frames)]
    if sampling is Sampling.UNIFORM:
        return [(frame,) for frame in uniform]
    ranges = [(int(bounds[k]), int(bounds[k + 1])) for k in range(num_frames)]
    strata: Strata = [
        (_cheapest(table, *ranges[k], centres_s[k]) if ranges[k][0] < ranges[k][1] else uniform[k],)
        for k in range(num_frames)
    ]
    budget = table.cost(uniform) * (BUDGET_SHARE if table.skippable_before[-1] > 0 else 1.0)
    if sampling is Sampling.KEYFRAMES or edges_s[1] - edges_s[0] <= SHORTEST_EVENT_S:
        return strata
    if table.cost(itertools.chain(*strata)) > budget:
        strata = [(frame,) for frame in uniform]
    _buy_bursts(table, novelty, strata, ranges, budget)
    if sampling is Sampling.THOROUGH:
        _buy_looks(table, strata, ranges, budget)
    return strata


def _nearest_inside(table: FrameTable, start: int, stop: int, time_s: float) -> int:
    if start >= stop:
        return max(0, int(np.searchsorted(table.times_s, time_s, side="right")) - 1)
    return int(start + np.argmin(np.abs(table.times_s[start:stop] - time_s)))


def _cheapest(table: FrameTable, start: int, stop: int, centre_s: float) -> int:
    """Return the frame of the stratum's middle half that needs the fewest packets decoded."""
    inside = np.arange(start, stop)
    distance_s = np.abs(table.times_s[inside] - centre_s)
    reach_s = max((table.times_s[stop - 1] - table.times_s[start]) / 4, float(distance_s.min()))
    cost = table.packet_index[inside] - table.start_index[inside]
    order = np.lexsort((distance_s, np.where(distance_s <= reach_s, cost, np.iinfo(np.int64).max)))
    return int(inside[order[0]])


def _buy_bursts(
    table: FrameTable, novelty: Novelty, strata: Strata, ranges: list[tuple[int, int]], budget: float
) -> None:
    """Make the most novel bursts the candidates of their strata, as far as the budget allows."""
    found = [(novelty.burst(*inside), k) for k, inside in enumerate(ranges)]
    bursts = [(burst, k) for burst, k in found if burst is not None and burst.score >= FAINT_SCORE]
    for burst, k in sorted(bursts, key=lambda item: (-item[0].score, item[1]))[:MOST_BURSTS]:
        low_s, high_s = table.times_s[burst.first] - MARGIN_S, table.times_s[burst.last] + MARGIN_S
        start, stop = np.searchsorted(table.times_s, [low_s, high_s + 1e-6])
        inside = np.arange(max(int(start), ranges[k][0]), min(int(stop), ranges[k][1]))
        wide, narrow = tuple(_references(table, inside)), ((burst.first + burst.last) // 2,)
        for candidates in (wide, narrow):
            if table.cost(itertools.chain(*strata[:k], candidates, *strata[k + 1 :])) <= budget:
                strata[k] = candidates
                break


def _references(table: FrameTable, frames: Ints) -> list[int]:
    """Leave out B-frames, which are decoded for nothing else, if anything remains."""
    return [int(f) for f in frames if not table.is_skippable(f)] or frames.tolist()


def _buy_looks(table: FrameTable, strata: Strata, ranges: list[tuple[int, int]], budget: float) -> None:
    """Add candidates within the strata's ranges, the cheapest of all first, while the budget lasts."""
    inside = [_references(table, np.arange(*frames)) for frames in ranges]
    spread = [np.asarray(frames)[spaced(table.times_s[frames], LOOK_STEP_S)] for frames in inside if frames]
    frames = np.concatenate([np.zeros(0, np.int64), *spread])
    frames = frames[np.argsort(table.packet_index[frames] - table.start_index[frames], kind="stable")]
    low, high = 0, min(len(frames), MOST_LOOKS)
    while low < high:
        middle = (low + high + 1) // 2
        if table.cost(itertools.chain(*strata, frames[:middle].tolist())) <= budget:
            low = middle
        else:
            high = middle - 1
    bought = frames[:low].tolist()
    for k, (start, stop) in enumerate(ranges):
        strata[k] = tuple(sorted({*strata[k], *(frame for frame in bought if start <= frame < stop)}))


def spaced(times_s: Floats, step_s: float) -> Ints:
    """Return indices of times that are at least about ``step_s`` apart, from the first on."""
    numbers = np.floor((times_s - times_s[0]) / step_s + 1e-6)
    return np.flatnonzero(np.diff(numbers, prepend=-1.0) > 0)


def settle(strata: Strata, looks: dict[int, npt.NDArray[np.float32]], times_s: Floats) -> list[int]:
    """Choose one candidate of each stratum: the one that looks least like anything seen at another time.

    Args:
        strata: What :func:`plan_frames` gave.
        looks: A small gray picture of each frame that could be decoded, candidates and others; all of one shape.
        times_s: Presentation times of all frames of the video, seconds.

    Returns:
        For each stratum the candidate whose picture differs most (in the mean square) from the most similar picture
        taken at least ``APART_S`` away from it. Where there is none to compare with, and of equally novel ones, the
        one nearest to the middle of the candidates.
    """
    frames = sorted(looks)
    scores = dict.fromkeys(frames, 0.0)
    if any(len(candidates) > 1 for candidates in strata) and frames:
        pictures_NP = np.rint(LOOK_LEVELS * np.stack([looks[frame].ravel() for frame in frames]).astype(np.float64))
        squares_N = (pictures_NP**2).sum(axis=1)
        distance_NN = squares_N[:, None] + squares_N[None] - 2 * pictures_NP @ pictures_NP.T
        seen_s = times_s[frames]
        distance_NN[np.abs(seen_s[:, None] - seen_s[None]) < APART_S] = np.inf
        nearest_N = distance_NN.min(axis=1)
        scores = {f: float(d) if np.isfinite(d) else 0.0 for f, d in zip(frames, nearest_N, strict=True)}
    return [_most_novel(candidates, scores) for candidates in strata]


def _most_novel(candidates: tuple[int, ...], scores: dict[int, float]) -> int:
    middle = (candidates[0] + candidates[-1]) / 2
    decoded = [frame for frame in candidates if frame in scores] or list(candidates)
    return max(decoded, key=lambda frame: (scores.get(frame, 0.0), -abs(frame - middle)))


def choose_neighbours(
    table: FrameTable, frames: Sequence[int], window: tuple[float, float], step_s: float, max_gap_s: float, cuts: Ints
) -> list[int | None]:
    """Choose for each frame the one that its optical flow is measured to.

    Args:
        table: The frames of the video.
        frames: Indices into the table.
        window: Start and end, seconds; neighbours come from inside it.
        step_s: Wanted time between a frame and its neighbour, seconds.
        max_gap_s: A neighbour further away is of no use, seconds.
        cuts: Frames that begin another shot; no neighbour comes from another shot.

    Returns:
        For each frame the index of the frame nearest to ``step_s`` later, or failing that nearest to ``step_s``
        earlier, or None where its shot within the window has no other frame near enough. For the sake of an earlier
        one, no group of frames is decoded that is not needed anyway.
    """
    first, last = (int(i) for i in np.searchsorted(table.times_s, window, side="left"))
    neighbours: list[int | None] = []
    for frame in frames:
        shot = int(np.searchsorted(cuts, frame, side="right"))
        start = max(first, int(cuts[shot - 1])) if shot > 0 else first
        stop = min(last, int(cuts[shot])) if shot < len(cuts) else last
        later = _nearest(table.times_s, frame, (max(frame + 1, start), stop), step_s, max_gap_s)
        earlier = _nearest(table.times_s, frame, (start, min(frame, stop)), -step_s, max_gap_s)
        if earlier is not None and not _is_cheap(table, frame, earlier):
            earlier = None
        neighbours.append(earlier if later is None else later)
    return neighbours


def _is_cheap(table: FrameTable, frame: int, earlier: int) -> bool:
    """Tell whether a neighbour is decoded on the way to the frame, or costs next to nothing of its own."""
    return bool(table.start_index[earlier] == table.start_index[frame]) or table.cost_of(earlier) <= FEW_PACKETS


def _nearest(times_s: Floats, frame: int, among: tuple[int, int], step_s: float, max_gap_s: float) -> int | None:
    """Return the index in the half-open range ``among`` nearest to ``step_s`` from the frame, if near enough."""
    low, high = among
    if low >= high:
        return None
    nearest = low + int(np.argmin(np.abs(times_s[low:high] - times_s[frame] - step_s)))
    gap_s = abs(float(times_s[nearest] - times_s[frame]))
    return nearest if 0 < gap_s <= max_gap_s else None
