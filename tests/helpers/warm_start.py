"""What the tests of warm starts share: small configurations, clips, and when two results are the same."""

from __future__ import annotations

import torch
from torch import Tensor

from fal_model.config import ModelConfig
from fal_model.spec import ClipSpec
from fal_model.warm_start_names import Pixels

TOLERANCE = 1e-4
"""Largest difference, relative to the largest value."""


def config_of(*, grid: int, patch_px: int, width: int, num_heads: int) -> ModelConfig:
    """Return a configuration in which three blocks grow to nine, and the third has its place before the first merge."""
    return ModelConfig(
        clip=ClipSpec(num_frames=2, size_px=grid * patch_px, flow_size_px=8),
        patch_px=patch_px,
        width=width,
        num_heads=num_heads,
        stage_depths=(7, 1, 1),
        motion_depth=1,
        fusion_depth=1,
        pyramid_width=8,
        embedding_dim=8,
    )


def clip(config: ModelConfig, *, is_still: bool = False) -> Tensor:
    """Draw frames [1, T, 3, H, W], all like the first where they are still."""
    dice = torch.Generator().manual_seed(1)
    size = config.clip.size_px
    frames = torch.randint(0, 256, (1, config.clip.num_frames, 3, size, size), dtype=torch.uint8, generator=dice)
    return frames[:, :1].expand_as(frames).contiguous() if is_still else frames


def normalised(frames_1T3HW: Tensor, pixels: Pixels) -> Tensor:
    """Return the frames [T, 3, H, W] as the checkpoint's own code gives them to it."""
    mean, std = (torch.tensor(values)[:, None, None] for values in pixels)
    return (frames_1T3HW[0].double() / 255 - mean).div(std).float()


def assert_same(got: Tensor | None, want: Tensor) -> None:
    """Compare, and see to it that there is something to compare: values that are not all alike."""
    assert got is not None
    assert got.shape == want.shape
    assert want.std() > 0.3
    assert (got - want).abs().amax() <= TOLERANCE * want.abs().amax()
