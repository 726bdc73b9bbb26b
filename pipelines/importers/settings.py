"""Settings of the import job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fal_model.errors import ConfigError
from fal_model.ranges import Range, range_problems


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportConfig:
    """How annotation files are read.

    Attributes:
        max_left_out_share: Largest share of rows left out, because their video is missing or they cannot be used,
            with which the job still counts as a success. Rows that were not asked for do not count.
        split_number: Which of the three splits of UCF-101 and HMDB-51.
        is_untrimmed: Kinetics: files named by the video id alone are whole videos, so the times are segments of them;
            otherwise they are taken as cut, and the times are not used.
        frame_rate_fps: Label Studio: the ``frameRate`` of the project's ``Video`` tag (24 where it gives none), for
            tasks that do not say it; 0 means unknown.
        class_set: With ``--classes open-fal-500``: the public set whose classes the labels are, where the format does
            not say it (``folders``, ``csv``, ``label-studio``).
    """

    max_left_out_share: Annotated[float, Range(ge=0, le=1)] = 0.1
    split_number: Annotated[int, Range(ge=1, le=3)] = 1
    is_untrimmed: bool = False
    frame_rate_fps: Annotated[float, Range(ge=0, le=1000)] = 0.0
    class_set: str = ""

    def __post_init__(self) -> None:
        problems = range_problems(self)
        if problems:
            raise ConfigError([f"importing.{p}" for p in problems])
