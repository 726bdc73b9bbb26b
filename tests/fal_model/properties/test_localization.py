import itertools
import random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.localization import ClipScores, Part, find_segments, join, overlap, runs, soft_nms
from fal_model.timeline import Timeline, frame_places

DURATION_S = 12.0
TIMES = st.floats(0, 20)
SEGMENTS = st.lists(st.tuples(TIMES, TIMES, st.floats(0, 1)), max_size=10).map(
    lambda rows: np.array([[min(a, b), max(a, b), score] for a, b, score in rows], np.float64).reshape(-1, 3)
)


def clips_of(seed: int, num_windows: int, share: float, num_classes: int = 2) -> list[ClipScores]:
    """Make clips of noise whose windows share a part and cover the video."""
    dice = np.random.default_rng(seed)
    window_s = DURATION_S / (1 + (num_windows - 1) * (1 - share))
    clips = []
    for i in range(num_windows):
        start_s = i * window_s * (1 - share)
        times_s = np.sort(start_s + window_s * dice.random(4))
        scores, offsets = dice.random((4, num_classes)), dice.random((4, num_classes, 2))
        clips.append(ClipScores(scores, offsets, times_s.tolist(), start_s, start_s + window_s))
    return clips


@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([0.0, 0.25, 0.5, 0.75]), st.floats(0, 0.95))
@settings(deadline=None, max_examples=100)
def test_segments_lie_within_the_video_with_scores_of_their_threshold_or_more(
    seed: int, num_windows: int, share: float, threshold: float
) -> None:
    found = find_segments(clips_of(seed, num_windows, share), [5, 3], [threshold, 0.5], DURATION_S)
    for segment in found:
        assert 0 <= segment.start_s < segment.end_s <= DURATION_S
        assert {5: threshold, 3: 0.5}[segment.class_index] <= segment.score <= 1
    assert found == sorted(found, key=lambda s: (s.start_s, s.class_index, s.end_s))


@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(0.05, 0.95))
@settings(deadline=None, max_examples=60)
def test_windows_that_do_not_overlap_give_segments_that_lie_apart(
    seed: int, num_windows: int, threshold: float
) -> None:
    found = find_segments(clips_of(seed, num_windows, 0.0, 1), [0], [threshold], DURATION_S)
    assert all(a.end_s <= b.start_s + 1e-9 for a, b in itertools.pairwise(found))


@given(st.integers(1, 5), st.sampled_from([0.0, 0.25, 0.5, 0.75]))
@settings(deadline=None, max_examples=20)
def test_what_holds_at_all_frames_is_one_segment(num_windows: int, share: float) -> None:
    sure = [
        ClipScores(np.full((4, 1), 0.9), np.ones((4, 1, 2)), c.frame_times_s, c.start_s, c.end_s)
        for c in clips_of(0, num_windows, share)
    ]
    (found,) = find_segments(sure, [0], [0.5], DURATION_S)
    assert (found.start_s, found.end_s, found.score) == pytest.approx((0.0, DURATION_S, 0.9))


@given(SEGMENTS, st.floats(0, 1), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=150)
def test_soft_nms_does_not_mind_the_order(
    segments: npt.NDArray[np.float64], threshold: float, dice: random.Random
) -> None:
    order = list(range(len(segments)))
    dice.shuffle(order)
    kept = soft_nms(segments, threshold)
    np.testing.assert_array_equal(soft_nms(segments[order], threshold), kept)
    assert len(kept) <= len(segments)
    assert ((kept[:, 2] >= threshold) & (kept[:, 2] <= 1)).all()
    assert (kept[:, 0] < kept[:, 1]).all()
    assert (np.diff(kept[:, 2]) <= 0).all()


@given(st.lists(st.tuples(st.floats(0.1, 5), st.floats(0.1, 5), st.floats(0.5, 1)), max_size=8))
@settings(deadline=None, max_examples=60)
def test_soft_nms_leaves_segments_that_lie_apart_as_they_are(rows: list[tuple[float, float, float]]) -> None:
    at_s, apart = 0.0, []
    for gap_s, length_s, score in rows:
        apart.append([at_s + gap_s, at_s + gap_s + length_s, score])
        at_s = apart[-1][1]
    segments = np.array(apart, np.float64).reshape(-1, 3)
    once = soft_nms(segments, 0.5)
    assert sorted(once.tolist()) == sorted(segments.tolist())
    np.testing.assert_array_equal(soft_nms(once, 0.5), once)


@given(SEGMENTS)
@settings(deadline=None, max_examples=60)
def test_overlap_is_a_share(segments: npt.NDArray[np.float64]) -> None:
    for one in segments:
        shares = overlap(one, segments)
        assert ((shares >= 0) & (shares <= 1)).all()


PARTS = st.lists(
    st.tuples(st.integers(0, 3), st.floats(0, 3.9), st.floats(0, 3.9), st.floats(0, 1), st.booleans(), st.booleans()),
    max_size=8,
).map(
    lambda rows: [
        Part(2.0 * i + min(a, b), 2.0 * i + max(a, b) + 0.1, score, (2.0 * i, 2.0 * i + 4), before, after)
        for i, a, b, score, before, after in rows
    ]
)


@given(PARTS, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=150)
def test_joining_loses_nothing_and_does_not_mind_the_order(parts: list[Part], dice: random.Random) -> None:
    shuffled = list(parts)
    dice.shuffle(shuffled)
    joined = join(parts)
    assert join(shuffled) == joined
    for part in parts:
        assert any(whole.start_s <= part.start_s and part.end_s <= whole.end_s for whole in joined)
    low, high = min((p.score for p in parts), default=0), max((p.score for p in parts), default=0)
    assert all(low <= whole.score <= high for whole in joined)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=8).map(sorted), st.floats(0, 1))
@settings(deadline=None, max_examples=100)
def test_places_and_seconds_undo_each_other_and_rise(times_s: list[float], share: float) -> None:
    timeline = Timeline(times_s, 2.0, 9.0)
    time_s = 2.0 + 7.0 * share
    assert timeline.seconds(timeline.places(time_s)) == pytest.approx(time_s)
    assert (np.diff(timeline.places(np.linspace(2, 9, 50))) >= 0).all()
    np.testing.assert_allclose(timeline.seconds(frame_places(len(times_s))), np.clip(times_s, 2.0, 9.0))


@given(st.lists(st.booleans(), max_size=12))
@settings(deadline=None, max_examples=50)
def test_runs_rebuild_the_mask(mask: list[bool]) -> None:
    rebuilt = [False] * len(mask)
    found = runs(np.array(mask, dtype=bool))
    for first, last in found:
        rebuilt[first:last] = [True] * (last - first)
    assert rebuilt == mask
    assert all(a[1] < b[0] for a, b in itertools.pairwise(found))
