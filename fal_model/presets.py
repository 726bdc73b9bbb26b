"""Model sizes, one short function each, all of the same parts. Readable without torch.

``docs/model.md`` has the table of what each costs and how to choose.
"""

from __future__ import annotations

from fal_model.config import ModelConfig
from fal_model.errors import ConfigError
from fal_model.spec import ClipSpec

PRESET_NAMES = ("fal-nano", "fal-tiny", "fal-small", "fal-base", "fal-375m")
"""From small to large."""


def preset(name: str) -> ModelConfig:
    """Return the configuration of a named size.

    Args:
        name: One of ``PRESET_NAMES``.

    Raises:
        ConfigError: no size of that name.
    """
    match name:
        case "fal-nano":
            return fal_nano()
        case "fal-tiny":
            return fal_tiny()
        case "fal-small":
            return fal_small()
        case "fal-base":
            return fal_base()
        case "fal-375m":
            return fal_375m()
        case _:
            raise ConfigError([f"model preset: got {name!r}, must be one of {list(PRESET_NAMES)}"])


def fal_nano() -> ModelConfig:
    """Size the model for two CPU cores: it trains in minutes, with every part of the large one."""
    return ModelConfig(
        clip=ClipSpec(num_frames=8, size_px=96, flow_size_px=24),
        patch_px=16,
        width=128,
        num_heads=4,
        stage_depths=(2, 1, 1),
        motion_depth=1,
        fusion_depth=1,
        pyramid_width=64,
        embedding_dim=128,
    )


def fal_tiny() -> ModelConfig:
    """Size the model for labelling on a CPU: a clip takes a core about a tenth of a second.

    160 px keep visible what a person does. Heads are 64 wide from here on: attention kernels are made for that.
    """
    return ModelConfig(
        clip=ClipSpec(num_frames=8, size_px=160, flow_size_px=40),
        patch_px=16,
        width=256,
        num_heads=4,
        stage_depths=(2, 4, 2),
        motion_depth=1,
        fusion_depth=1,
        pyramid_width=96,
        embedding_dim=256,
    )


def fal_small() -> ModelConfig:
    """Size the model for one consumer GPU: the large one's input at half its width and half its blocks."""
    return ModelConfig(
        clip=ClipSpec(num_frames=8, size_px=224, flow_size_px=56),
        patch_px=16,
        width=384,
        num_heads=6,
        stage_depths=(2, 8, 2),
        motion_depth=2,
        fusion_depth=2,
        pyramid_width=192,
        embedding_dim=384,
    )


def fal_base() -> ModelConfig:
    """Size the model for a warm start: 12 encoder blocks of width 768 take the 12 of a ViT-B/16 one to one."""
    return ModelConfig(
        clip=ClipSpec(num_frames=8, size_px=224, flow_size_px=56),
        patch_px=16,
        width=768,
        num_heads=12,
        stage_depths=(2, 8, 2),
        motion_depth=2,
        fusion_depth=2,
        pyramid_width=384,
        embedding_dim=512,
    )


def fal_375m() -> ModelConfig:
    """Size the model for a data-centre GPU: 375M parameters with 500 leaf classes, 24 encoder blocks of width 768.

    Why the blocks are spread over the stages as they are: ``docs/adr/0007-where-the-tokens-go.md``.
    """
    return ModelConfig(
        clip=ClipSpec(num_frames=8, size_px=224, flow_size_px=56),
        patch_px=16,
        width=768,
        num_heads=12,
        stage_depths=(4, 16, 4),
        motion_depth=4,
        fusion_depth=9,
        pyramid_width=384,
        embedding_dim=512,
    )
