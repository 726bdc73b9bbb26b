import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.calibration import Scaling
from fal_model.postprocess import clip_segments, path_scores, runs
from fal_model.taxonomy import Taxonomy
from tests.helpers.trees import trees

SCALINGS = st.lists(st.builds(Scaling, temperature=st.floats(0.05, 20), bias=st.floats(-5, 5)), max_size=5)


@given(trees(), st.integers(0, 1000), st.sampled_from([0.1, 5.0, 500.0]), SCALINGS)
@settings(deadline=None, max_examples=80)
def test_no_class_scores_above_its_parent_whatever_the_scaling_of_each_level(
    taxonomy: Taxonomy, seed: int, scale: float, scalings: list[Scaling]
) -> None:
    logits = scale * np.random.default_rng(seed).standard_normal((2, 3, len(taxonomy)))
    scores = path_scores(logits.astype(np.float16), taxonomy, scalings)
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    for child, parent in enumerate(taxonomy.parents):
        assert parent < 0 or (scores[..., child] <= scores[..., parent]).all()


@given(trees(), st.integers(0, 1000), SCALINGS)
@settings(deadline=None, max_examples=40)
def test_a_higher_logit_never_gives_a_lower_score(taxonomy: Taxonomy, seed: int, scalings: list[Scaling]) -> None:
    dice = np.random.default_rng(seed)
    rising = np.tile(3 * dice.standard_normal(len(taxonomy)), (20, 1))
    index = int(dice.integers(0, len(taxonomy)))
    rising[:, index] = np.sort(8 * dice.standard_normal(20))
    assert (np.diff(path_scores(rising, taxonomy, scalings)[:, index]) >= 0).all()


@given(st.lists(st.floats(0, 10), min_size=1, max_size=8).map(sorted), st.integers(0, 100), st.floats(0.05, 0.95))
@settings(deadline=None, max_examples=80)
def test_segments_lie_apart_within_the_window(times_s: list[float], seed: int, threshold: float) -> None:
    scores = np.random.default_rng(seed).random((len(times_s), 1))
    found = clip_segments(scores, times_s, 2.0, 9.0, class_indices=[0], thresholds_K=np.array([threshold]))
    assert all(2.0 <= s.start_s < s.end_s <= 9.0 and threshold <= s.score <= 1 for s in found)
    assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(found))
    everything = clip_segments(scores, times_s, 2.0, 9.0, class_indices=[0], thresholds_K=np.zeros(1))
    assert sum(s.end_s - s.start_s for s in everything) == pytest.approx(7.0)


@given(st.lists(st.booleans(), max_size=12))
@settings(deadline=None, max_examples=50)
def test_runs_rebuild_the_mask(mask: list[bool]) -> None:
    rebuilt = [False] * len(mask)
    found = runs(np.array(mask, dtype=bool))
    for first, last in found:
        rebuilt[first:last] = [True] * (last - first)
    assert rebuilt == mask
    assert all(a[1] < b[0] for a, b in itertools.pairwise(found))
