"""The smallest model with every part, and data for it."""

from __future__ import annotations

import torch

from fal_model.batch import ClipBatch, Targets
from fal_model.boundary_targets import Span
from fal_model.config import ModelConfig
from fal_model.model import FALModel
from fal_model.spec import ClipSpec
from fal_model.taxonomy import Node, Taxonomy

MICRO = ModelConfig(
    clip=ClipSpec(num_frames=3, size_px=40, flow_size_px=12),
    patch_px=8,
    width=16,
    num_heads=2,
    stage_depths=(1, 1, 1),
    motion_depth=1,
    fusion_depth=1,
    pyramid_width=8,
    embedding_dim=8,
)
"""Its grids are 5, 3 and 2: both merges pad."""


def small_tree() -> Taxonomy:
    """Give two domains, the second without groups: leaves lie on two levels."""
    return Taxonomy(
        [
            Node("sport", "Sport"),
            Node("news", "News"),
            Node("ball", "Ball games", "sport"),
            Node("water", "Water sports", "sport"),
            Node("tennis", "Tennis", "ball"),
            Node("golf", "Golf", "ball"),
            Node("diving", "Diving", "water"),
        ]
    )


def numbered_taxonomy(num_leaves: int, branching: int = 10) -> Taxonomy:
    """Make a three-level tree of numbered classes."""
    nodes = [Node(f"d{i:02d}", f"domain {i}") for i in range(-(-num_leaves // branching**2))]
    nodes += [Node(f"g{i:03d}", f"group {i}", f"d{i // branching:02d}") for i in range(-(-num_leaves // branching))]
    nodes += [Node(f"c{i:04d}", f"class {i}", f"g{i // branching:03d}") for i in range(num_leaves)]
    return Taxonomy(nodes)


def micro_model(seed: int = 0, config: ModelConfig = MICRO) -> FALModel:
    """Make a model with reproducible weights."""
    torch.manual_seed(seed)
    return FALModel(config, small_tree())


def micro_batch(size: int = 4, seed: int = 0) -> tuple[ClipBatch, Targets]:
    """Make random clips whose classes go round the leaves; in every third clip frames are not labelled."""
    clip = MICRO.clip
    dice = torch.Generator().manual_seed(seed)
    taxonomy = small_tree()
    shape = (size, clip.num_frames)
    frames = torch.randint(0, 256, (*shape, 3, clip.size_px, clip.size_px), dtype=torch.uint8, generator=dice)
    flow = 4 * torch.randn(*shape, 2, clip.flow_size_px, clip.flow_size_px, generator=dice)
    labels = [[taxonomy.leaves[(seed + i) % len(taxonomy.leaves)]] for i in range(size)]
    frame_labels = [None if i % 3 == 2 else [labels[i]] * clip.num_frames for i in range(size)]
    spans = [[Span(row[0], 0.1 * (i % 2), 1.0)] for i, row in enumerate(labels)]
    targets = Targets.from_labels(labels, frame_labels, taxonomy, clip.num_frames, spans)
    return ClipBatch(frames, flow, torch.ones(shape, dtype=torch.bool)), targets
