"""Model sizes, one short function each. Readable without torch."""

from __future__ import annotations

from fal_model.config import ModelConfig
from fal_model.errors import ConfigError
from fal_model.spec import ClipSpec

PRESET_NAMES = ("fal-375m", "fal-nano")


def preset(name: str) -> ModelConfig:
    """Return the configuration of a named size.

    Args:
        name: One of ``PRESET_NAMES``.

    Raises:
        ConfigError: no size of that name.
    """
    match name:
        case "fal-375m":
            return fal_375m()
        case "fal-nano":
            return fal_nano()
        case _:
            raise ConfigError([f"model preset: got {name!r}, must be one of {list(PRESET_NAMES)}"])


def fal_375m() -> ModelConfig:
    """Size the model for a data-centre GPU: 375M parameters with 500 leaf classes, 24 encoder blocks of width 768."""
    return ModelConfig(
        clip=ClipSpec(num_frames=8, size_px=224, flow_size_px=56),
        patch_px=16,
        width=768,
        num_heads=12,
        stage_depths=(4, 16, 4),
        motion_depth=4,
        fusion_depth=9,
        pyramid_width=512,
        embedding_dim=512,
    )


def fal_nano() -> ModelConfig:
    """Size the model for two CPU cores: it trains in minutes, with every part of the large one."""
    return ModelConfig(
        clip=ClipSpec(num_frames=8, size_px=96, flow_size_px=24),
        patch_px=16,
        width=128,
        num_heads=4,
        stage_depths=(1, 2, 1),
        motion_depth=1,
        fusion_depth=1,
        pyramid_width=64,
        embedding_dim=128,
    )
