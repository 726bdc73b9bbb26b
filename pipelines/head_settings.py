"""Settings of fitting a head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fal_model.errors import ConfigError
from fal_model.evaluation import KEPT_ACCURACY
from fal_model.ranges import Range, range_problems

PENALTY = Range(ge=0, le=1e6)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadConfig:
    """How classes are fitted to stored embeddings.

    Attributes:
        penalties: Penalties of large weights to choose from, by the videos of the split ``val``.
        max_steps: Most steps of each fit.
        max_clips: Clips that are fitted at most; of more, every n-th is taken.
        kept_accuracy: Top-1 accuracy that clips shall have which the head does not abstain from; 0 never abstains.
    """

    penalties: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
    max_steps: Annotated[int, Range(ge=1, le=10_000)] = 200
    max_clips: Annotated[int, Range(ge=100, le=10_000_000)] = 200_000
    kept_accuracy: Annotated[float, Range(ge=0, lt=1)] = KEPT_ACCURACY

    def __post_init__(self) -> None:
        problems = [f"head.{p}" for p in range_problems(self)]
        if not self.penalties or not all(PENALTY.allows(penalty) for penalty in self.penalties):
            problems.append(f"head.penalties: got {list(self.penalties)}, must be at least one number from 0 to 1e6")
        if problems:
            raise ConfigError(problems)
