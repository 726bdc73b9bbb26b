"""Feature pyramid: appearance and motion of every place at three scales, and the classes that are told right there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fal_model.attention import layer_norm
from fal_model.config import NUM_PYRAMID_SCALES, ModelConfig
from fal_model.encoder import normal_pixels
from fal_model.motion import FLOW_CHANNELS, flow_channels

GROUP_CHANNELS = 8
"""Channels that are normalised together, where they can be divided so."""
HERE, SPACE, TIME = (1, 1, 1), (1, 3, 3), (3, 1, 1)
"""Sizes of kernels: a place alone, its neighbours in the frame, the same place in the frames before and after."""

HIDDEN_RATIO = 2


class Places(NamedTuple):
    """What the places of a clip say.

    Attributes:
        frame_BTD: Description of each frame.
        frame_logits_BTK: Conditional logits of the classes by the places of each frame.
        logits_BK: The same by all places of all frames.
    """

    frame_BTD: Tensor
    frame_logits_BTK: Tensor
    logits_BK: Tensor


class FeaturePyramid(nn.Module):
    """Maps of 16, 32 and 64 pixels a place. Classes are told at every place of the finest one, and gathered after that.

    Two things that do something at once are told apart only where one of them is: once places have been averaged, or
    have looked at one another, a frame holds a star, a disc, something that goes left and something that turns. So
    nothing here comes from further away than the convolutions reach, and places are asked before they are gathered;
    where those of the coarser maps are asked too, which see nearly everything, the fine ones learn nothing.
    Appearance and motion meet place by place, on the finest map, and their product is there too: it is what "this, and
    so" comes from. They are joined without their neighbours: a place that sees more sees both things. A model without
    fusion has appearance alone. All three maps, each by its mean and its maximum, describe the frame to the heads.

    Source: Lin et al. 2017, "Feature Pyramid Networks for Object Detection", §3, for scales and classes at places;
    Feichtenhofer et al. 2016, "Convolutional Two-Stream Network Fusion for Video Action Recognition", §3.1, for joining
    the streams by a convolution, and 2017, "Spatiotemporal Multiplier Networks for Video Action Recognition", for their
    product; Pinheiro & Collobert 2015, "From Image-level to Pixel-level Labeling with Convolutional Networks", for
    gathering places by the logarithm of the mean of their exponentials.

    Args:
        config: Sizes.
        num_classes: Classes of the taxonomy, K.
    """

    def __init__(self, config: ModelConfig, num_classes: int) -> None:
        super().__init__()
        inner = config.pyramid_width
        quarter, half = (max(1, inner // share) for share in (4, 2))
        self.has_motion = config.motion_depth > 0 and config.fusion_depth > 0
        self.appearance = _halving((3, quarter, half, half, inner))
        if self.has_motion:
            self.motion = _halving((FLOW_CHANNELS, half, inner))
        self.joined = PlaceConv(inner * (3 if self.has_motion else 1), inner, HERE)
        self.over_time = nn.ModuleList(PlaceConv(inner, inner, TIME) for _ in range(NUM_PYRAMID_SCALES))
        self.coarser = nn.ModuleList(PlaceConv(inner, inner, SPACE, stride=2) for _ in range(NUM_PYRAMID_SCALES - 1))
        self.describe_norm = layer_norm(2 * inner * NUM_PYRAMID_SCALES)
        self.describe = nn.Linear(2 * inner * NUM_PYRAMID_SCALES, config.width)
        self.place_norm = layer_norm(inner)
        self.up = nn.Linear(inner, HIDDEN_RATIO * inner)
        self.classes = nn.Linear(HIDDEN_RATIO * inner, num_classes)

    def forward(self, frames_BTCHW: Tensor, flow_BTCHW: Tensor, flow_valid_BT: Tensor) -> Places:
        """Look at every place.

        Args:
            frames_BTCHW: RGB, uint8.
            flow_BTCHW: (u, v), frame pixels per flow step.
            flow_valid_BT: Where flow is known, bool; elsewhere its values are never looked at.
        """
        maps = self.maps(frames_BTCHW, flow_BTCHW, flow_valid_BT)
        pooled = [pool for x in maps for pool in (x.mean(dim=(3, 4)), x.amax(dim=(3, 4)))]
        described_BTI = torch.cat(pooled, dim=1).transpose(1, 2)
        frame_BTD: Tensor = self.describe(self.describe_norm(described_BTI))
        places_BTPI = maps[0].flatten(3).permute(0, 2, 3, 1)
        # Frame by frame: the classes of all places of all frames at once would be the largest tensor of the model.
        frame_logits_BTK = torch.stack([self._gathered(x_BPI) for x_BPI in places_BTPI.unbind(dim=1)], dim=1)
        logits_BK = frame_logits_BTK.logsumexp(dim=1) - math.log(frame_logits_BTK.shape[1])
        return Places(frame_BTD, frame_logits_BTK, logits_BK)

    def maps(self, frames_BTCHW: Tensor, flow_BTCHW: Tensor, flow_valid_BT: Tensor) -> list[Tensor]:
        """Return the maps [B, C, T, H, W], finest first."""
        dtype = self.describe.weight.dtype
        x = self.appearance(normal_pixels(frames_BTCHW, dtype).transpose(1, 2))
        if self.has_motion:
            moving = self.motion(flow_channels(flow_BTCHW, flow_valid_BT).to(dtype).transpose(1, 2))
            if moving.shape != x.shape:  # flow may have another share of the frame's size than a quarter
                moving = F.adaptive_avg_pool3d(moving, x.shape[2:])
            x = torch.cat((x, moving, x * moving), dim=1)
        x = self.joined(x)
        maps: list[Tensor] = []
        for i, over_time in enumerate(self.over_time):
            x = self.coarser[i - 1](x) if i else x
            x = x + over_time(x)
            maps.append(x)
        return maps

    def _gathered(self, x_BPI: Tensor) -> Tensor:
        """Return the classes [B, K] of the places of a frame: the mean of their odds, so that one place can decide."""
        each_BPK: Tensor = self.classes(F.gelu(self.up(self.place_norm(x_BPI))))
        return each_BPK.float().logsumexp(dim=1) - math.log(x_BPI.shape[1])


class PlaceConv(nn.Module):
    """Convolution over neighbouring places or frames, group norm, ReLU: [B, C, T, H, W] to the same T."""

    def __init__(self, inner: int, outer: int, kernel: tuple[int, int, int], stride: int = 1) -> None:
        super().__init__()
        time, rows, columns = (size // 2 for size in kernel)
        self.conv = nn.Conv3d(
            inner, outer, kernel, stride=(1, stride, stride), padding=(time, rows, columns), bias=False
        )
        self.norm = nn.GroupNorm(1 if outer % GROUP_CHANNELS else outer // GROUP_CHANNELS, outer)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Convolve."""
        y_BCTHW: Tensor = F.relu(self.norm(self.conv(x_BCTHW)))
        return y_BCTHW


def _halving(channels: Sequence[int]) -> nn.Sequential:
    """Return convolutions that make a map half as large each, with so many channels before, between and after them."""
    return nn.Sequential(*(PlaceConv(a, b, SPACE, stride=2) for a, b in itertools.pairwise(channels)))
