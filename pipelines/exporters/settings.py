"""Settings of the export job."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fal_model.errors import ConfigError
from fal_model.ranges import Range, range_problems


class Format(StrEnum):
    """What labels can be written as. ``docs/exporting.md`` explains each."""

    ACTIVITYNET = "activitynet"
    CSV = "csv"
    FIFTYONE = "fiftyone"
    JSONL = "jsonl"
    LABEL_STUDIO = "label-studio"
    REKOGNITION = "rekognition"
    REKOGNITION_TIMESTAMPS = "rekognition-timestamps"
    WEBVTT = "webvtt"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig:
    """What is written of the labels, and how.

    Attributes:
        format: One or several formats; text separates them by commas.
        min_score: Lowest score of a label or segment.
        labels: Only these classes and those below them; none means all.
        levels: Only classes of these depths, 0 is the top; none means all.
        top_k: Only so many of each video's best labels, their parents not counted; 0 means all.
        is_partial: Export what is there of an unfinished labelling run.
        has_embeddings: Write embeddings where the format has a place for them: ``jsonl`` and ``fiftyone``.
        is_spreadsheet_safe: Put an apostrophe before text in CSV that a spreadsheet would run as a formula.
        url_prefix: How the tool reaches a video: the address of its folder. Empty gives the address that was labelled.
        media_root: What the addresses of all videos begin with; ``url_prefix`` takes its place. Empty takes the ids of
            the videos as names below ``url_prefix``.
        frame_rate_fps: Rate by which Label Studio numbers frames; also written into the labeling configuration.
    """

    format: str | tuple[str, ...] = ()
    min_score: Annotated[float, Range(ge=0, le=1)] = 0.0
    labels: str | tuple[str, ...] = ()
    levels: tuple[int, ...] = ()
    top_k: Annotated[int, Range(ge=0)] = 0
    is_partial: bool = False
    has_embeddings: bool = False
    is_spreadsheet_safe: bool = True
    url_prefix: str = ""
    media_root: str = ""
    frame_rate_fps: Annotated[float, Range(gt=0, le=1000)] = 24.0

    def __post_init__(self) -> None:
        problems = range_problems(self)
        problems += [f"levels: got {level}, must be ≥ 0" for level in self.levels if level < 0]
        allowed = ", ".join(Format)
        problems += [
            f"format: got {name!r}, allowed are {allowed}" for name in _names(self.format) if name not in set(Format)
        ]
        if self.media_root and not self.url_prefix:
            problems.append("media_root: says what url_prefix takes the place of, but url_prefix is empty")
        if problems:
            raise ConfigError([f"export.{p}" for p in problems])

    @property
    def formats(self) -> list[Format]:
        """Return the formats, each once, in the order of their names."""
        return sorted({Format(name) for name in _names(self.format)})

    @property
    def branches(self) -> frozenset[str]:
        """Return the classes that are asked for, none where all are."""
        return frozenset([self.labels] if isinstance(self.labels, str) else self.labels) - {""}

    @property
    def has_filter(self) -> bool:
        """Tell whether anything may be left out."""
        return bool(self.min_score or self.branches or self.levels or self.top_k)

    def check(self, classes: Collection[str]) -> None:
        """Check that a format is named, and that the classes asked for are there.

        Args:
            classes: All there are.

        Raises:
            ConfigError: everything that is wrong.
        """
        problems = [] if self.formats else [f"export.format: missing; one or several of {', '.join(Format)}"]
        problems += [_unknown(label, classes) for label in sorted(self.branches) if label not in classes]
        if problems:
            raise ConfigError(problems)


def _unknown(label: str, classes: Collection[str]) -> str:
    near = difflib.get_close_matches(label, classes, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    known = (
        f"which is none of the {len(classes)} classes; {hint}Without --taxonomy only those are known that were found"
    )
    return f"export.labels: got {label!r}, {known}"


def _names(given: str | tuple[str, ...]) -> list[str]:
    names = given.split(",") if isinstance(given, str) else given
    return [name.strip() for name in names if name.strip()]
