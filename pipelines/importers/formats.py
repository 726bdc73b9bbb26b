"""The formats that can be imported: their names, which files of a folder each reads, and who parses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fal_model.errors import ConfigError
from pipelines.importers import (
    activitynet,
    captions,
    charades,
    hacs_clips,
    hmdb51,
    kinetics,
    label_studio,
    moments,
    plain_csv,
    something,
    thumos14,
    ucf101,
)
from pipelines.importers.annotations import FormatError, Parsed, TextFile
from pipelines.importers.settings import ImportConfig


class Format(StrEnum):
    """What an annotation file can be. Values are what the command line takes."""

    FOLDERS = "folders"
    CSV = "csv"
    KINETICS = "kinetics"
    UCF101 = "ucf101"
    HMDB51 = "hmdb51"
    SOMETHING = "something-v2"
    ACTIVITYNET = "activitynet"
    CAPTIONS = "activitynet-captions"
    HACS_CLIPS = "hacs-clips"
    THUMOS14 = "thumos14"
    CHARADES = "charades"
    MOMENTS = "moments"
    LABEL_STUDIO = "label-studio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How a format is read.

    Attributes:
        is_wanted: Tells by its name whether a file of the annotation folder is read.
        parse: Reads the files, with what ``--columns`` names.
        columns: What ``--columns`` may name.
        companions: Files that belong to an annotation file and are read too if they lie beside it.
    """

    is_wanted: Callable[[str, ImportConfig], bool]
    parse: Callable[[Sequence[TextFile], Mapping[str, str], ImportConfig], Parsed]
    columns: Sequence[str] = ()
    companions: Sequence[str] = ()


READERS = {
    Format.CSV: Reader(
        is_wanted=lambda name, _: name.lower().endswith((".csv", ".tsv")),
        parse=lambda files, columns, _: plain_csv.parse(files, columns),
        columns=plain_csv.MEANINGS,
    ),
    Format.KINETICS: Reader(
        is_wanted=lambda name, _: name.lower().endswith(".csv"),
        parse=lambda files, _, settings: kinetics.parse(files, is_untrimmed=settings.is_untrimmed),
    ),
    Format.UCF101: Reader(
        is_wanted=lambda name, settings: ucf101.is_wanted(name, settings.split_number),
        parse=lambda files, *_: ucf101.parse(files),
        companions=(ucf101.CLASSES,),
    ),
    Format.HMDB51: Reader(
        is_wanted=lambda name, settings: hmdb51.is_wanted(name, settings.split_number),
        parse=lambda files, *_: hmdb51.parse(files),
    ),
    Format.SOMETHING: Reader(
        is_wanted=lambda name, _: something.is_wanted(name),
        parse=lambda files, *_: something.parse(files),
        companions=("something-something-v2-labels.json", "labels.json", something.ANSWERS),
    ),
    Format.ACTIVITYNET: Reader(
        is_wanted=lambda name, _: name.lower().endswith(".json"),
        parse=lambda files, columns, _: activitynet.parse(files, group_field=columns.get("group", "")),
        columns=("group",),
    ),
    Format.CAPTIONS: Reader(
        is_wanted=lambda name, _: name.lower().endswith(".json"),
        parse=lambda files, *_: captions.parse(files),
    ),
    Format.HACS_CLIPS: Reader(
        is_wanted=lambda name, _: name.lower().endswith(".csv"),
        parse=lambda files, *_: hacs_clips.parse(files),
    ),
    Format.THUMOS14: Reader(
        is_wanted=lambda name, _: thumos14.is_wanted(name),
        parse=lambda files, *_: thumos14.parse(files),
        companions=(thumos14.CLASSES,),
    ),
    Format.CHARADES: Reader(
        is_wanted=lambda name, _: charades.is_wanted(name),
        parse=lambda files, *_: charades.parse(files),
        companions=(charades.CLASSES,),
    ),
    Format.MOMENTS: Reader(
        is_wanted=lambda name, _: moments.is_wanted(name),
        parse=lambda files, *_: moments.parse(files),
        companions=(moments.CLASSES,),
    ),
    Format.LABEL_STUDIO: Reader(
        is_wanted=lambda name, _: name.lower().endswith(".json"),
        parse=lambda files, columns, settings: label_studio.parse(
            files, frame_rate_fps=settings.frame_rate_fps, choice_field=columns.get("label", "")
        ),
        columns=("label",),
    ),
}
"""All formats but ``folders``, which has no annotation file."""


def format_named(name: str) -> Format:
    """Return the format of a name.

    Raises:
        ConfigError: there is none of this name.
    """
    try:
        return Format(name)
    except ValueError:
        raise ConfigError([f"--format: got {name!r}, allowed are {', '.join(Format)}"]) from None


def columns_named(text: str, of: Format) -> dict[str, str]:
    """Read ``--columns``: ``uri=file,label=class``.

    Raises:
        ConfigError: not of this form, or names that the format does not take.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    columns = {key.strip(): name.strip() for key, _, name in pairs}
    allowed = READERS[of].columns if of in READERS else ()
    if not allowed and columns:
        raise ConfigError([f"--columns: the format {of.value} takes none"])
    problems = [f"--columns: got {key!r}, allowed are {', '.join(allowed)}" for key in columns if key not in allowed]
    problems += [f"--columns: got {key!r} without a name, expected {key}=NAME" for key in columns if not columns[key]]
    if problems:
        raise ConfigError(problems)
    return columns


def companions_of(of: Format) -> Sequence[str]:
    """Return the files that belong to an annotation file and are read too if they lie beside it."""
    return READERS[of].companions if of in READERS else ()


def is_wanted(of: Format, name: str, settings: ImportConfig) -> bool:
    """Tell by its name whether a file of the annotation folder is read."""
    return of in READERS and READERS[of].is_wanted(name, settings)


def parse(of: Format, files: Sequence[TextFile], columns: Mapping[str, str], settings: ImportConfig) -> Parsed:
    """Read annotation files of any format but ``folders``, which has none.

    Raises:
        FormatError: the files are not of this format.
    """
    if of not in READERS:
        raise FormatError(["--format folders: the classes are the folders, there is no file to read"])
    return READERS[of].parse(files, columns, settings)
