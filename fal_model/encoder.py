"""Video encoder: patches to tokens, then three stages of divided space-time attention at falling resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody uses
from torch import Tensor, nn

from fal_model.attention import DividedBlock
from fal_model.config import ModelConfig

PIXEL_MEAN = 0.45
PIXEL_STD = 0.225
"""Frames enter as bytes and are normalised here, so that no caller can do it differently."""

COLOURS_FROM_RGB = ((0.299, 0.587, 0.114), (1.5, -1.5, 0.0), (-0.75, -0.75, 1.5))
"""Brightness, red against green, blue against yellow. Neighbouring channels of RGB say nearly the same; taken apart
and brought to like size, colour is learned as early as brightness. A linear patch embedding loses nothing by it."""


class PatchEmbedding(nn.Module):
    """Cut frames into square patches, one token each, and add where and when the patch was."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.patch_px = config.patch_px
        self.proj = nn.Linear(3 * config.patch_px**2, config.width)
        self.space_PD = nn.Parameter(torch.zeros(config.grids[0] ** 2, config.width))
        self.time_TD = nn.Parameter(torch.zeros(config.clip.num_frames, config.width))

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        """Return tokens [B, T, P, D]; patches row by row."""
        batch, frames, colours, height, width = frames_BTCHW.shape
        p = self.patch_px
        patches = frames_BTCHW.view(batch, frames, colours, height // p, p, width // p, p)
        # Bytes are moved before they become numbers: a quarter of the memory traffic.
        patches = patches.permute(0, 1, 3, 5, 2, 4, 6).reshape(batch, frames, -1, colours * p * p)
        rgb = (patches.to(self.proj.weight.dtype) / 255 - PIXEL_MEAN) / PIXEL_STD
        tokens_BTPD = F.linear(rgb, self._weight_for_rgb(), self.proj.bias)
        x_BTPD: Tensor = tokens_BTPD + self.space_PD + self.time_TD[:, None]
        return x_BTPD

    def _weight_for_rgb(self) -> Tensor:
        """Return the projection [D, 3·p²] as it applies to RGB: the weights are mixed once instead of every pixel."""
        weight = self.proj.weight
        mixing_KC = torch.tensor(COLOURS_FROM_RGB, dtype=weight.dtype, device=weight.device)
        weight_DK1N = weight.view(len(weight), len(mixing_KC), 1, -1)
        return (weight_DK1N * mixing_KC[:, :, None]).sum(dim=1).flatten(1)


class TokenMerge(nn.Module):
    """Turn each 2×2 square of tokens into one; an odd grid is padded with zeros at its far edges."""

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.norm = nn.LayerNorm(4 * width)
        self.proj = nn.Linear(4 * width, width)

    def forward(self, x_BTPD: Tensor) -> Tensor:
        """Return [B, T, P', D] with the grid halved, rounded up."""
        batch, frames, _, width = x_BTPD.shape
        pad = self.grid % 2
        half = (self.grid + pad) // 2
        x = F.pad(x_BTPD.view(batch, frames, self.grid, self.grid, width), (0, 0, 0, pad, 0, pad))
        x = x.view(batch, frames, half, 2, half, 2, width).transpose(3, 4)
        merged_BTPD: Tensor = self.proj(self.norm(x.reshape(batch, frames, half * half, 4 * width)))
        return merged_BTPD


class VideoEncoder(nn.Module):
    """Frames to features at three scales. All time steps are kept; only space gets coarser."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed = PatchEmbedding(config)
        self.merges = nn.ModuleList(TokenMerge(config.width, grid) for grid in config.grids[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(*(DividedBlock(config.width, config.num_heads, config.dropout) for _ in range(depth)))
            for depth in config.stage_depths
        )

    def forward(self, frames_BTCHW: Tensor) -> list[Tensor]:
        """Encode uint8 frames.

        Returns:
            Features [B, T, P, D] after each stage, finest first.
        """
        x_BTPD = self.embed(frames_BTCHW)
        features: list[Tensor] = []
        for i, stage in enumerate(self.stages):
            if i > 0:
                x_BTPD = self.merges[i - 1](x_BTPD)
            x_BTPD = stage(x_BTPD)
            features.append(x_BTPD)
        return features
