"""Classes read from embeddings: what can be learned is, noise is not, and the fit is the optimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fal_model.batch import multi_hot
from fal_model.head_fitting import Examples, fit_linear
from fal_model.hierarchy import Hierarchy
from fal_model.losses import conditional_bce
from fal_model.taxonomy import Node, Taxonomy

TREE = Taxonomy(
    [Node("animal", "Animal"), Node("cat", "Cat", "animal"), Node("dog", "Dog", "animal"), Node("car", "Car")]
)
DIM = 6


def examples(num: int, seed: int, noise: float = 0.0) -> Examples:
    """Make clips of which the first two numbers of the embedding say the class: animal or car, cat or dog."""
    dice = np.random.default_rng(seed)
    embedding_NE = dice.normal(size=(num, DIM)).astype(np.float32)
    embedding_NE /= np.linalg.norm(embedding_NE, axis=1, keepdims=True)
    seen_NE = embedding_NE + noise * dice.normal(size=(num, DIM))
    ids = [("car" if a < 0 else "cat" if b < 0 else "dog") for a, b in seen_NE[:, :2]]
    labels_NK = multi_hot([[TREE.index(i)] for i in ids], TREE).numpy()
    return Examples(embedding_NE=embedding_NE, labels_NK=labels_NK, weight_N=np.ones(num, np.float32))


def test_classes_of_a_tree_are_learned() -> None:
    fit = fit_linear(examples(400, 0), examples(200, 1), TREE, (1e-1, 1e-4), 200)
    test = examples(500, 2)
    logits_NK = test.embedding_NE @ fit.weight_KE.T + fit.bias_K
    is_animal = test.labels_NK[:, TREE.index("animal")] > 0
    assert ((logits_NK[:, TREE.index("animal")] > 0) == is_animal).mean() > 0.97
    is_cat = test.labels_NK[is_animal, TREE.index("cat")] > 0
    assert ((logits_NK[is_animal, TREE.index("cat")] > 0) == is_cat).mean() > 0.97
    assert fit.penalty == 1e-4


def test_noise_takes_a_stronger_penalty() -> None:
    penalties = (10.0, 1e-1, 1e-2, 1e-6)
    fit = fit_linear(examples(60, 0, noise=2.0), examples(200, 1, noise=2.0), TREE, penalties, 100)
    assert fit.penalty >= 1e-1
    assert fit.penalty == min(fit.losses, key=fit.losses.__getitem__)
    assert set(fit.losses) == set(penalties)


def test_the_fit_is_the_optimum_for_embeddings_as_they_are() -> None:
    train, penalty = examples(200, 0, noise=0.3), 1e-2
    fit = fit_linear(train, train, TREE, (penalty,), 500)
    scale = 1 / float(train.embedding_NE.std())
    weight_KE = torch.tensor(fit.weight_KE, requires_grad=True)
    bias_K = torch.tensor(fit.bias_K, requires_grad=True)
    logits_NK = torch.tensor(train.embedding_NE) @ weight_KE.T + bias_K
    loss = conditional_bce(logits_NK, torch.tensor(train.labels_NK), torch.ones(200), Hierarchy.of(TREE))
    (loss + penalty / 2 * (weight_KE / scale).square().sum()).backward()  # type: ignore[no-untyped-call]
    assert weight_KE.grad is not None
    assert bias_K.grad is not None
    assert float(bias_K.grad.abs().max()) < 1e-4
    assert float(weight_KE.grad.abs().max()) < 1e-4


def test_a_weight_of_two_is_the_clip_twice() -> None:
    one = examples(50, 0, noise=0.5)
    double = Examples(
        embedding_NE=np.concatenate([one.embedding_NE, one.embedding_NE[:10]]),
        labels_NK=np.concatenate([one.labels_NK, one.labels_NK[:10]]),
        weight_N=np.ones(60, np.float32),
    )
    weight_N = np.where(np.arange(50) < 10, 2, 1).astype(np.float32)
    heavy = Examples(embedding_NE=one.embedding_NE, labels_NK=one.labels_NK, weight_N=weight_N)
    # The features are centred and scaled by the clips there are, so the numbers are near, not the same.
    found = [fit_linear(e, one, TREE, (1e-1,), 300) for e in (double, heavy)]
    assert np.allclose(found[0].weight_KE, found[1].weight_KE, atol=0.05)


def test_the_same_examples_give_the_same_weights() -> None:
    found = [fit_linear(examples(80, 0), examples(40, 1), TREE, (1e-1, 1e-3), 50) for _ in range(2)]
    assert np.array_equal(found[0].weight_KE, found[1].weight_KE)
    assert found[0].losses == found[1].losses


def test_a_class_without_examples_and_embeddings_all_alike_do_no_harm() -> None:
    alike = Examples(
        embedding_NE=np.ones((5, DIM), np.float32),
        labels_NK=multi_hot([[TREE.index("car")]] * 5, TREE).numpy(),
        weight_N=np.ones(5, np.float32),
    )
    fit = fit_linear(alike, alike, TREE, (1e-2,), 50)
    assert np.isfinite(fit.weight_KE).all()
    logits_K = np.ones(DIM) @ fit.weight_KE.T + fit.bias_K
    assert logits_K[TREE.index("car")] > 0 > logits_K[TREE.index("animal")]


def test_examples_fit_together() -> None:
    with pytest.raises(ValueError, match=r"examples: got \(0, 0, 0\) embeddings, labels and weights"):
        Examples(
            embedding_NE=np.zeros((0, 2), np.float32),
            labels_NK=np.zeros((0, 4), np.float32),
            weight_N=np.zeros(0, np.float32),
        )
    with pytest.raises(ValueError, match=r"must be as many and at least one"):
        Examples(
            embedding_NE=np.zeros((2, 2), np.float32),
            labels_NK=np.zeros((2, 4), np.float32),
            weight_N=np.zeros(1, np.float32),
        )
