import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model import postprocess
from fal_model.batch import multi_hot
from fal_model.config import LossConfig
from fal_model.hierarchy import Hierarchy, counted, path_log_scores
from fal_model.losses import conditional_bce
from fal_model.taxonomy import Node, Taxonomy
from tests.helpers.trees import deep_trees, trees


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


@given(deep_trees(), st.integers(0, 1000), st.sampled_from([1e-3, 1.0, 30.0, 1e4]))
@settings(deadline=None, max_examples=100)
def test_at_any_depth_no_class_scores_above_its_parent_in_torch_or_numpy(
    taxonomy: Taxonomy, seed: int, scale: float
) -> None:
    logits = scale * torch.randn(2, len(taxonomy), generator=torch.Generator().manual_seed(seed))
    log_scores = path_log_scores(logits, Hierarchy.of(taxonomy))
    scores = postprocess.path_scores(logits.numpy(), taxonomy)
    assert log_scores.isfinite().all()
    assert ((scores >= 0) & (scores <= 1)).all()
    for child, parent in enumerate(taxonomy.parents):
        if parent >= 0:
            assert (log_scores[:, child] <= log_scores[:, parent]).all()
            assert (scores[:, child] <= scores[:, parent]).all()


@pytest.mark.parametrize("depth", range(1, 9))
def test_a_chain_of_any_depth_multiplies(depth: int) -> None:
    chain = Taxonomy([Node(f"n{i}", "", f"n{i - 1}" if i else None) for i in range(depth)])
    logits = torch.zeros(depth)
    want = [0.5 ** (i + 1) for i in range(depth)]
    assert path_log_scores(logits, Hierarchy.of(chain)).exp().tolist() == pytest.approx(want)
    assert postprocess.path_scores(logits.numpy(), chain).tolist() == pytest.approx(want)


@given(deep_trees(), st.integers(0, 1000), st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_mixed_labels_of_one_path_each_cost_the_mixture(taxonomy: Taxonomy, seed: int, share: float) -> None:
    dice, hierarchy = np.random.default_rng(seed), Hierarchy.of(taxonomy)
    first, second = multi_hot([[i] for i in dice.integers(0, len(taxonomy), 2).tolist()], taxonomy)
    logits, known = torch.from_numpy(dice.standard_normal((1, len(taxonomy)))), torch.tensor([True])
    config = LossConfig(label_smoothing=0.1, positive_focus=1, negative_focus=2)
    labels = (first, second, share * first + (1 - share) * second)
    a, b, both = (conditional_bce(logits, x[None], known, hierarchy, config).item() for x in labels)
    assert both == pytest.approx(share * a + (1 - share) * b, rel=1e-4, abs=1e-5)
