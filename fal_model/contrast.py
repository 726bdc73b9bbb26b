"""Contrast between clips: embeddings of like labels come close, those of unlike labels part."""

from __future__ import annotations

import torch
from torch import Tensor


def contrastive_loss(embedding_BE: Tensor, labels_BK: Tensor, known_B: Tensor, temperature: float) -> Tensor:
    """Cross-entropy between who is near a clip and who should be: the clips that share labels with it.

    Every other clip of the batch should be near in proportion to :func:`label_overlap`. Ancestors are labels too, so
    a clip of a sibling class is a weak positive, one of another domain is none. Only clips of the same batch meet: a
    micro-batch, and each worker, contrasts its own clips.

    Source: Khosla et al. 2020, "Supervised Contrastive Learning", eq. 2, with weights where it has a set of positives.

    Args:
        embedding_BE: Unit embeddings.
        labels_BK: 1 where the class holds, 0 where not, or between; ancestors included.
        known_B: Which clips count, bool.
        temperature: What cosine similarities are divided by, > 0.

    Returns:
        Scalar, float32, mean over the clips that share a label with another; 0 when none does.
    """
    pair_BB = known_B[:, None] & known_B[None, :] & ~torch.eye(len(known_B), dtype=torch.bool, device=known_B.device)
    weight_BB = label_overlap(labels_BK) * pair_BB
    similarity_BB = embedding_BE.float() @ embedding_BE.float().T / temperature
    # The lowest finite number, not -inf: a clip without partners has a row of nothing else.
    similarity_BB = similarity_BB.masked_fill(~pair_BB, torch.finfo(torch.float32).min)
    sum_B = weight_BB.sum(dim=1)
    rows_B = -(weight_BB * similarity_BB.log_softmax(dim=1)).sum(dim=1) / sum_B.clamp(min=torch.finfo(sum_B.dtype).tiny)
    has_positive_B = (sum_B > 0).float()
    return (rows_B * has_positive_B).sum() / has_positive_B.sum().clamp(min=1)


def label_overlap(labels_BK: Tensor) -> Tensor:
    """Return the labels two clips share over the labels they have between them (Jaccard), float32 [B, B].

    Labels between 0 and 1 count as they multiply (Tanimoto); for 0 and 1 that is the same. Clips without any label
    share nothing.
    """
    labels_BK = labels_BK.float()
    shared_BB = labels_BK @ labels_BK.T
    own_B = labels_BK.square().sum(dim=1)
    joint_BB = own_B[:, None] + own_B[None, :] - shared_BB
    return shared_BB / joint_BB.clamp(min=torch.finfo(torch.float32).tiny)
