"""Losses: hierarchy, leaf classes, temporal localization and embedding, and their sum.

Labels may lie anywhere between 0 and 1: a mixture of two clips, or what a teacher believes. Every loss is then the
expected loss over labels of that probability. Single-label and multi-label clips go through the same losses.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fal_model.batch import ModelOutput, Targets
from fal_model.boundary_loss import asked_borders, boundary_loss
from fal_model.config import LossConfig
from fal_model.contrast import contrastive_loss
from fal_model.hierarchy import Hierarchy, counted, path_log_scores
from fal_model.values import can_read_values

ANCESTOR_SLACK = 1e-3
"""By this much, mixed labels of sixteen bit may exceed that of their parent."""

TINY = 1e-8
"""Probabilities are kept this far from 0 where a root is taken of them: its slope there is infinite."""


class LossTerms(NamedTuple):
    """The losses of a batch, scalars, each unweighted, and ``total``, the weighted sum; in nats, boundary in strata."""

    total: Tensor
    hierarchy: Tensor
    leaf: Tensor
    frame: Tensor
    boundary: Tensor
    embedding: Tensor


class Counts(NamedTuple):
    """Over how much of a batch each loss is a mean, scalars, each at least 1; that of the embedding is by all clips."""

    hierarchy: Tensor
    leaf: Tensor
    frame: Tensor
    boundary: Tensor
    embedding: Tensor


def count_known(targets: Targets, hierarchy: Hierarchy) -> Counts:
    """Count what the targets say something about: known clips, those with a true leaf, known frames, borders; clips.

    Raises:
        ValueError: the targets are of other classes.
    """
    if targets.labels_BK.shape[-1] != len(hierarchy.parent_K):
        raise ValueError(f"labels_BK: got {targets.labels_BK.shape[-1]} classes, must be {len(hierarchy.parent_K)}")
    counts = (
        targets.label_known_B,
        (targets.labels_BK.index_select(-1, hierarchy.leaf_L).sum(dim=-1) > 0) & targets.label_known_B,
        targets.frame_known_BT,
        asked_borders(targets.offsets_BTL2, targets.offset_known_BTL),
        torch.ones_like(targets.label_known_B),
    )
    return Counts(*(known.float().sum().clamp(min=1) for known in counts))


def compute_losses(
    output: ModelOutput,
    targets: Targets,
    hierarchy: Hierarchy,
    config: LossConfig,
    whole: Counts | None = None,
) -> LossTerms:
    """Compare the model's output with what is true.

    Args:
        output: Of the model.
        targets: Of the same clips.
        hierarchy: The tree, on the same device.
        config: Weights.
        whole: What is known of the batch that these clips are a part of: the losses of all parts then add up to those
            of the batch. That of the embedding does not, for only clips of one part meet: its parts count by their
            clips. None where these clips are the whole batch.

    Returns:
        Scalars; computed in float32 whatever the precision of the output.

    Raises:
        ValueError: the targets are of other clips, frames or classes; on the CPU also: a class is labelled more
            surely than its parent.
    """
    check_targets(output, targets, hierarchy)
    with torch.autocast(output.logits_BK.device.type, enabled=False):
        node = conditional_bce(output.logits_BK, targets.labels_BK, targets.label_known_B, hierarchy, config)
        leaf = leaf_cross_entropy(output.logits_BK, targets, hierarchy, config.label_smoothing)
        frame = conditional_bce(
            output.frame_logits_BTK, targets.frame_labels_BTK, targets.frame_known_BT, hierarchy, config
        )
        boundary = boundary_loss(output.offsets_BTL2, targets.offsets_BTL2, targets.offset_known_BTL)
        embedding = contrastive_loss(
            output.embedding_BE, targets.labels_BK, targets.label_known_B, config.embedding_temperature
        )
    if whole is not None:
        pairs = zip((node, leaf, frame, boundary, embedding), count_known(targets, hierarchy), whole, strict=True)
        node, leaf, frame, boundary, embedding = (loss * (own / all_) for loss, own, all_ in pairs)
    total = config.hierarchy_weight * node + config.leaf_weight * leaf + config.frame_weight * frame
    total = total + config.boundary_weight * boundary
    if config.embedding_weight:
        total = total + config.embedding_weight * embedding
    return LossTerms(total, node, leaf, frame, boundary, embedding)


def conditional_bce(
    logits: Tensor, labels: Tensor, known: Tensor, hierarchy: Hierarchy, config: LossConfig | None = None
) -> Tensor:
    """Sum the binary cross-entropies of the classes that count; mean over the rows that are known.

    This is the negative log-likelihood of the row's labels when each class depends on its parent alone; with focus
    or margin, hard classes weigh more in it. Label smoothing moves a share of what counts of each class to its share
    among its siblings.

    Args:
        logits: Conditional logits [..., K].
        labels: 1 where the class holds, 0 where not, or between; same shape.
        known: Which rows count, bool [...].
        hierarchy: The tree.
        config: Label smoothing, focus and margin; None has none of them.

    Returns:
        Scalar; 0 when no row is known.
    """
    config = config or LossConfig()
    labels, weight = labels.float(), counted(labels, hierarchy)
    if config.label_smoothing:
        labels = (1 - config.label_smoothing) * labels + config.label_smoothing * weight * hierarchy.share_K
    costs = labels * positive_cost(logits.float(), config.positive_focus)
    costs = costs + (weight - labels).clamp(min=0) * negative_cost(
        logits.float(), config.negative_focus, config.negative_margin
    )
    weight = known.float()
    return (costs.sum(dim=-1) * weight).sum() / weight.sum().clamp(min=1)


def positive_cost(logits: Tensor, focus: float) -> Tensor:
    """Return what it costs to score a class that holds: (1 − p)^focus · −log p, with p = sigmoid(logit).

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", eq. 4; Ridnik et al. 2021, "Asymmetric Loss For
    Multi-Label Classification", eq. 7.

    Args:
        logits: float32, any shape.
        focus: Exponent, ≥ 0; 0 is the plain cross-entropy.
    """
    cost = F.softplus(-logits)
    # A power by way of its logarithm has no slope that is infinite.
    return cost * (focus * F.logsigmoid(-logits)).exp() if focus else cost


def negative_cost(logits: Tensor, focus: float, margin: float) -> Tensor:
    """Return what it costs to score a class that does not hold: q^focus · −log(1 − q), with q = max(p − margin, 0).

    Source: Ridnik et al. 2021, eq. 5 to 7; with focus alone, Lin et al. 2017, eq. 4.

    Args:
        logits: float32, any shape.
        focus: Exponent, ≥ 0.
        margin: Scores below it cost nothing, 0 to 1; with focus 0 as well this is the plain cross-entropy.
    """
    if not margin:
        cost = F.softplus(logits)
        return cost * (focus * F.logsigmoid(logits)).exp() if focus else cost
    q = (logits.sigmoid() - margin).clamp(min=0)
    cost = -torch.log1p(-q)
    return cost * q.clamp(min=TINY).pow(focus) if focus else cost


def leaf_cross_entropy(logits_BK: Tensor, targets: Targets, hierarchy: Hierarchy, label_smoothing: float) -> Tensor:
    """Cross-entropy among leaves by the scores of their whole paths; several true leaves share the target.

    Rows without a true leaf are skipped; one whose leaves are true with a probability below 1 in all counts as much.

    Returns:
        Scalar; 0 when no row has a true leaf.
    """
    log_share_BL = path_log_scores(logits_BK, hierarchy).index_select(-1, hierarchy.leaf_L).log_softmax(dim=-1)
    true_BL = targets.labels_BK.float().index_select(-1, hierarchy.leaf_L)
    sum_B = true_BL.sum(dim=-1)
    has_leaf_B = ((sum_B > 0) & targets.label_known_B).float()
    target_BL = true_BL / sum_B.clamp(min=TINY)[:, None]
    target_BL = (1 - label_smoothing) * target_BL + label_smoothing / true_BL.shape[-1]
    rows_B = -(target_BL * log_share_BL).sum(dim=-1) * sum_B.clamp(max=1)
    return (rows_B * has_leaf_B).sum() / has_leaf_B.sum().clamp(min=1)


def check_targets(output: ModelOutput, targets: Targets, hierarchy: Hierarchy) -> None:
    """Check that targets belong to the output and to the tree.

    Values are looked at on the CPU only: a GPU would have to stop for them.

    Raises:
        ValueError: other clips, frames, classes or leaves; or a class that is labelled more surely than its parent.
    """
    num_classes = len(hierarchy.parent_K)
    want = (*output.frame_logits_BTK.shape[:2], num_classes)
    for name, shape in (
        ("frame_logits_BTK", tuple(output.frame_logits_BTK.shape)),
        ("frame_labels_BTK", tuple(targets.frame_labels_BTK.shape)),
    ):
        if shape != want:
            raise ValueError(
                f"{name}: got {list(shape)} clips, frames and classes, must be {list(want)} as output and taxonomy"
            )
    want_leaves = (*want[:2], len(hierarchy.leaf_L), 2)
    for name, offsets in (("offsets_BTL2 of the output", output.offsets_BTL2), ("offsets_BTL2", targets.offsets_BTL2)):
        if tuple(offsets.shape) != want_leaves:
            raise ValueError(
                f"{name}: got {list(offsets.shape)} clips, frames, leaves and sides, must be {list(want_leaves)} as "
                "output and taxonomy"
            )
    if not can_read_values(targets.labels_BK):
        return
    for name, labels in (("labels_BK", targets.labels_BK), ("frame_labels_BTK", targets.frame_labels_BTK)):
        above = torch.cat((labels, labels.new_ones((*labels.shape[:-1], 1))), dim=-1)
        surplus = labels - above.index_select(-1, hierarchy.parent_K)
        if surplus.numel() and surplus.max() > ANCESTOR_SLACK:
            k = int((surplus.flatten(0, -2).amax(dim=0)).argmax())
            raise ValueError(
                f"{name}: got class {k} up to {float(surplus.max()):.3g} above its parent, class "
                f"{int(hierarchy.parent_K[k])}; must be at most the parent's: ancestors of a true class are true"
            )
