"""Video encoder: patches to tokens, then three stages of divided space-time attention at falling resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fal_model.attention import DividedBlock, layer_norm
from fal_model.config import ModelConfig
from fal_model.recompute import BlockRunner

PIXEL_MEAN = 0.45
PIXEL_STD = 0.225
"""Frames enter as bytes and are normalised here, so that no caller can do it differently."""

COLOURS_FROM_RGB = ((0.299, 0.587, 0.114), (1.5, -1.5, 0.0), (-0.75, -0.75, 1.5))
"""Brightness, red against green, blue against yellow. Neighbouring channels of RGB say nearly the same; taken apart
and brought to like size, colour is learned as early as brightness. A linear patch embedding loses nothing by it."""


def normal_pixels(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn bytes into numbers of about 1."""
    return (pixels.to(dtype) / 255 - PIXEL_MEAN) / PIXEL_STD


class PatchEmbedding(nn.Module):
    """Cut frames into square patches, one token each, and add where and when the patch was.

    With a frame token, it comes first in each frame; it is the same everywhere.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.patch_px = config.patch_px
        self.proj = nn.Linear(3 * config.patch_px**2, config.width)
        self.space_PD = nn.Parameter(torch.zeros(config.grids[0] ** 2, config.width))
        self.time_TD = nn.Parameter(torch.zeros(config.clip.num_frames, config.width))
        self.frame_D = nn.Parameter(torch.zeros(config.width)) if config.has_frame_token else None
        self.norm = layer_norm(config.width) if config.has_input_norm else nn.Identity()

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        """Return tokens [B, T, P, D], or [B, T, 1 + P, D] with a frame token; patches row by row."""
        batch, frames, colours, height, width = frames_BTCHW.shape
        p = self.patch_px
        patches = frames_BTCHW.view(batch, frames, colours, height // p, p, width // p, p)
        # Bytes are moved before they become numbers: a quarter of the memory traffic.
        patches = patches.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)
        rgb = normal_pixels(patches, self.proj.weight.dtype)
        tokens_BTPD = F.linear(rgb, self._weight_for_rgb(), self.proj.bias)
        x_BTPD = tokens_BTPD + self.space_PD + self.time_TD[:, None]
        if self.frame_D is not None:
            token_BT1D = self.frame_D.to(x_BTPD.dtype).expand(batch, frames, 1, -1)
            x_BTPD = torch.cat((token_BT1D, x_BTPD), dim=2)
        normed_BTPD: Tensor = self.norm(x_BTPD)
        return normed_BTPD

    def _weight_for_rgb(self) -> Tensor:
        """Return the projection [D, 3·p²] as it applies to RGB: the weights are mixed once instead of every pixel."""
        weight = self.proj.weight
        mixing_KC = torch.tensor(COLOURS_FROM_RGB, dtype=weight.dtype, device=weight.device)
        weight_DK1N = weight.view(len(weight), len(mixing_KC), 1, -1)
        return (weight_DK1N * mixing_KC[:, :, None]).sum(dim=1).flatten(1)


class TokenMerge(nn.Module):
    """Turn each 2×2 square of tokens into one: their mean, and what a linear layer makes of all four.

    An odd grid repeats its last row and column, so the mean is over the tokens that exist. With the layer at zero this
    is average pooling: it leaves a pretrained transformer's tokens what they were.
    """

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.norm = layer_norm(4 * width)
        self.out = nn.Linear(4 * width, width)

    def forward(self, x_BTPD: Tensor) -> Tensor:
        """Return [B, T, P', D] with the grid halved, rounded up."""
        batch, frames, _, width = x_BTPD.shape
        x = x_BTPD.view(batch, frames, self.grid, self.grid, width)
        if self.grid % 2:
            x = torch.cat((x, x[:, :, -1:]), dim=2)
            x = torch.cat((x, x[:, :, :, -1:]), dim=3)
        half = x.shape[2] // 2
        x = x.view(batch, frames, half, 2, half, 2, width).transpose(3, 4).reshape(batch, frames, half * half, 4, width)
        merged_BTPD: Tensor = x.mean(dim=3) + self.out(self.norm(x.flatten(3)))
        return merged_BTPD


class VideoEncoder(BlockRunner):
    """Frames to tokens. All time steps are kept; only space gets coarser, stage by stage."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_frame_tokens = int(config.has_frame_token)
        self.embed = PatchEmbedding(config)
        self.merges = nn.ModuleList(TokenMerge(config.width, grid) for grid in config.grids[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(*(_block(config) for _ in range(depth))) for depth in config.stage_depths
        )

    def forward(self, frames_BTCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode uint8 frames.

        Returns:
            Tokens [B, T, P, D] of the last stage; and its frame tokens [B, T, D], None in a model without them.
        """
        x_BTPD = self.embed(frames_BTCHW)
        first = self.num_frame_tokens
        for i, stage in enumerate(self.stages):
            if i > 0:
                merged_BTPD = self.merges[i - 1](x_BTPD[:, :, first:])
                x_BTPD = torch.cat((x_BTPD[:, :, :first], merged_BTPD), dim=2) if first else merged_BTPD
            x_BTPD = self.run_blocks(stage, x_BTPD)
        return x_BTPD[:, :, first:], x_BTPD[:, :, 0] if first else None


def _block(config: ModelConfig) -> DividedBlock:
    return DividedBlock(
        config.width,
        config.num_heads,
        config.dropout,
        activation=config.activation,
        has_frame_token=config.has_frame_token,
    )
