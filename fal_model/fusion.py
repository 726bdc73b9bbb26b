"""Temporal fusion: tokens look at motion, then at each other across all frames, and become one vector per frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fal_model.attention import CrossAttention, Mlp, SpaceAttention, layer_norm
from fal_model.config import ModelConfig
from fal_model.recompute import BlockRunner


class FusionBlock(nn.Module):
    """Cross-attention to motion, joint attention over all frames and positions, and an MLP; residual."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, num_heads = config.width, config.num_heads
        self.has_motion = config.motion_depth > 0
        if self.has_motion:
            self.motion_norm = layer_norm(width)
            self.motion = CrossAttention(width, num_heads)
        self.joint_norm = layer_norm(width)
        self.joint = SpaceAttention(width, num_heads)
        self.mlp_norm = layer_norm(width)
        self.mlp = Mlp(width)
        self.drop = nn.Dropout(config.dropout) if config.dropout else nn.Identity()

    def forward(self, x_BQD: Tensor, motion_BSD: Tensor | None) -> Tensor:
        """Keep the shape [B, Q, D], Q = T·P."""
        if motion_BSD is not None:
            x_BQD = x_BQD + self.drop(self.motion(self.motion_norm(x_BQD), motion_BSD))
        x_BQD = x_BQD + self.drop(self.joint(self.joint_norm(x_BQD)[:, None])[:, 0])
        y_BQD: Tensor = x_BQD + self.drop(self.mlp(self.mlp_norm(x_BQD)))
        return y_BQD


class TemporalFusion(BlockRunner):
    """Fuse the frames with one another and appearance with motion, at the coarsest scale; then one vector per frame."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.time_TD = nn.Parameter(torch.zeros(config.clip.num_frames, config.width))
        self.blocks = nn.ModuleList(FusionBlock(config) for _ in range(config.fusion_depth))
        self.norm = layer_norm(config.width)
        self.token_norm = layer_norm(config.width) if config.has_frame_token else None

    def forward(self, x_BTPD: Tensor, token_BTD: Tensor | None, motion_BTMD: Tensor | None) -> Tensor:
        """Fuse.

        Args:
            x_BTPD: Appearance tokens of the coarsest stage.
            token_BTD: Frame tokens; None when the encoder has none.
            motion_BTMD: Motion tokens; None when the model has no motion stream.

        Returns:
            Frame features [B, T, D].
        """
        # Order is what some classes are about, and the encoder's own time positions have faded by now.
        x_BQD = (x_BTPD + self.time_TD[:, None]).flatten(1, 2)
        if motion_BTMD is not None:
            # The short way for the motion of a frame as a whole; the blocks add where it is, and when.
            x_BQD = x_BQD + motion_BTMD.mean(dim=2, keepdim=True).expand_as(x_BTPD).flatten(1, 2)
        motion_BSD = None if motion_BTMD is None else motion_BTMD.flatten(1, 2)
        x_BQD = self.run_blocks(self.blocks, x_BQD, motion_BSD)
        frame_BTD: Tensor = self.norm(x_BQD.view(x_BTPD.shape)).mean(dim=2)
        if self.token_norm is not None and token_BTD is not None:
            frame_BTD = frame_BTD + self.token_norm(token_BTD)
        # The motion of a frame as a whole goes to the heads by itself: through the blocks alone it is learned late.
        return frame_BTD if motion_BTMD is None else frame_BTD + motion_BTMD.mean(dim=2)
