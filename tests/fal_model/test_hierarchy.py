import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model import postprocess
from fal_model.batch import multi_hot
from fal_model.hierarchy import Hierarchy, counted, path_log_scores
from fal_model.taxonomy import Taxonomy
from tests.helpers.micro import small_tree, trees


def test_levels_parents_and_leaves() -> None:
    hierarchy = Hierarchy.of(small_tree())
    assert hierarchy.levels == ((0, 2), (2, 4), (4, 7))
    assert hierarchy.parent_K.tolist() == [7, 7, 0, 0, 2, 2, 3]
    assert hierarchy.leaf_L.tolist() == [1, 4, 5, 6]


def test_a_score_is_the_product_along_the_path() -> None:
    logits = torch.tensor([0.0, 2.0, 1.0, -1.0, 3.0, 0.5, -2.0])
    p = logits.sigmoid().tolist()
    want = [p[0], p[1], p[0] * p[2], p[0] * p[3], p[0] * p[2] * p[4], p[0] * p[2] * p[5], p[0] * p[3] * p[6]]
    assert path_log_scores(logits, Hierarchy.of(small_tree())).exp().tolist() == pytest.approx(want, rel=1e-6)


@given(trees(), st.integers(0, 1000), st.sampled_from([0.1, 5.0, 200.0]))
@settings(deadline=None, max_examples=60)
def test_no_class_scores_above_its_parent(taxonomy: Taxonomy, seed: int, scale: float) -> None:
    logits = scale * torch.randn(3, len(taxonomy), generator=torch.Generator().manual_seed(seed))
    scores = path_log_scores(logits, Hierarchy.of(taxonomy))
    assert scores.isfinite().all()
    for child, parent in enumerate(taxonomy.parents):
        assert parent < 0 or (scores[:, child] <= scores[:, parent]).all()


@given(trees(), st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
def test_numpy_and_torch_agree(taxonomy: Taxonomy, seed: int) -> None:
    dice = np.random.default_rng(seed)
    logits = (3 * dice.standard_normal((2, len(taxonomy)))).astype(np.float32)
    labels = multi_hot([dice.integers(0, len(taxonomy), 2).tolist(), []], taxonomy)
    hierarchy = Hierarchy.of(taxonomy)
    in_torch = path_log_scores(torch.from_numpy(logits), hierarchy).exp().numpy()
    np.testing.assert_allclose(postprocess.path_scores(logits, taxonomy), in_torch, rtol=1e-4, atol=1e-7)
    in_numpy = postprocess.counted(labels.numpy(), taxonomy)
    np.testing.assert_array_equal(in_numpy, counted(labels, hierarchy).numpy())


def test_classes_count_where_a_sibling_holds() -> None:
    taxonomy = small_tree()
    labels = multi_hot([[taxonomy.index("golf")], [taxonomy.index("water")], []], taxonomy)
    assert counted(labels, Hierarchy.of(taxonomy)).tolist() == [
        [1, 1, 1, 1, 1, 1, 0],  # diving's parent does not hold
        [1, 1, 1, 1, 0, 0, 0],  # the label says nothing below water sports
        [1, 1, 0, 0, 0, 0, 0],  # nothing there: level 0 says so
    ]


def test_log_scores_of_sixteen_bit_logits_are_computed_in_full() -> None:
    scores = path_log_scores(torch.full((7,), -40.0, dtype=torch.float16), Hierarchy.of(small_tree()))
    assert scores.dtype == torch.float32
    assert scores[-1].item() == pytest.approx(-120, rel=1e-5)
    assert not math.isnan(scores.sum().item())
