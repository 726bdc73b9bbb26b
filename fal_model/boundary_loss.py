"""How far predicted borders are from true ones: one minus the IoU of intervals, and how far their middles differ."""

from __future__ import annotations

import torch
from torch import Tensor

SHORTEST = 1e-6
"""Share of the window below which an interval has no length to divide by."""


def boundary_loss(offsets_BTL2: Tensor, true_BTL2: Tensor, known_BTL: Tensor) -> Tensor:
    """Compare intervals around frames by their distance-IoU (Zheng et al., AAAI 2020, equation 7) in one dimension.

    Both intervals hold the frame, so the shared time is the sum of the smaller offsets and the joint time, which is
    the smallest interval around both as well, the sum of the larger ones.

    Args:
        offsets_BTL2: Predicted shares of the window from frame to start and end, ≥ 0.
        true_BTL2: True ones, same shape.
        known_BTL: Which pairs of frame and class count, bool.

    Returns:
        Scalar, 0 to 2: the mean over pairs; 0 when there are none.
    """
    said, true = offsets_BTL2.float(), true_BTL2.float()
    shared = torch.minimum(said, true).sum(dim=-1)
    joint = torch.maximum(said, true).sum(dim=-1).clamp(min=SHORTEST)
    apart = ((said[..., 1] - said[..., 0]) - (true[..., 1] - true[..., 0])) / 2
    each_BTL = 1 - shared / joint + (apart / joint) ** 2
    weight_BTL = known_BTL.float()
    return (each_BTL * weight_BTL).sum() / weight_BTL.sum().clamp(min=1)
