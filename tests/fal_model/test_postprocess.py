import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.calibration import Scaling
from fal_model.postprocess import Segment, clip_segments, frame_edges_s, path_scores, runs
from fal_model.taxonomy import Taxonomy
from tests.helpers.micro import small_tree, trees


@given(trees(), st.integers(0, 1000), st.sampled_from([0.1, 5.0, 500.0]), st.floats(0.1, 5), st.floats(-3, 3))
@settings(deadline=None, max_examples=80)
def test_no_class_scores_above_its_parent(
    taxonomy: Taxonomy, seed: int, scale: float, temperature: float, bias: float
) -> None:
    logits = scale * np.random.default_rng(seed).standard_normal((2, 3, len(taxonomy)))
    scores = path_scores(logits.astype(np.float16), taxonomy, Scaling(temperature=temperature, bias=bias))
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    for child, parent in enumerate(taxonomy.parents):
        assert parent < 0 or (scores[..., child] <= scores[..., parent]).all()


def test_calibration_comes_before_the_product() -> None:
    logits = np.array([1.0, 0, 2.0, 0, 0, 0, 0], dtype=np.float32)
    scores = path_scores(logits, small_tree(), Scaling(temperature=2.0, bias=0.5))
    want = 1 / (1 + np.exp(-1.0)) / (1 + np.exp(-1.5))
    assert scores[2] == pytest.approx(want, rel=1e-6)


def test_another_number_of_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"logits: got shape \[2, 6\], must be \[..., 7\]"):
        path_scores(np.zeros((2, 6)), small_tree())


def test_a_frame_stands_for_the_time_around_it() -> None:
    assert frame_edges_s([1.0, 3.0, 4.0], 0.0, 10.0).tolist() == [0, 2, 3.5, 10]
    assert frame_edges_s([5.0], 0.0, 10.0).tolist() == [0, 10]


def test_segments_by_hand() -> None:
    scores = np.array([[0.9, 0.1], [0.7, 0.6], [0.2, 0.5], [0.8, 0.1]])
    found = clip_segments(scores, [1, 3, 5, 9], 0.0, 10.0, class_indices=[1, 0], threshold=0.5)
    assert found == [
        Segment(1, 2.0, 7.0, (0.6 + 0.5) / 2),
        Segment(0, 0.0, 4.0, (0.9 + 0.7) / 2),
        Segment(0, 7.0, 10.0, 0.8),
    ]


def test_only_the_classes_asked_for_are_looked_at() -> None:
    assert clip_segments(np.ones((2, 3)), [0, 1], 0.0, 2.0, class_indices=[], threshold=0.5) == []


@given(st.lists(st.floats(0, 10), min_size=1, max_size=8).map(sorted), st.integers(0, 100), st.floats(0.05, 0.95))
@settings(deadline=None, max_examples=80)
def test_segments_lie_apart_within_the_window(times_s: list[float], seed: int, threshold: float) -> None:
    scores = np.random.default_rng(seed).random((len(times_s), 1))
    found = clip_segments(scores, times_s, 2.0, 9.0, class_indices=[0], threshold=threshold)
    assert all(2.0 <= s.start_s < s.end_s <= 9.0 and threshold <= s.score <= 1 for s in found)
    assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(found))
    everything = clip_segments(scores, times_s, 2.0, 9.0, class_indices=[0], threshold=0.0)
    assert sum(s.end_s - s.start_s for s in everything) == pytest.approx(7.0)


def test_wrong_times_are_refused() -> None:
    with pytest.raises(ValueError, match="frame_times_s: got 1 times, must be 2, one per frame"):
        clip_segments(np.ones((2, 1)), [0], 0.0, 1.0, class_indices=[0], threshold=0.5)
    with pytest.raises(ValueError, match=r"end_s: got 1.0, must be greater than start_s \(1.0\)"):
        clip_segments(np.ones((1, 1)), [0], 1.0, 1.0, class_indices=[0], threshold=0.5)


@given(st.lists(st.booleans(), max_size=12))
@settings(deadline=None, max_examples=50)
def test_runs_rebuild_the_mask(mask: list[bool]) -> None:
    rebuilt = [False] * len(mask)
    found = runs(np.array(mask, dtype=bool))
    for first, last in found:
        rebuilt[first:last] = [True] * (last - first)
    assert rebuilt == mask
    assert all(a[1] < b[0] for a, b in itertools.pairwise(found))
