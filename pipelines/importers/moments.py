"""Moments in Time: CSV without a header.

Source: the README of the published set: ``trainingSet.csv`` and ``validationSet.csv`` have the fields filename, label,
number of workers that agree, number that disagree, as in ``blocking/getty-karate-video-id635808620_4.mp4,blocking,3,0``
(with a header in none of them); the videos lie at ``training/<filename>``. ``moments_categories.txt`` has lines
``applauding,0``. Labels such as ``adult+female+singing`` are as published.
"""

from __future__ import annotations

from collections.abc import Sequence

from fal_model.taxonomy import Node
from pipelines.importers.annotations import Entry, FormatError, Kind, Parsed, TextFile, is_text, tails
from pipelines.importers.reading import csv_cells

CLASSES = "moments_categories.txt"
SPLITS = {"trainingset.csv": "train", "validationset.csv": "val"}
CELLS = (2, 4)


def is_wanted(name: str) -> bool:
    """Tell whether a file of the annotation folder is read."""
    last = name.rpartition("/")[2]
    return last == CLASSES or last.lower() in SPLITS


def parse(files: Sequence[TextFile]) -> Parsed:
    """Read the CSV files, and the class list if it is there.

    Raises:
        FormatError: no CSV, or one of whose rows none looks like the set's.
    """
    parsed = Parsed()
    tables = [f for f in files if f.name.rpartition("/")[2] != CLASSES]
    if not tables:
        raise FormatError(["--annotations: no trainingSet.csv or validationSet.csv there"])
    for file in files:
        if file not in tables:
            names = [cells[0].strip() for _, cells in csv_cells(file)]
            parsed.classes += [Node(name, name) for name in dict.fromkeys(names) if name]
    for file in tables:
        last = file.name.rpartition("/")[2].lower()
        for place, cells in csv_cells(file):
            _row(parsed, place, cells, SPLITS.get(last))
    if not any(entry.left_out is None for entry in parsed.entries):
        raise FormatError([f"{tables[0].name}: no row is filename,label,agree,disagree"])
    return parsed


def _row(parsed: Parsed, place: str, cells: list[str], split: str | None) -> None:
    if not CELLS[0] <= len(cells) <= CELLS[1] or not is_text(cells[0]) or "/" not in cells[0]:
        parsed.leave_out(place, Kind.BAD_ROW, f"got {','.join(cells)!r}, expected class/video.mp4,class,3,0")
    elif not is_text(cells[1]):
        parsed.leave_out(place, Kind.NO_LABEL, f"{cells[0]}: the label is empty")
    else:
        entry = Entry(place, tails(cells[0].strip()), labels=(cells[1].strip(),), split=split, is_single_label=True)
        parsed.entries.append(entry)
