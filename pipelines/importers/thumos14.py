"""THUMOS-14: the temporal annotations as text.

Source: ``TH14_Temporal_annotations_validation`` and ``_test``: folders ``annotation`` with one file per class,
``BaseballPitch_val.txt`` and ``BaseballPitch_test.txt``, of lines ``video_validation_0000266  72.8 76.4`` (seconds);
``Ambiguous_val.txt`` marks stretches in which the annotators were not sure, and ``detclasslist.txt`` lists the twenty
classes (``7 BaseballPitch``). Every CliffDiving is marked as Diving too. Some published times lie after the end of
their video; this file gives no lengths, so the scan job finds those.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fal_model.taxonomy import Node
from pipelines.importers.annotations import Entry, FormatError, Kind, Parsed, RawSegment, TextFile, split_named
from pipelines.importers.reading import lines_of

CLASSES = "detclasslist.txt"
AMBIGUOUS = "Ambiguous"
_FILE = re.compile(r"(\w+)_(val|test)\.txt")
CELLS = 3


def is_wanted(name: str) -> bool:
    """Tell whether a file of the annotation folder is read."""
    last = name.rpartition("/")[2]
    return last == CLASSES or _FILE.fullmatch(last) is not None


def parse(files: Sequence[TextFile]) -> Parsed:
    """Read the files of the classes.

    Raises:
        FormatError: none is there.
    """
    parsed = Parsed()
    lists = [f for f in files if f.name.rpartition("/")[2] != CLASSES]
    if not lists:
        raise FormatError(["--annotations: no <Class>_val.txt or <Class>_test.txt there"])
    for file in files:
        if file not in lists:
            names = [line.partition(" ")[2].strip() for _, line in lines_of(file)]
            parsed.classes += [Node(name, name) for name in dict.fromkeys(names) if name]
    for file in sorted(lists, key=lambda f: f.name):
        match = _FILE.fullmatch(file.name.rpartition("/")[2])
        if match is None:
            raise FormatError([f"{file.name}: expected a name like BaseballPitch_val.txt, which says the class"])
        for place, line in lines_of(file):
            _row(parsed, place, line, match[1], split_named(match[2]))
    return parsed


def _row(parsed: Parsed, place: str, line: str, label: str, split: str | None) -> None:
    cells = line.split()
    if len(cells) != CELLS:
        parsed.leave_out(place, Kind.BAD_ROW, f"got {line!r}, expected a video, a start and an end")
    elif label == AMBIGUOUS:
        parsed.leave_out(place, Kind.UNUSED, f"{cells[0]}: marked as ambiguous by the authors", (cells[0],))
    else:
        segment = RawSegment(label, cells[1], cells[2], place)
        parsed.entries.append(Entry(place, (cells[0],), labels=(label,), segments=(segment,), split=split))
