"""The label tree as tensors: from conditional logits to scores of whole paths, and which classes count in a loss."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from fal_model.taxonomy import Taxonomy


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Index tensors of a taxonomy on one device.

    Attributes:
        levels: Per level, first and last class (exclusive); classes are ordered by level.
        parent_K: Class index of each class's parent; K (one past the end) at level 0.
        leaf_L: Class indices without children.
        share_K: 1 in the number of siblings, but at most a half: what to say of a class before anything is known.
    """

    levels: tuple[tuple[int, int], ...]
    parent_K: Tensor
    leaf_L: Tensor
    share_K: Tensor

    @classmethod
    def of(cls, taxonomy: Taxonomy, device: torch.device | str = "cpu") -> Self:
        """Build the tensors of a taxonomy."""
        num_classes = len(taxonomy)
        starts = [i for i in range(num_classes) if i == 0 or taxonomy.levels[i] != taxonomy.levels[i - 1]]
        parents = [num_classes if p < 0 else p for p in taxonomy.parents]
        siblings = Counter(parents)
        return cls(
            levels=tuple(zip(starts, [*starts[1:], num_classes], strict=True)),
            parent_K=torch.tensor(parents, device=device),
            leaf_L=torch.tensor(taxonomy.leaves, device=device),
            share_K=torch.tensor([min(1 / siblings[parent], 0.5) for parent in parents], device=device),
        )


def path_log_scores(logits: Tensor, hierarchy: Hierarchy) -> Tensor:
    """Turn conditional logits into log scores of classes.

    The score of a class is the product of the conditional probabilities along its path, so no class can score
    above its parent.

    Args:
        logits: Shape [..., K].
        hierarchy: The tree.

    Returns:
        float32 of the same shape, ≤ 0.
    """
    conditional = F.logsigmoid(logits.float())
    start, stop = hierarchy.levels[0]
    parts = [conditional[..., start:stop]]
    for start, stop in hierarchy.levels[1:]:
        above = parts[-1].index_select(-1, hierarchy.parent_K[start:stop] - (start - parts[-1].shape[-1]))
        parts.append(conditional[..., start:stop] + above)
    return torch.cat(parts, dim=-1)


def counted(labels: Tensor, hierarchy: Hierarchy) -> Tensor:
    """Tell how much the labels say about each class.

    Level 0 always counts. Below it, a class counts where one of its siblings or itself holds: where the parent
    does not hold, the conditional logit has no meaning; where the parent holds but none of the children, the
    label is just not that deep. Of labels between 0 and 1, which are probabilities, this is the probability that one
    of the siblings holds: their sum, but no more than the parent's. For a mixture of two labels it is the mixture of
    what counts in each, wherever siblings exclude each other.

    Args:
        labels: 1 where the class holds, 0 where not, or between; ancestors included; shape [..., K].
        hierarchy: The tree.

    Returns:
        float32 of the same shape, 0 to 1.
    """
    held = labels.float()
    root = held.new_ones((*labels.shape[:-1], 1))
    children = torch.cat((torch.zeros_like(held), root), dim=-1).index_add(-1, hierarchy.parent_K, held)
    known = torch.minimum(children, torch.cat((held, root), dim=-1))
    return known.index_select(-1, hierarchy.parent_K)
