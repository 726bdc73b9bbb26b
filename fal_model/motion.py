"""Motion stream: optical flow to motion tokens."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fal_model.attention import DividedBlock, layer_norm
from fal_model.config import ModelConfig
from fal_model.recompute import BlockRunner

STEM_STRIDE = 8
"""Flow pixels per motion token, each way: three convolutions of stride 2."""

FLOW_CHANNELS = 4
"""Of :func:`flow_channels`."""

ROOT_SCALE = 2.0
"""Signed roots of flow are divided by this: motion of 4 px per step becomes 1."""


class MotionStream(BlockRunner):
    """Flow of every frame to tokens [B, T, M, D]; a learned token stands where flow is unknown."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        grid = -(-config.clip.flow_size_px // STEM_STRIDE)
        channels = (FLOW_CHANNELS, width // 4, width // 2, width)
        self.stem = nn.ModuleList(
            nn.Conv2d(inner, outer, kernel_size=3, stride=2, padding=1) for inner, outer in itertools.pairwise(channels)
        )
        self.no_flow_D = nn.Parameter(torch.zeros(width))
        self.space_MD = nn.Parameter(torch.zeros(grid * grid, width))
        self.time_TD = nn.Parameter(torch.zeros(config.clip.num_frames, width))
        self.blocks = nn.Sequential(
            *(DividedBlock(width, config.num_heads, config.dropout) for _ in range(config.motion_depth))
        )
        self.norm = layer_norm(width)

    def forward(self, flow_BTCHW: Tensor, flow_valid_BT: Tensor) -> Tensor:
        """Encode flow.

        Args:
            flow_BTCHW: (u, v), frame pixels per flow step.
            flow_valid_BT: Where flow is known, bool; elsewhere its values are never looked at.

        Returns:
            Motion tokens [B, T, M, D], normalised.
        """
        batch, frames = flow_BTCHW.shape[:2]
        valid_BT11 = flow_valid_BT[:, :, None, None]
        x = flow_channels(flow_BTCHW, flow_valid_BT).to(self.no_flow_D.dtype).flatten(0, 1)
        # Channels last: the convolutions are faster so, and what they return lies in memory as tokens do.
        x = x.contiguous(memory_format=torch.channels_last)
        for i, conv in enumerate(self.stem):
            x = conv(x if i == 0 else F.gelu(x))
        x_MPD = x.flatten(2).transpose(1, 2)
        x_BTMD = x_MPD.view(batch, frames, *x_MPD.shape[1:])
        x_BTMD = torch.where(valid_BT11, x_BTMD, self.no_flow_D.to(x_BTMD.dtype))
        x_BTMD = x_BTMD + self.space_MD + self.time_TD[:, None]
        tokens_BTMD: Tensor = self.norm(self.run_blocks(self.blocks, x_BTMD))
        return tokens_BTMD


def flow_channels(flow_BTCHW: Tensor, flow_valid_BT: Tensor) -> Tensor:
    """Make the four channels the stream sees: the flow, and the flow without the motion of the camera.

    The camera's motion is taken to be the median flow of the frame: what most of the picture does. Signed roots
    keep slow motion visible beside fast motion and keep the direction in the sign.

    Returns:
        float32 [B, T, 4, h, w]: u, v, residual u, residual v.
    """
    flow = torch.where(flow_valid_BT[:, :, None, None, None], flow_BTCHW.float(), 0.0)
    pixels = flow.flatten(3)
    camera_BTC = pixels.sort(dim=-1).values[..., pixels.shape[-1] // 2]
    both = torch.cat((flow, flow - camera_BTC[..., None, None]), dim=2)
    return both.sign() * both.abs().sqrt() / ROOT_SCALE
