import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.calibration import Scaling
from fal_model.postprocess import path_scores
from fal_model.taxonomy import Taxonomy
from fal_model.thresholds import HIGHEST, LOWEST, fit_thresholds, listed
from tests.helpers.trees import trees


@given(trees(), st.integers(0, 1000))
@settings(deadline=None, max_examples=80)
def test_a_path_is_never_broken(taxonomy: Taxonomy, seed: int) -> None:
    dice = np.random.default_rng(seed)
    scores = path_scores(3 * dice.standard_normal((4, len(taxonomy))), taxonomy, [Scaling(bias=dice.normal())])
    thresholds = dice.random(len(taxonomy))
    before = scores.copy()
    found = listed(scores, thresholds, taxonomy)
    np.testing.assert_array_equal(scores, before)
    assert (found | (scores < thresholds)).all()  # whatever reaches its threshold is listed
    for child, parent in enumerate(taxonomy.parents):
        assert parent < 0 or (found[:, parent] | ~found[:, child]).all()
    for row, k in zip(*np.nonzero(found & (scores < thresholds)), strict=True):
        children = [c for c, parent in enumerate(taxonomy.parents) if parent == k]
        assert found[row, children].any()  # and nothing else but for a class below it


@given(st.integers(1, 30), st.integers(0, 1000), st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_fitted_thresholds_stay_in_range(num_rows: int, seed: int, share: float) -> None:
    dice = np.random.default_rng(seed)
    scores, labels = dice.random((num_rows, 3)), (dice.random((num_rows, 3)) < share).astype(np.float64)
    found = fit_thresholds(scores, labels, dice.random((num_rows, 3)) < 0.8)
    assert ((found >= LOWEST) & (found <= HIGHEST)).all()
