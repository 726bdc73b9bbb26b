"""The models that ``bench/model.py`` measures: ours, and 24 divided blocks without ours around them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fal_model.attention import DividedBlock
from fal_model.batch import ClipBatch, Targets
from fal_model.config import ModelConfig
from fal_model.encoder import PIXEL_MEAN, PIXEL_STD, PatchEmbedding
from fal_model.model import FALModel
from fal_model.open_fal_500 import open_fal_500
from fal_model.taxonomy import Taxonomy

TIMESFORMER = "TimeSformer (transformers)"
PLAIN = "divided blocks of ours, never merged"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A model that takes what ours takes.

    Attributes:
        name: What tables call it.
        build: Makes it, untrained, on torch's default device.
        missing: Why it cannot be measured here; empty if it can.
    """

    name: str
    build: Callable[[], nn.Module]
    missing: str = ""


class PlainDivided(nn.Module):
    """As many divided blocks as ours has, all at full resolution; the mean token is classified.

    The same blocks as ours, so what it costs more is what merging tokens saves, less what the other parts cost.
    """

    def __init__(self, config: ModelConfig, num_classes: int) -> None:
        super().__init__()
        self.embed = PatchEmbedding(config)
        has_token = config.has_frame_token
        blocks = (
            DividedBlock(config.width, config.num_heads, config.dropout, has_frame_token=has_token)
            for _ in range(sum(config.stage_depths))
        )
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(config.width)
        self.classes = nn.Linear(config.width, num_classes)

    def forward(self, frames: Tensor, flow: Tensor, flow_valid: Tensor) -> Tensor:
        """Return logits [B, K]; called as our model is, of which it uses the frames alone."""
        del flow, flow_valid
        x_BTPD = self.norm(self.blocks(self.embed(frames)))
        logits_BK: Tensor = self.classes(x_BTPD.mean(dim=(1, 2)))
        return logits_BK


class Timesformer(nn.Module):
    """TimeSformer of the transformers library, with our normalisation of bytes before it."""

    def __init__(self, config: ModelConfig, num_classes: int) -> None:
        super().__init__()
        from transformers import TimesformerConfig, TimesformerForVideoClassification

        settings = TimesformerConfig(
            image_size=config.clip.size_px,
            patch_size=config.patch_px,
            num_frames=config.clip.num_frames,
            hidden_size=config.width,
            num_hidden_layers=sum(config.stage_depths),
            num_attention_heads=config.num_heads,
            intermediate_size=4 * config.width,
            attention_type="divided_space_time",
        )
        settings.num_labels = num_classes
        self.model = TimesformerForVideoClassification(settings)

    def forward(self, frames: Tensor, flow: Tensor, flow_valid: Tensor) -> Tensor:
        """Return logits [B, K]; called as our model is, of which it uses the frames alone."""
        del flow, flow_valid
        normal_BTCHW = (frames.to(next(self.parameters()).dtype) / 255 - PIXEL_MEAN) / PIXEL_STD
        logits_BK: Tensor = self.model(pixel_values=normal_BTCHW).logits
        return logits_BK


def contestants(name: str, config: ModelConfig) -> list[Contestant]:
    """Return our model of a configuration, and its peers of as many layers, as wide, on the same frames."""
    taxonomy = open_fal_500()
    num_classes = len(taxonomy.leaves)
    has_library = importlib.util.find_spec("transformers") is not None
    return [
        Contestant(name, lambda: FALModel(config, taxonomy)),
        Contestant(PLAIN, lambda: PlainDivided(config, num_classes)),
        Contestant(
            TIMESFORMER,
            lambda: Timesformer(config, num_classes),
            missing="" if has_library else "transformers is not installed here",
        ),
    ]


def make_inputs(config: ModelConfig, batch_size: int, device: torch.device, seed: int) -> dict[str, Tensor]:
    """Make random clips: frames uint8 [B, T, 3, H, W], flow [B, T, 2, h, w] in pixels, all of it valid."""
    clip = config.clip
    dice = torch.Generator(device).manual_seed(seed)
    shape = (batch_size, clip.num_frames)
    sizes = (*shape, 3, clip.size_px, clip.size_px)
    return {
        "frames": torch.randint(0, 256, sizes, dtype=torch.uint8, generator=dice, device=device),
        "flow": 4 * torch.randn(*shape, 2, clip.flow_size_px, clip.flow_size_px, generator=dice, device=device),
        "flow_valid": torch.ones(shape, dtype=torch.bool, device=device),
    }


def make_training_batch(
    config: ModelConfig, taxonomy: Taxonomy, batch_size: int, device: torch.device, seed: int
) -> tuple[ClipBatch, Targets]:
    """Make random clips whose classes go round the leaves, every frame labelled."""
    inputs = make_inputs(config, batch_size, device, seed)
    labels = [[taxonomy.leaves[(seed + i) % len(taxonomy.leaves)]] for i in range(batch_size)]
    frame_labels = [[of_clip] * config.clip.num_frames for of_clip in labels]
    targets = Targets.from_labels(labels, frame_labels, taxonomy, config.clip.num_frames)
    return ClipBatch(inputs["frames"], inputs["flow"], inputs["flow_valid"]), targets.to(device)
