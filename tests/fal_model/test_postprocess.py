import numpy as np
import pytest

from fal_model.calibration import Scaling
from fal_model.postprocess import path_scores
from tests.helpers.micro import numbered_taxonomy, small_tree


def test_calibration_comes_before_the_product() -> None:
    logits = np.array([1.0, 0, 2.0, 0, 0, 0, 0], dtype=np.float32)
    scores = path_scores(logits, small_tree(), [Scaling(temperature=2.0, bias=0.5)])
    want = 1 / (1 + np.exp(-1.0)) / (1 + np.exp(-1.5))
    assert scores[2] == pytest.approx(want, rel=1e-6)


def test_another_number_of_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"logits: got shape \[2, 6\], must be \[..., 7\]"):
        path_scores(np.zeros((2, 6)), small_tree())


def test_scores_of_some_classes_are_those_of_all() -> None:
    taxonomy = numbered_taxonomy(40, 3)
    logits = np.random.default_rng(0).normal(0, 5, (3, 7, len(taxonomy))).astype(np.float16)
    scalings = (Scaling(temperature=1.7, bias=0.3), Scaling(temperature=0.6, bias=-0.2))
    whole = path_scores(logits, taxonomy, scalings)
    dice = np.random.default_rng(1)
    for num in (1, 2, 9, len(taxonomy)):
        classes = dice.choice(len(taxonomy), num, replace=False)
        assert np.array_equal(path_scores(logits, taxonomy, scalings, classes), whole[..., classes])
    assert path_scores(logits, taxonomy, scalings, np.array([], np.int64)).shape == (3, 7, 0)
