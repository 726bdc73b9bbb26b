import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model import postprocess
from fal_model.batch import multi_hot
from fal_model.hierarchy import Hierarchy, counted, path_log_scores
from fal_model.taxonomy import Taxonomy
from tests.helpers.trees import trees


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
