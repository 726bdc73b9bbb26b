"""How far predicted borders are from true ones, between the last frame on one side and the first on the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

REACH = 1.0
"""Strata. A border further away lies nearer to another frame, which is asked for it instead."""
BETA = 0.1
"""Strata. Errors above it count by their size, smaller ones by their square."""


def boundary_loss(offsets_BTL2: Tensor, true_BTL2: Tensor, known_BTL: Tensor) -> Tensor:
    """Compare offsets to borders within reach by smooth L1 (Girshick, "Fast R-CNN", ICCV 2015, equation 3).

    Which frames a class begins and ends at, the frames' classes say. An offset is only asked where within the last
    stratum it was, so one that knows nothing is as good as the middle, and never worse.

    Args:
        offsets_BTL2: Predicted distances from frame to start and end, strata, 0 to 1.
        true_BTL2: True ones, same shape.
        known_BTL: Which pairs of frame and class are known, bool; what is said to be true of others is never looked at.

    Returns:
        Scalar, strata: the mean over borders; 0 when there are none.
    """
    asked_BTL2 = asked_borders(true_BTL2, known_BTL)
    # Not by a product: what is not known may be NaN, and NaN times 0 is NaN.
    said, true = (torch.where(asked_BTL2, x.float(), 0.0) for x in (offsets_BTL2, true_BTL2))
    each_BTL2 = F.smooth_l1_loss(said, true, reduction="none", beta=BETA)
    return each_BTL2.sum() / asked_BTL2.float().sum().clamp(min=1)


def asked_borders(true_BTL2: Tensor, known_BTL: Tensor) -> Tensor:
    """Tell which offsets are compared: known ones within reach, bool [B, T, L, 2]."""
    return known_BTL[..., None] & (true_BTL2 <= REACH)
