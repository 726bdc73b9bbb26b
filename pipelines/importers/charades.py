"""Charades: CSV.

Source: ``Charades_v1_train.csv`` and ``_test.csv`` with the columns ``id, subject, scene, quality, relevance, verified,
script, objects, descriptions, actions, length``; ``actions`` is ``c092 11.90 21.20;c147 0.00 12.60``, in seconds;
``Charades_v1_classes.txt`` has lines ``c092 Watching a laptop or something on a laptop``. Ends of actions may lie
after ``length``. ``subject`` is the person in the video: the group. Videos are ``<id>.mp4``. The labels are the ids of
the classes; their names are in the taxonomy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fal_model.taxonomy import Node
from pipelines.importers.annotations import (
    Entry,
    FormatError,
    Kind,
    Parsed,
    RawSegment,
    TextFile,
    is_text,
    split_in,
)
from pipelines.importers.reading import csv_rows, lines_of

CLASSES = "Charades_v1_classes.txt"
COLUMNS = ("id", "subject", "actions", "length")
CELLS = 3


def is_wanted(name: str) -> bool:
    """Tell whether a file of the annotation folder is read."""
    last = name.rpartition("/")[2]
    return last == CLASSES or (last.endswith(".csv") and split_in(last) is not None)


def parse(files: Sequence[TextFile]) -> Parsed:
    """Read the CSV files, and the class list if it is there.

    Raises:
        FormatError: no CSV, or one that is not of this set.
    """
    tables = [f for f in files if f.name.rpartition("/")[2] != CLASSES]
    if not tables:
        raise FormatError(["--annotations: no Charades_v1_train.csv or Charades_v1_test.csv there"])
    parsed = Parsed()
    for file in files:
        if file not in tables:
            for _, line in lines_of(file):
                label, _, name = line.partition(" ")
                parsed.classes.append(Node(label, name.strip() or label))
    known = {node.id for node in parsed.classes}
    for file in tables:
        for place, cells in csv_rows(file, COLUMNS):
            _row(parsed, place, cells, split_in(file.name), known)
    return parsed


def _row(parsed: Parsed, place: str, cells: Mapping[str, str] | None, split: str | None, known: set[str]) -> None:
    if cells is None:
        parsed.leave_out(place, Kind.BAD_ROW, "another number of cells than the first line")
        return
    video_id = cells["id"].strip()
    if not is_text(video_id):
        parsed.leave_out(place, Kind.BAD_ROW, "no id")
        return
    labels: dict[str, None] = {}
    segments: list[RawSegment] = []
    for number, action in enumerate(filter(str.strip, cells["actions"].split(";"))):
        at, parts = f"{place}, action {number + 1}", action.split()
        if len(parts) != CELLS:
            parsed.note(at, Kind.NOT_A_CLASS, f"{video_id}: got {action!r}, expected a class, a start and an end")
        elif known and parts[0] not in known:
            parsed.note(at, Kind.NOT_A_CLASS, f"{video_id}: class {parts[0]} is not in {CLASSES}")
        else:
            labels[parts[0]] = None
            segments.append(RawSegment(parts[0], parts[1], parts[2], at))
    parsed.entries.append(
        Entry(
            place,
            names=(video_id,),
            labels=tuple(labels),
            segments=tuple(segments),
            split=split,
            duration=cells["length"].strip() or None,
            group=cells["subject"].strip() or None,
        )
    )
