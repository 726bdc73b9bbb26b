"""How far predicted borders are from true ones, between the last frame on one side and the first on the other."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - the name everybody uses
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
        known_BTL: Which pairs of frame and class are known, bool.

    Returns:
        Scalar, strata: the mean over borders; 0 when there are none.
    """
    said, true = offsets_BTL2.float(), true_BTL2.float()
    each_BTL2 = F.smooth_l1_loss(said, true, reduction="none", beta=BETA)
    weight_BTL2 = (known_BTL[..., None] & (true <= REACH)).float()
    return (each_BTL2 * weight_BTL2).sum() / weight_BTL2.sum().clamp(min=1)
