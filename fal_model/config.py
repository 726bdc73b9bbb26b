"""What a model is made of: one checked dataclass, readable without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any

from fal_model.errors import ConfigError
from fal_model.ranges import Range, range_problems
from fal_model.spec import ClipSpec

NUM_PYRAMID_SCALES = 3
"""Stages of the encoder, and so scales of the feature pyramid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Sizes of every part. The number of classes is not here: it comes from the taxonomy.

    Attributes:
        clip: Input contract.
        patch_px: Edge of the square patch that becomes one token, pixels; divides ``clip.size_px``.
        width: Channels of a token, in every stage and in the motion stream.
        num_heads: Attention heads; divides ``width``.
        stage_depths: Blocks per encoder stage; between stages 2×2 neighbouring tokens are merged into one.
        motion_depth: Blocks of the optical-flow stream; 0 leaves the stream out and flow is ignored.
        fusion_depth: Blocks that fuse appearance with motion; 0 adds the mean motion of each frame instead.
        pyramid_width: Channels of the feature pyramid; 0 uses the coarsest stage alone.
        embedding_dim: Length of the clip embedding.
        dropout: Share of the values dropped on residual branches during training.
    """

    clip: ClipSpec = field(default_factory=ClipSpec)
    patch_px: Annotated[int, Range(ge=4, le=64)] = 16
    width: Annotated[int, Range(ge=8, le=4096)] = 768
    num_heads: Annotated[int, Range(ge=1, le=64)] = 12
    stage_depths: tuple[int, ...] = (4, 16, 4)
    motion_depth: Annotated[int, Range(ge=0, le=64)] = 4
    fusion_depth: Annotated[int, Range(ge=0, le=64)] = 9
    pyramid_width: Annotated[int, Range(ge=0, le=4096)] = 512
    embedding_dim: Annotated[int, Range(ge=8, le=4096)] = 512
    dropout: Annotated[float, Range(ge=0, lt=1)] = 0.0

    def __post_init__(self) -> None:
        problems = range_problems(self)
        if len(self.stage_depths) != NUM_PYRAMID_SCALES or not all(_is_depth(d) for d in self.stage_depths):
            problems.append(
                f"stage_depths: got {self.stage_depths!r}, must be {NUM_PYRAMID_SCALES} whole numbers from 1 to 64"
            )
        if not problems and self.width % self.num_heads:
            problems.append(f"width: got {self.width}, must be a multiple of num_heads ({self.num_heads})")
        if not problems and self.width % 4:
            problems.append(f"width: got {self.width}, must be a multiple of 4")
        if not problems and self.clip.size_px % self.patch_px:
            problems.append(f"patch_px: got {self.patch_px}, must divide clip.size_px ({self.clip.size_px})")
        if problems:
            raise ConfigError([f"model.{p}" for p in problems])

    @property
    def grids(self) -> tuple[int, ...]:
        """Return the edge of the token grid of each stage; odd grids are padded before they are merged."""
        edges = [self.clip.size_px // self.patch_px]
        for _ in self.stage_depths[1:]:
            edges.append(-(-edges[-1] // 2))
        return tuple(edges)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the inverse of :meth:`from_dict`."""
        return asdict(self) | {"clip": self.clip.to_dict(), "stage_depths": list(self.stage_depths)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ModelConfig:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ConfigError: unknown or missing fields, wrong types, or values out of range; all are listed.
        """
        known = {f.name for f in fields(cls)}
        problems = [f"model.{k}: unknown field" for k in sorted(set(data) - known)]
        problems += [f"model.{k}: missing" for k in sorted(known - set(data))]
        problems += [
            f"model.{key}: got {data[key]!r}, must be {text}"
            for key, kind, text in (("clip", dict, "a mapping"), ("stage_depths", list | tuple, "a list"))
            if key in data and not isinstance(data[key], kind)
        ]
        if problems:
            raise ConfigError(problems)
        return cls(**(data | {"clip": ClipSpec.from_dict(data["clip"]), "stage_depths": tuple(data["stage_depths"])}))


def _is_depth(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 64  # noqa: PLR2004 - as in the message
