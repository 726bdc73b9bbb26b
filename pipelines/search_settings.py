"""Settings of the search job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fal_model.errors import ConfigError
from fal_model.ranges import Range, range_problems


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig:
    """How the nearest videos are found.

    Attributes:
        k: How many videos to find.
        exact_rows: Up to so many labelled videos each is compared with the query; more are searched with an index.
        num_candidates: Videos that the index names for each one wanted; they are then compared exactly.
        num_probes: Cells of the index that are looked into; more find more and take longer.
        is_partial: Search what is there of an unfinished labelling run.
    """

    k: Annotated[int, Range(ge=1, le=10_000)] = 10
    exact_rows: Annotated[int, Range(ge=0)] = 1_000_000
    num_candidates: Annotated[int, Range(ge=1, le=1000)] = 10
    num_probes: Annotated[int, Range(ge=1, le=65_536)] = 64
    is_partial: bool = False

    def __post_init__(self) -> None:
        problems = range_problems(self)
        if problems:
            raise ConfigError([f"search.{p}" for p in problems])
