"""Checks of what tensors hold, made where looking costs nothing.

A GPU would have to finish all its work before its values could be read, and a compiler cannot follow a decision that
depends on them. So values are checked on the CPU only, and neither while compiling nor while exporting.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_FLOW_FRAMES = 10
"""Nothing moves further than this many frame edges within a flow step; what claims to is in another unit, or broken."""


def can_read_values(tensor: Tensor) -> bool:
    """Tell whether looking at the values of a tensor is free."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def check_tensors(**tensors: object) -> None:
    """Check that arguments are tensors and lie on one device.

    Args:
        tensors: By the name that a message shall call them.

    Raises:
        ValueError: something else, sparse tensors, or several devices.
    """
    devices: dict[str, str] = {}
    for name, value in tensors.items():
        if isinstance(value, Tensor) and value.layout == torch.strided:
            devices[name] = str(value.device)
        else:
            what = f"{value.layout} tensor" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{name}: got a {what}, must be a dense torch tensor")
    if len(set(devices.values())) > 1:
        raise ValueError(f"{', '.join(devices)}: got tensors on {', '.join(devices.values())}, must be on one device")


def check_flow_values(flow: Tensor, flow_valid: Tensor | None, size_px: int) -> None:
    """Check that flow is finite and of a possible size wherever it is said to be known.

    Args:
        flow: (u, v), frame pixels per flow step [B, T, 2, h, w].
        flow_valid: Where flow is known, bool [B, T]; None means everywhere. Elsewhere nothing is looked at.
        size_px: Longer edge of the frames.

    Raises:
        ValueError: NaN, infinite, or beyond ``MAX_FLOW_FRAMES`` times the frame; on the CPU only.
    """
    if not can_read_values(flow) or not flow.numel():
        return
    largest_BT = flow.flatten(2).abs().amax(dim=2)  # NaN if any is
    is_good_BT = largest_BT <= MAX_FLOW_FRAMES * size_px
    if flow_valid is not None:
        is_good_BT = is_good_BT | ~flow_valid
    if not is_good_BT.all():
        clip, frame = (~is_good_BT).nonzero()[0].tolist()
        raise ValueError(
            f"flow: got {float(largest_BT[clip, frame]):g} in clip {clip}, frame {frame}, must be finite and at most "
            f"{MAX_FLOW_FRAMES * size_px} pixels per step ({MAX_FLOW_FRAMES} times the frame); "
            "flow_valid is False where flow is not known"
        )


def check_shares(name: str, values: Tensor) -> None:
    """Check that values are probabilities.

    Raises:
        ValueError: one is NaN, or not from 0 to 1; on the CPU only.
    """
    if not can_read_values(values) or not values.numel():
        return
    low, high = (float(x) for x in torch.aminmax(values))
    if not (low >= 0 and high <= 1):
        raise ValueError(f"{name}: got values from {low:g} to {high:g}, must be from 0 to 1")


def check_distances(name: str, values: Tensor, known: Tensor) -> None:
    """Check that values are distances wherever they are said to be known.

    Args:
        name: What a message shall call the values.
        values: Shape [..., sides].
        known: Where they are known, bool [...]; elsewhere nothing is looked at.

    Raises:
        ValueError: a known one is NaN, infinite or negative; on the CPU only.
    """
    if not can_read_values(values):
        return
    is_bad = known[..., None] & ~((values >= 0) & values.isfinite())
    if is_bad.any():
        raise ValueError(f"{name}: got {float(values[is_bad][0]):g} where it is known, must be finite and ≥ 0")
