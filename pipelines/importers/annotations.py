"""What every importer gives: rows as the annotation file has them, its classes, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fal_model.errors import ConfigError, printable
from fal_model.taxonomy import Node

SPLIT_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""How published files call the three splits, in lower case."""


class Kind(StrEnum):
    """What an importer has to say about a row, a segment or a video. ``docs/importing.md`` explains each."""

    # The row is not in the manifest.
    MISSING_VIDEO = "missing_video"
    AMBIGUOUS_VIDEO = "ambiguous_video"
    BAD_ROW = "bad_row"
    NO_LABEL = "no_label"
    UNKNOWN_CLASS = "unknown_class"
    OTHER_SPLIT = "other_split"
    UNUSED = "unused"
    NEGATIVE = "negative"
    NO_CLASS_IN_TREE = "no_class_in_tree"
    # The segment is not in the manifest; its label stays with the video.
    SEGMENT_NOT_A_NUMBER = "segment_not_a_number"
    SEGMENT_REVERSED = "segment_reversed"
    SEGMENT_EMPTY = "segment_empty"
    SEGMENT_OUTSIDE = "segment_outside"
    NO_FRAME_RATE = "no_frame_rate"
    TIMES_UNUSED = "times_unused"
    # The segment is in the manifest, but not as it was.
    SEGMENT_CUT = "segment_cut"
    SEGMENTS_MERGED = "segments_merged"
    # The row is in the manifest; somebody should know.
    DUPLICATE_ROW = "duplicate_row"
    SEVERAL_LABELS = "several_labels"
    SEVERAL_SPLITS = "several_splits"
    SEVERAL_DURATIONS = "several_durations"
    SEVERAL_GROUPS = "several_groups"
    OTHER_SPELLING = "other_spelling"
    BAD_DURATION = "bad_duration"
    UNKNOWN_SPLIT = "unknown_split"
    NO_TRUTH = "no_truth"
    NOT_A_CLASS = "not_a_class"
    LABEL_NOT_IN_TREE = "label_not_in_tree"
    # About the files as a whole.
    BROKEN_TREE = "broken_tree"
    UNREAD_FILE = "unread_file"
    UNNAMED_VIDEO = "unnamed_video"


ROW_LEFT_OUT = frozenset(
    {
        Kind.MISSING_VIDEO, Kind.AMBIGUOUS_VIDEO, Kind.BAD_ROW, Kind.NO_LABEL, Kind.UNKNOWN_CLASS,
        Kind.OTHER_SPLIT, Kind.UNUSED, Kind.NEGATIVE, Kind.NO_CLASS_IN_TREE,
    }
)  # fmt: skip
"""Reasons for which a row is not in the manifest."""
MEANT = frozenset({Kind.OTHER_SPLIT, Kind.UNUSED, Kind.NEGATIVE, Kind.NO_CLASS_IN_TREE})
"""Rows left out because the user or the set's authors want it so: not counted against ``max_left_out_share``."""
SEGMENT_LEFT_OUT = frozenset(
    {
        Kind.SEGMENT_NOT_A_NUMBER, Kind.SEGMENT_REVERSED, Kind.SEGMENT_EMPTY, Kind.SEGMENT_OUTSIDE,
        Kind.NO_FRAME_RATE, Kind.TIMES_UNUSED,
    }
)  # fmt: skip
"""Reasons for which a segment is not in the manifest although its row is."""


class FormatError(ConfigError):
    """A whole annotation file cannot be read as the format that was named."""


@dataclass(frozen=True, slots=True)
class TextFile:
    """One annotation file: its name relative to what was given, and its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to know: where, of which kind, in words."""

    place: str
    kind: Kind
    what: str

    def to_dict(self) -> dict[str, str]:
        """Return what is written to the problems file."""
        return {"place": printable(self.place), "kind": self.kind.value, "what": printable(self.what)}


@dataclass(frozen=True, slots=True)
class RawSegment:
    """When a label holds, as the file says: the times may be anything.

    Attributes:
        label: Class.
        start: Seconds, if all is well.
        end: Seconds, if all is well.
        place: Where it stands in the file.
        unusable: Why it cannot be put into seconds, if so.
    """

    label: str
    start: object
    end: object
    place: str
    unusable: Kind | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of an annotation file.

    Attributes:
        place: Where it stands: file and line, or file and path in the JSON.
        names: Names its video may have, best first; with or without folders, with or without suffix.
        cut_names: Names of files that are cut to the row's times already, tried first: then its segments say nothing.
        labels: Classes of the whole video, those of the segments included or not; None where the truth is withheld.
        segments: When labels hold; None where the file says nothing of times.
        split: As the file has it.
        duration: Length of the video, seconds, as the file has it; None where it says nothing.
        group: Videos that must not be split.
        left_out: Why the row cannot be used, if the parser knows it already.
        is_single_label: The set gives one label to each video, so a second one is worth a word.
    """

    place: str
    names: tuple[str, ...] = ()
    cut_names: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    segments: tuple[RawSegment, ...] | None = None
    split: str | None = None
    duration: object = None
    group: str | None = None
    left_out: Kind | None = None
    is_single_label: bool = False


@dataclass(slots=True)
class Parsed:
    """What an importer read.

    Attributes:
        entries: Every row, the unusable ones included.
        problems: What is wrong, each said once; unusable rows among them.
        classes: The set's own class list or tree, where it has one; labels that are used need not be among them.
        segments_dropped: Segments whose class has none in the tree that the labels were translated to.
    """

    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    classes: list[Node] = field(default_factory=list)
    segments_dropped: int = 0

    def leave_out(self, place: str, kind: Kind, what: str, names: tuple[str, ...] = ()) -> None:
        """Count a row that cannot be used, and say why; the video it names, if it does, is not an unnamed one."""
        self.entries.append(Entry(place, names, left_out=kind))
        self.problems.append(Problem(place, kind, what))

    def note(self, place: str, kind: Kind, what: str) -> None:
        """Say something that leaves no row out."""
        self.problems.append(Problem(place, kind, what))


def split_named(word: str) -> str | None:
    """Translate a published name of a split to ``train``, ``val`` or ``test``; None where it is none."""
    return SPLIT_WORDS.get(word.strip().lower())


def split_in(name: str) -> str | None:
    """Find the one split that a file name speaks of, as in ``kinetics_700_val.csv``; None where it is not clear."""
    words = "".join(c if c.isalpha() else " " for c in name.rpartition("/")[2].lower()).split()
    found = {SPLIT_WORDS[w] for w in words if w in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def tails(path: str) -> tuple[str, ...]:
    """Return a path without more and more of its leading folders: ``a/b/c``, ``b/c``, ``c``."""
    parts = [p for p in path.replace("\\", "/").split("/") if p not in {"", "."}]
    return tuple("/".join(parts[i:]) for i in range(len(parts)))


def is_text(value: object) -> bool:
    """Tell whether it is text that says something and can be written: JSON may hold halves of surrogate pairs."""
    return isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= c <= "\udfff" for c in value)
