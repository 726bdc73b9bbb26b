"""From rows of annotation files and a listing of videos to the rows of a manifest, with every row accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fal_model.taxonomy import Node, Taxonomy
from pipelines.importers.annotations import MEANT, Entry, Kind, Parsed, Problem, RawSegment, split_named
from pipelines.importers.matching import Match, VideoIndex
from pipelines.importers.reading import number_in
from pipelines.importers.times import UNTOUCHED, Timed, segments_of
from pipelines.listing import FoundFile

Row = dict[str, Any]
UPDATE_ROWS = 5000
HELD_OUT_FIRST = ("test", "val", "train")


@dataclass(slots=True)
class Imported:
    """What an import leaves.

    Attributes:
        rows: Manifest rows, one per video, sorted by ``video_id``.
        problems: What was found, in the order of the files; each once.
        nodes: The classes: the set's own list or tree, then labels that are used but not in it.
        rows_read: Rows of the annotation files.
        rows_merged: Rows that went into the manifest row of another one with the same video.
        rows_left_out: Rows that are in no manifest row, by reason.
        segments_read: Segments of all rows.
        segments_merged: Segments that went into another one of the same label and video.
        segments_left_out: Segments that are not in the manifest, by reason.
        videos_on_disk: Videos in the listing.
        videos_unnamed: Videos in the listing that no row names.
    """

    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    rows_read: int = 0
    rows_merged: int = 0
    rows_left_out: Counter[str] = field(default_factory=Counter)
    segments_read: int = 0
    segments_merged: int = 0
    segments_left_out: Counter[str] = field(default_factory=Counter)
    videos_on_disk: int = 0
    videos_unnamed: int = 0

    @property
    def left_out_share(self) -> float:
        """Share of the rows that were meant to be in the manifest and are not, 0 to 1."""
        meant = {kind.value for kind in MEANT}
        wanted = self.rows_read - sum(n for kind, n in self.rows_left_out.items() if kind in meant)
        lost = sum(n for kind, n in self.rows_left_out.items() if kind not in meant)
        return lost / wanted if wanted else 0.0

    def taxonomy(self) -> Taxonomy | None:
        """Return the label tree; None where there is no class at all."""
        return Taxonomy(self.nodes) if self.nodes else None


@dataclass(slots=True)
class _Draft:
    """What the rows of one video have said so far."""

    file: FoundFile
    place: str
    labels: dict[str, None] | None = None
    segments: list[RawSegment] = field(default_factory=list)
    split: str | None = None
    duration_s: float | None = None
    group: str | None = None
    said: set[int] = field(default_factory=set)


def assemble(
    parsed: Parsed, index: VideoIndex, split: str = "", update: Callable[[int], object] = lambda _: None
) -> Imported:
    """Match rows with videos, join the rows of one video, and put their segments in order.

    Args:
        parsed: What an importer read.
        index: The videos there are.
        split: Keep only rows of this split; empty keeps all.
        update: Told now and then how many rows are done.
    """
    done = Imported(problems=list(parsed.problems), rows_read=len(parsed.entries), videos_on_disk=len(index.videos))
    if parsed.segments_dropped:
        done.segments_read = parsed.segments_dropped
        done.segments_left_out[Kind.NO_CLASS_IN_TREE.value] = parsed.segments_dropped
    drafts: dict[str, _Draft] = {}
    named: set[str] = set()
    for number, entry in enumerate(parsed.entries):
        if number % UPDATE_ROWS == 0:
            update(number)
        _place(done, drafts, named, entry, index, split)
    for name in sorted(drafts):
        done.rows.append(_finish(done, drafts[name]))
    done.rows_merged = done.rows_read - sum(done.rows_left_out.values()) - len(done.rows)
    _note_unnamed(done, index, named)
    done.nodes = _nodes(done, parsed)
    update(len(parsed.entries))
    return done


def _place(
    done: Imported, drafts: dict[str, _Draft], named: set[str], entry: Entry, index: VideoIndex, split: str
) -> None:
    """Put a row into the draft of its video, or count it as left out."""
    done.segments_read += len(entry.segments or ())
    match, is_cut = _match(entry, index)
    named |= {f.name for f in match.files}
    row_split = split_named(entry.split) if entry.split else None
    reason = entry.left_out
    if reason is None and split and row_split != split:
        reason = Kind.OTHER_SPLIT
    elif reason is None and len(match.files) != 1:
        reason = _report_no_match(done, entry, match)
    if reason is not None:
        done.rows_left_out[reason.value] += 1
        if entry.segments:
            done.segments_left_out["row_left_out"] += len(entry.segments)
        return
    file = match.files[0]
    if match.is_respelled:
        what = f"{match.name}: found as {file.name}, which is spelled another way"
        done.problems.append(Problem(entry.place, Kind.OTHER_SPELLING, what))
    segments = list(entry.segments or ())
    if is_cut and segments:
        done.segments_left_out["file_is_cut"] += len(segments)
        segments = []
    _add(done, drafts.setdefault(file.name, _Draft(file, entry.place)), entry, segments, row_split)


def _match(entry: Entry, index: VideoIndex) -> tuple[Match, bool]:
    """Find the video of a row, and tell whether that file is cut to the row's times."""
    folders = entry.labels or ()
    if entry.cut_names:
        match = index.find(entry.cut_names, folders)
        if match.files:
            return match, True
    return index.find(entry.names, folders), False


def _report_no_match(done: Imported, entry: Entry, match: Match) -> Kind:
    if not match.files:
        names = entry.cut_names[-1:] + entry.names[-1:]
        done.problems.append(Problem(entry.place, Kind.MISSING_VIDEO, f"no video {' or '.join(names)}"))
        return Kind.MISSING_VIDEO
    found = ", ".join(f.name for f in match.files[:3])
    what = f"{match.name}: {len(match.files)} videos have this name: {found}"
    done.problems.append(Problem(entry.place, Kind.AMBIGUOUS_VIDEO, what))
    return Kind.AMBIGUOUS_VIDEO


def _add(done: Imported, draft: _Draft, entry: Entry, segments: Sequence[RawSegment], split: str | None) -> None:
    name = draft.file.name

    def note(kind: Kind, what: str) -> None:
        done.problems.append(Problem(entry.place, kind, f"{name}: {what}"))

    if entry.split and split is None:
        note(Kind.UNKNOWN_SPLIT, f"split {entry.split!r} is none of train, val, test; it is left empty")
    times = tuple((s.label, str(s.start), str(s.end)) for s in entry.segments or ())
    said = hash((entry.labels, times, split, str(entry.duration), entry.group))
    if said in draft.said:
        note(Kind.DUPLICATE_ROW, "the same was said before")
        done.segments_merged += len(segments)
        return
    draft.said.add(said)
    _add_labels(draft, entry, note)
    draft.segments += segments
    if split is not None and draft.split not in {None, split}:
        note(Kind.SEVERAL_SPLITS, f"{split} here, {draft.split} before; the held-out one holds")
    draft.split = next((s for s in HELD_OUT_FIRST if s in {split, draft.split}), None)
    _add_duration(draft, entry, note)
    if entry.group is not None and draft.group not in {None, entry.group}:
        note(Kind.SEVERAL_GROUPS, f"group {entry.group!r} here, {draft.group!r} before; the first holds")
    draft.group = draft.group or entry.group


def _add_labels(draft: _Draft, entry: Entry, note: Callable[[Kind, str], None]) -> None:
    if entry.labels is None:
        return
    new = [label for label in entry.labels if draft.labels is not None and label not in draft.labels]
    if entry.is_single_label and new and draft.labels:
        note(Kind.SEVERAL_LABELS, f"{', '.join(new)} here, {', '.join(draft.labels)} before; both hold")
    draft.labels = (draft.labels or {}) | dict.fromkeys(entry.labels)


def _add_duration(draft: _Draft, entry: Entry, note: Callable[[Kind, str], None]) -> None:
    if entry.duration is None:
        return
    duration_s = number_in(entry.duration)
    if duration_s is None or duration_s <= 0:
        note(Kind.BAD_DURATION, f"duration {entry.duration!r} is not a number > 0; it is left empty")
    elif draft.duration_s not in {None, duration_s}:
        note(Kind.SEVERAL_DURATIONS, f"{duration_s:g} s here, {draft.duration_s:g} s before; the longest holds")
        draft.duration_s = max(duration_s, draft.duration_s or 0)
    else:
        draft.duration_s = duration_s


def _finish(done: Imported, draft: _Draft) -> Row:
    timed: Timed = segments_of(draft.segments, draft.duration_s) if draft.segments else UNTOUCHED
    done.problems += timed.problems
    done.segments_merged += timed.num_merged
    done.segments_left_out.update(timed.left_out)
    labels = draft.labels
    if labels is not None:
        labels |= dict.fromkeys(s["label"] for s in timed.segments)
    return {
        "video_id": draft.file.name,
        "uri": draft.file.uri,
        "labels": None if labels is None else list(labels),
        "segments": timed.segments or None,
        "split": draft.split,
        "duration_s": draft.duration_s,
        "group": draft.group,
    }


def _note_unnamed(done: Imported, index: VideoIndex, named: set[str]) -> None:
    unnamed = sorted(f.name for f in index.videos if f.name not in named)
    done.videos_unnamed = len(unnamed)
    done.problems += [
        Problem(name, Kind.UNNAMED_VIDEO, "no row of the annotations names this video") for name in unnamed
    ]


def _nodes(done: Imported, parsed: Parsed) -> list[Node]:
    """Return the set's classes and, where it has no list, every label of its rows; others are added and reported."""
    first: dict[str, str] = {}
    for entry in parsed.entries:
        for label in (*(entry.labels or ()), *(s.label for s in entry.segments or ())):
            first.setdefault(label, entry.place)
    nodes = {node.id: node for node in parsed.classes}
    if nodes:
        for label, place in first.items():
            if label not in nodes:
                what = f"label {label!r} is not in the set's class list; it is added"
                done.problems.append(Problem(place, Kind.LABEL_NOT_IN_TREE, what))
    added = [Node(label, label) for label in sorted(first) if label not in nodes]
    return [*nodes.values(), *added]
