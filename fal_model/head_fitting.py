"""Fit a linear classifier on embeddings: regularised logistic regression down the tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fal_model.heads import prior_logits
from fal_model.hierarchy import Hierarchy
from fal_model.losses import conditional_bce
from fal_model.taxonomy import Taxonomy

SMALLEST_SCALE = 1e-6
"""Embeddings that are all the same have no scale."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Examples:
    """Clips whose classes are known.

    Attributes:
        embedding_NE: Their embeddings, float32.
        labels_NK: 1 where the class holds, ancestors included, else 0, float32.
        weight_N: How much each counts, ≥ 0, float32; a video of many clips must not count for more than another.

    Raises:
        ValueError: shapes that do not fit together, or no clips.
    """

    embedding_NE: npt.NDArray[np.float32]
    labels_NK: npt.NDArray[np.float32]
    weight_N: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        counts = len(self.embedding_NE), len(self.labels_NK), len(self.weight_N)
        if len(set(counts)) > 1 or not counts[0]:
            raise ValueError(f"examples: got {counts} embeddings, labels and weights, must be as many and at least one")

    def __len__(self) -> int:
        return len(self.weight_N)


class LinearFit(NamedTuple):
    """Weights for embeddings as they are, and how they were found.

    Attributes:
        weight_KE: float32.
        bias_K: float32.
        penalty: The one that was best on the clips left out.
        losses: Loss on the clips left out for each penalty that was tried, nats per clip.
    """

    weight_KE: npt.NDArray[np.float32]
    bias_K: npt.NDArray[np.float32]
    penalty: float
    losses: dict[float, float]


def fit_linear(
    examples: Examples, left_out: Examples, taxonomy: Taxonomy, penalties: Sequence[float], max_steps: int
) -> LinearFit:
    """Fit weights that make the labels most likely, and choose the penalty on clips left out.

    The loss is that of the tree, :func:`fal_model.losses.conditional_bce`: each class given its parent. A penalty is
    the weight of half the squared length of all weights, as in ridge regression. The strongest comes first, and each
    fit starts from the one before, for the optimum moves little. By L-BFGS over all clips at once; the same
    examples give the same weights on one machine.

    Args:
        examples: Clips to fit.
        left_out: Clips to choose by.
        taxonomy: The classes.
        penalties: Penalties to try.
        max_steps: Most steps of each fit.
    """
    mean_E = examples.embedding_NE.mean(axis=0)
    scale = 1 / max(float(examples.embedding_NE.std()), SMALLEST_SCALE)
    fit, held = (_tensors(e, mean_E, scale) for e in (examples, left_out))
    hierarchy = Hierarchy.of(taxonomy)
    weight_KE = torch.zeros(len(taxonomy), fit[0].shape[1], requires_grad=True)
    bias_K = torch.tensor(prior_logits(taxonomy), requires_grad=True)
    found: dict[float, tuple[Tensor, Tensor]] = {}
    losses: dict[float, float] = {}
    for penalty in sorted(penalties, reverse=True):
        _minimise(weight_KE, bias_K, fit, hierarchy, penalty, max_steps)
        found[penalty] = weight_KE.detach().clone(), bias_K.detach().clone()
        with torch.no_grad():
            losses[penalty] = float(_loss(weight_KE, bias_K, held, hierarchy))
    best = min(losses, key=lambda penalty: (losses[penalty], -penalty))
    plain_KE = found[best][0].numpy() * scale
    plain_K = found[best][1].numpy() - plain_KE @ mean_E
    return LinearFit(plain_KE.astype(np.float32), plain_K.astype(np.float32), best, losses)


Data = tuple[Tensor, Tensor, Tensor]
"""Features [N, E], labels [N, K] and weights [N]."""


def _tensors(examples: Examples, mean_E: npt.NDArray[np.floating], scale: float) -> Data:
    features_NE = (examples.embedding_NE - mean_E) * scale
    arrays = features_NE, examples.labels_NK, examples.weight_N
    features, labels, weights = (torch.from_numpy(array.astype(np.float32)) for array in arrays)
    return features, labels, weights


def _loss(weight_KE: Tensor, bias_K: Tensor, data: Data, hierarchy: Hierarchy) -> Tensor:
    features_NE, labels_NK, weight_N = data
    # Whole weights make a mean by weight of what the loss adds up for each row.
    return conditional_bce(features_NE @ weight_KE.T + bias_K, labels_NK, weight_N / weight_N.mean(), hierarchy)


def _minimise(
    weight_KE: Tensor, bias_K: Tensor, data: Data, hierarchy: Hierarchy, penalty: float, max_steps: int
) -> None:
    optimizer = torch.optim.LBFGS(
        [weight_KE, bias_K], max_iter=max_steps, history_size=10, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = _loss(weight_KE, bias_K, data, hierarchy) + penalty / 2 * weight_KE.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks it
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # same
