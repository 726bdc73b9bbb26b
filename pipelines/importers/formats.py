"""The formats that can be imported: their names, which files of a folder each reads, and who parses them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


COLUMNS_OF = {
    Format.CSV: plain_csv.MEANINGS,
    Format.ACTIVITYNET: ("group",),
    Format.LABEL_STUDIO: ("label",),
}
"""What ``--columns`` may name in each format; the others take none."""
COMPANIONS = {
    Format.UCF101: (ucf101.CLASSES,),
    Format.SOMETHING: ("something-something-v2-labels.json", "labels.json", something.ANSWERS),
    Format.CHARADES: (charades.CLASSES,),
    Format.MOMENTS: (moments.CLASSES,),
    Format.THUMOS14: (thumos14.CLASSES,),
}
"""Files that belong to an annotation file and are read too if they lie beside it."""


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
    allowed = COLUMNS_OF.get(of, ())
    if not allowed and columns:
        raise ConfigError([f"--columns: the format {of.value} takes none"])
    problems = [f"--columns: got {key!r}, allowed are {', '.join(allowed)}" for key in columns if key not in allowed]
    problems += [f"--columns: got {key!r} without a name, expected {key}=NAME" for key in columns if not columns[key]]
    if problems:
        raise ConfigError(problems)
    return columns


def is_wanted(of: Format, name: str, settings: ImportConfig) -> bool:  # noqa: C901, PLR0911 - one case per format
    """Tell by its name whether a file of the annotation folder is read."""
    last = name.lower()
    match of:
        case Format.UCF101:
            return ucf101.is_wanted(name, settings.split_number)
        case Format.HMDB51:
            return hmdb51.is_wanted(name, settings.split_number)
        case Format.SOMETHING:
            return something.is_wanted(name)
        case Format.THUMOS14:
            return thumos14.is_wanted(name)
        case Format.CHARADES:
            return charades.is_wanted(name)
        case Format.MOMENTS:
            return moments.is_wanted(name)
        case Format.KINETICS | Format.HACS_CLIPS:
            return last.endswith(".csv")
        case Format.CSV:
            return last.endswith((".csv", ".tsv"))
        case Format.ACTIVITYNET | Format.CAPTIONS | Format.LABEL_STUDIO:
            return last.endswith(".json")
        case Format.FOLDERS:
            return False


def parse(  # noqa: C901, PLR0911, PLR0912 - one case per format
    of: Format, files: Sequence[TextFile], columns: Mapping[str, str], settings: ImportConfig
) -> Parsed:
    """Read annotation files of any format but ``folders``, which has none.

    Raises:
        FormatError: the files are not of this format.
    """
    match of:
        case Format.KINETICS:
            return kinetics.parse(files, is_untrimmed=settings.is_untrimmed)
        case Format.UCF101:
            return ucf101.parse(files)
        case Format.HMDB51:
            return hmdb51.parse(files)
        case Format.SOMETHING:
            return something.parse(files)
        case Format.ACTIVITYNET:
            return activitynet.parse(files, group_field=columns.get("group", ""))
        case Format.CAPTIONS:
            return captions.parse(files)
        case Format.HACS_CLIPS:
            return hacs_clips.parse(files)
        case Format.THUMOS14:
            return thumos14.parse(files)
        case Format.CHARADES:
            return charades.parse(files)
        case Format.MOMENTS:
            return moments.parse(files)
        case Format.LABEL_STUDIO:
            return label_studio.parse(
                files, frame_rate_fps=settings.frame_rate_fps, choice_field=columns.get("label", "")
            )
        case Format.CSV:
            return plain_csv.parse(files, columns)
        case Format.FOLDERS:
            raise FormatError(["--format folders: the classes are the folders, there is no file to read"])
