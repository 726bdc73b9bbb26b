"""A model of a few thousand weights, with every part of a large one, and clips for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from fal_model.model import FALModel
from fal_model.spec import ClipSpec
from fal_model.taxonomy import Node, Taxonomy
from pipelines.clip_batches import ClipArrays
from pipelines.clips import Clip
from tests.helpers import micro

SPEC = ClipSpec(num_frames=4, size_px=32, flow_size_px=8, window_s=2.0)
MICRO = replace(micro.MICRO, clip=SPEC, patch_px=16)
TREE = Taxonomy(
    [
        Node("sport", "Sport"),
        Node("news", "News"),
        Node("ball", "Ball games", "sport"),
        Node("run", "Running", "sport"),
        Node("studio", "Studio", "news"),
        Node("tennis", "Tennis", "ball"),
    ]
)
"""Three levels; leaves at two of them."""


def micro_model(taxonomy: Taxonomy = TREE) -> FALModel:
    """Make an untrained model, always the same, whose scores differ from clip to clip."""
    state = torch.get_rng_state()
    torch.manual_seed(1)
    model = FALModel(MICRO, taxonomy)
    with torch.no_grad():
        for classes in (model.heads.clip_classes, model.heads.frame_classes):
            classes.weight.mul_(100)
            classes.bias.fill_(1.0)
    torch.set_rng_state(state)
    return model.eval()


def random_clip(seed: int, index: int = 0, spec: ClipSpec = SPEC) -> Clip:
    """Make a clip of noise at its place in a video."""
    dice = np.random.default_rng(seed)
    num, size, grid = spec.num_frames, spec.size_px, spec.flow_size_px
    start_s = index * spec.window_s
    return Clip(
        index=index,
        start_s=start_s,
        end_s=start_s + spec.window_s,
        frame_times_s=tuple(start_s + (t + 0.5) * spec.window_s / num for t in range(num)),
        frames_THWC=dice.integers(0, 256, (num, size, size, 3), np.uint8),
        flow_q_THWC=dice.integers(-20, 20, (num, grid, grid, 2), np.int8),
        flow_valid_T=dice.integers(0, 2, num).astype(np.bool_),
        camera_T23=np.linspace(-3, 3, num * 6, dtype=np.float32).reshape(num, 2, 3),
        covered_s=spec.window_s,
        num_substituted=0,
    )


def random_arrays(num_clips: int, seed: int = 0) -> ClipArrays:
    """Make a batch of clips of noise."""
    return ClipArrays.from_clips([random_clip(1000 * seed + i) for i in range(num_clips)], SPEC)
