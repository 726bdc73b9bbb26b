import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.calibration import Scaling
from fal_model.postprocess import path_scores
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
