"""Encoders of others in place of ours, behind the same heads: what ``bench/ablation.py`` compares with.

They see frames only. Each is as deep as our encoder; its width is chosen so that a clip costs as much to compute.
TimeSformer and VideoMAE come from ``transformers``, untrained; the (2+1)D network is written here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import TimesformerConfig, TimesformerModel, VideoMAEConfig, VideoMAEModel

from bench.time_blind import FrameByFrame
from fal_model.batch import ModelOutput
from fal_model.config import ModelConfig
from fal_model.encoder import PIXEL_MEAN, PIXEL_STD
from fal_model.model import INIT_GAIN, FALModel
from fal_model.taxonomy import Taxonomy

TIMESFORMER, VIDEOMAE, CONVOLUTIONS, ALONE = "TimeSformer", "VideoMAE", "R(2+1)D", "each frame alone"
PEERS = (TIMESFORMER, VIDEOMAE, CONVOLUTIONS, ALONE)
MLP_RATIO = 4
TUBELET_FRAMES = 2
CNN_STAGES = 4
MAX_WIDENING = 4
"""A peer is at most so many times as wide as our model."""


class PeerModel(FALModel):
    """Somebody else's encoder, then our heads.

    Args:
        config: Input contract, width of the features, size of the embedding.
        taxonomy: The label tree.
        encoder: Normalised frames [B, T, 3, H, W] to frame features [B, T, D].
    """

    def __init__(self, config: ModelConfig, taxonomy: Taxonomy, encoder: nn.Module) -> None:
        super().__init__(replace(config, motion_depth=0, fusion_depth=0, pyramid_width=0), taxonomy)
        del self.encoder, self.fusion, self.pyramid
        self.peer = encoder

    def forward(self, frames: Tensor, flow: Tensor, flow_valid: Tensor | None = None) -> ModelOutput:
        """Take and return what :class:`FALModel` does; flow is not looked at."""
        self._check(frames, flow, flow_valid)
        normal_BTCHW = (frames.to(self.heads.project.weight.dtype) / 255 - PIXEL_MEAN) / PIXEL_STD
        output: ModelOutput = self.heads(self.peer(normal_BTCHW))
        return output


class TimesformerFrames(nn.Module):
    """Divided space-time attention; a frame is the mean of its tokens, plus the clip's class token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_frames = config.clip.num_frames
        settings = TimesformerConfig(
            image_size=config.clip.size_px,
            patch_size=config.patch_px,
            num_frames=self.num_frames,
            hidden_size=config.width,
            num_hidden_layers=sum(config.stage_depths),
            num_attention_heads=config.num_heads,
            intermediate_size=MLP_RATIO * config.width,
            initializer_range=INIT_GAIN / config.width**0.5,
            attention_type="divided_space_time",
        )
        self.model = TimesformerModel(settings)

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        """Return frame features [B, T, D]."""
        tokens_BSD: Tensor = self.model(frames_BTCHW).last_hidden_state
        # After the class token the tokens lie place by place, each with all its frames.
        places_BPTD = tokens_BSD[:, 1:].reshape(len(tokens_BSD), -1, self.num_frames, tokens_BSD.shape[-1])
        frame_BTD: Tensor = places_BPTD.mean(dim=1) + tokens_BSD[:, :1]
        return frame_BTD


class VideoMaeFrames(nn.Module):
    """Joint attention over tubelets of two frames; both frames of a tubelet are the mean of its tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_frames = config.clip.num_frames
        self.tubelet = TUBELET_FRAMES if self.num_frames % TUBELET_FRAMES == 0 else 1
        settings = VideoMAEConfig(
            image_size=config.clip.size_px,
            patch_size=config.patch_px,
            num_frames=self.num_frames,
            tubelet_size=self.tubelet,
            hidden_size=config.width,
            num_hidden_layers=sum(config.stage_depths),
            num_attention_heads=config.num_heads,
            intermediate_size=MLP_RATIO * config.width,
            initializer_range=INIT_GAIN / config.width**0.5,
            use_mean_pooling=False,  # leaves the last norm inside the model
        )
        self.model = VideoMAEModel(settings)

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        """Return frame features [B, T, D]."""
        tokens_BSD: Tensor = self.model(frames_BTCHW).last_hidden_state
        steps_BUPD = tokens_BSD.view(len(tokens_BSD), self.num_frames // self.tubelet, -1, tokens_BSD.shape[-1])
        return steps_BUPD.mean(dim=2).repeat_interleave(self.tubelet, dim=1)


class ConvolvedFrames(nn.Module):
    """Residual network of separate convolutions over space and over time; every frame is kept.

    Source: Tran et al. 2018, "A Closer Look at Spatiotemporal Convolutions for Action Recognition", §3.5.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        blocks = max(1, sum(config.stage_depths) // (2 * CNN_STAGES))
        widths = [config.width // 2**stage for stage in reversed(range(CNN_STAGES))]
        self.stem = nn.Sequential(
            nn.Conv3d(3, widths[0], (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False),
            nn.BatchNorm3d(widths[0]),
            nn.ReLU(),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        )
        layers: list[nn.Module] = []
        inner = widths[0]
        for stage, outer in enumerate(widths):
            for block in range(blocks):
                layers.append(ConvolvedBlock(inner, outer, stride=2 if stage and not block else 1))
                inner = outer
        self.layers = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        """Return frame features [B, T, D]."""
        map_BCTHW: Tensor = self.layers(self.stem(frames_BTCHW.transpose(1, 2)))
        return map_BCTHW.mean(dim=(3, 4)).transpose(1, 2)


class ConvolvedBlock(nn.Module):
    """Twice a convolution over space and one over time, with a way around them."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.first = _space_and_time(inner, outer, stride)
        self.second = _space_and_time(outer, outer, 1)
        self.around = nn.Sequential()
        if inner != outer or stride > 1:
            narrow = nn.Conv3d(inner, outer, 1, stride=(1, stride, stride), bias=False)
            self.around = nn.Sequential(narrow, nn.BatchNorm3d(outer))

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Keep time, and space but for the stride."""
        return F.relu(self.second(F.relu(self.first(x_BCTHW))) + self.around(x_BCTHW))


def _space_and_time(inner: int, outer: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inner, outer, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1), bias=False),
        nn.BatchNorm3d(outer),
        nn.ReLU(),
        nn.Conv3d(outer, outer, (3, 1, 1), padding=(1, 0, 0), bias=False),
        nn.BatchNorm3d(outer),
    )


ENCODERS: dict[str, Callable[[ModelConfig], nn.Module]] = {
    TIMESFORMER: TimesformerFrames,
    VIDEOMAE: VideoMaeFrames,
    CONVOLUTIONS: ConvolvedFrames,
}


def build(peer: str, config: ModelConfig, taxonomy: Taxonomy) -> tuple[FALModel, nn.Module]:
    """Make a model with weights from torch's global generator.

    Args:
        peer: One of ``PEERS``; empty for our own model.
        config: Its sizes; of a peer, what :func:`fitted` returned.
        taxonomy: The label tree.

    Returns:
        What holds the weights, and what is called with whole clips: the same but for single frames.
    """
    if peer in ENCODERS:
        other = PeerModel(config, taxonomy, ENCODERS[peer](config))
        return other, other
    if peer == ALONE:
        single = FALModel(replace(config, clip=replace(config.clip, num_frames=1), motion_depth=0), taxonomy)
        return single, FrameByFrame(single)
    model = FALModel(config, taxonomy)
    return model, model


def fitted(peer: str, config: ModelConfig, taxonomy: Taxonomy) -> ModelConfig:
    """Return the sizes of a peer that computes as much for a clip as our model of these sizes: only the width changes.

    Args:
        peer: One of ``PEERS``.
        config: Sizes of our model.
        taxonomy: The label tree.
    """
    goal = gflop("", config, taxonomy)
    step = math.lcm(2 ** (CNN_STAGES - 1), config.num_heads) if peer == CONVOLUTIONS else math.lcm(4, config.num_heads)
    low, high = 1, MAX_WIDENING * config.width // step
    while high - low > 1:
        middle = (low + high) // 2
        is_enough = gflop(peer, replace(config, width=middle * step), taxonomy) >= goal
        low, high = (low, middle) if is_enough else (middle, high)
    both = [replace(config, width=steps * step) for steps in (low, high)]
    return min(both, key=lambda sizes: abs(gflop(peer, sizes, taxonomy) - goal))


def gflop(peer: str, config: ModelConfig, taxonomy: Taxonomy) -> float:
    """Count what one clip costs forward, 10⁹ floating-point operations; nothing is computed."""
    with torch.device("meta"):
        module = build(peer, config, taxonomy)[1]
        clip = config.clip
        shape = (1, clip.num_frames)
        frames = torch.zeros(*shape, 3, clip.size_px, clip.size_px, dtype=torch.uint8)
        flow = torch.zeros(*shape, 2, clip.flow_size_px, clip.flow_size_px)
        valid = torch.ones(shape, dtype=torch.bool)
    # Attention is counted only where it is made of products of matrices.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module.eval()(frames, flow, valid)
    return float(counter.get_total_flops()) / 1e9
