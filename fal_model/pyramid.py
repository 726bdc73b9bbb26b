"""Feature pyramid: what three scales see in each frame, from coarse to fine, as one vector per frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fal_model.attention import layer_norm
from fal_model.config import ModelConfig


class FeaturePyramid(nn.Module):
    """Top-down pathway with lateral connections; every scale is described by its mean and its maximum.

    The maximum lets one small token speak for a frame, which the mean of a coarse grid would drown.

    Source: Lin et al. 2017, "Feature Pyramid Networks for Object Detection", §3.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, inner = config.width, config.pyramid_width
        self.grids = config.grids
        self.top_norm = layer_norm(width)
        self.token_norm = layer_norm(width) if config.has_frame_token else None
        self.has_scales = inner > 0
        if self.has_scales:
            self.norms = nn.ModuleList(layer_norm(width) for _ in self.grids)
            self.laterals = nn.ModuleList(nn.Linear(width, inner) for _ in self.grids)
            self.smooths = nn.ModuleList(nn.Conv2d(inner, inner, kernel_size=3, padding=1) for _ in self.grids)
            self.describe_norm = layer_norm(2 * inner * len(self.grids))
            self.describe = nn.Linear(2 * inner * len(self.grids), width)

    def forward(self, features: Sequence[Tensor], token_BTD: Tensor | None) -> Tensor:
        """Describe each frame.

        Args:
            features: Tokens [B, T, P, D] of each scale, finest first.
            token_BTD: Frame tokens; None when the encoder has none.

        Returns:
            Frame features [B, T, D].
        """
        batch, frames = features[0].shape[:2]
        frame_BTD: Tensor = self.top_norm(features[-1]).mean(dim=2)
        if self.token_norm is not None and token_BTD is not None:
            frame_BTD = frame_BTD + self.token_norm(token_BTD)
        if not self.has_scales:
            return frame_BTD
        parts: list[Tensor] = []
        for map_MCHW, smooth in zip(self._top_down(features), self.smooths, strict=True):
            smoothed = F.gelu(smooth(map_MCHW)).flatten(2)
            parts += [smoothed.mean(dim=-1), smoothed.amax(dim=-1)]
        described_MI = torch.cat(parts, dim=-1)
        described_BTI = described_MI.view(batch, frames, described_MI.shape[1])
        described_BTD: Tensor = self.describe(self.describe_norm(described_BTI))
        return frame_BTD + described_BTD

    def _top_down(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Add each coarser map to the next finer one; maps [B·T, C, H, W], finest first."""
        maps: list[Tensor] = []
        for i in reversed(range(len(features))):
            grid = self.grids[i]
            tokens = self.laterals[i](self.norms[i](features[i]))
            fine = tokens.flatten(0, 1).transpose(1, 2).unflatten(2, (grid, grid))
            if maps:
                fine = fine + double(maps[0])[..., :grid, :grid]
            maps.insert(0, fine)
        return maps


def double(map_MCHW: Tensor) -> Tensor:
    """Repeat every cell 2×2: the exact counterpart of merging 2×2 tokens, padding included."""
    rows, columns = map_MCHW.shape[-2:]
    cells = map_MCHW[..., :, None, :, None].expand(*map_MCHW.shape[:2], rows, 2, columns, 2)
    return cells.reshape(*map_MCHW.shape[:2], 2 * rows, 2 * columns)
