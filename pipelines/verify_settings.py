"""Settings of the verifying job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fal_model.errors import ConfigError
from fal_model.ranges import Range, range_problems


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyConfig:
    """Which rows are made again, and what counts as the same.

    Attributes:
        video_ids: Only these videos.
        sample: So many videos by chance, if none are named; 0 means all.
        seed: Of the choice.
        is_strict: Only the same bits are the same.
    """

    video_ids: tuple[str, ...] = ()
    sample: Annotated[int, Range(ge=0)] = 20
    seed: int = 0
    is_strict: bool = False

    def __post_init__(self) -> None:
        problems = range_problems(self)
        if problems:
            raise ConfigError([f"verify.{p}" for p in problems])
