"""Losses: hierarchy, leaf classes and temporal localization, and their sum."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor

from fal_model.batch import ModelOutput, Targets
from fal_model.config import LossConfig
from fal_model.hierarchy import Hierarchy, counted, path_log_scores


class LossTerms(NamedTuple):
    """The losses of a batch, scalars, in nats: each unweighted, and ``total``, the weighted sum."""

    total: Tensor
    hierarchy: Tensor
    leaf: Tensor
    frame: Tensor


def compute_losses(output: ModelOutput, targets: Targets, hierarchy: Hierarchy, config: LossConfig) -> LossTerms:
    """Compare the model's output with what is true.

    Args:
        output: Of the model.
        targets: Of the same clips.
        hierarchy: The tree, on the same device.
        config: Weights.

    Returns:
        Scalars; computed in float32 whatever the precision of the output.
    """
    with torch.autocast(output.logits_BK.device.type, enabled=False):
        node = conditional_bce(output.logits_BK, targets.labels_BK, targets.label_known_B, hierarchy)
        leaf = leaf_cross_entropy(output.logits_BK, targets, hierarchy, config.label_smoothing)
        frame = conditional_bce(output.frame_logits_BTK, targets.frame_labels_BTK, targets.frame_known_BT, hierarchy)
    total = config.hierarchy_weight * node + config.leaf_weight * leaf + config.frame_weight * frame
    return LossTerms(total, node, leaf, frame)


def conditional_bce(logits: Tensor, labels: Tensor, known: Tensor, hierarchy: Hierarchy) -> Tensor:
    """Sum the binary cross-entropies of the classes that count; mean over the rows that are known.

    This is the negative log-likelihood of the row's labels when each class depends on its parent alone.

    Args:
        logits: Conditional logits [..., K].
        labels: 1 or 0, same shape.
        known: Which rows count, bool [...].
        hierarchy: The tree.

    Returns:
        Scalar; 0 when no row is known.
    """
    bce = F.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none")
    rows = (bce * counted(labels, hierarchy)).sum(dim=-1)
    weight = known.float()
    return (rows * weight).sum() / weight.sum().clamp(min=1)


def leaf_cross_entropy(logits_BK: Tensor, targets: Targets, hierarchy: Hierarchy, label_smoothing: float) -> Tensor:
    """Cross-entropy among leaves by the scores of their whole paths; several true leaves share the target.

    Rows without a true leaf are skipped.

    Returns:
        Scalar; 0 when no row has a true leaf.
    """
    log_share_BL = path_log_scores(logits_BK, hierarchy).index_select(-1, hierarchy.leaf_L).log_softmax(dim=-1)
    true_BL = targets.labels_BK.float().index_select(-1, hierarchy.leaf_L)
    num_true_B = true_BL.sum(dim=-1)
    weight_B = ((num_true_B > 0) & targets.label_known_B).float()
    target_BL = true_BL / num_true_B.clamp(min=1)[:, None]
    target_BL = (1 - label_smoothing) * target_BL + label_smoothing / true_BL.shape[-1]
    rows_B = -(target_BL * log_share_BL).sum(dim=-1)
    return (rows_B * weight_B).sum() / weight_B.sum().clamp(min=1)
