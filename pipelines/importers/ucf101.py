"""UCF-101: the action recognition split files.

Source: ``UCF101TrainTestSplits-RecognitionTask``: ``classInd.txt`` (``1 ApplyEyeMakeup``, from one),
``trainlist01.txt`` (``ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1``), ``testlist01.txt`` (the same without the
number; the folder is the class), 01 to 03. Videos whose names share ``v_Class_gXX`` are cut from one recording. One
class is spelled two ways in the published names: ``HandstandPushups/v_HandStandPushups_g01_c01.avi``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fal_model.taxonomy import Node
from pipelines.importers.annotations import (
    Entry,
    FormatError,
    Kind,
    Parsed,
    TextFile,
    is_text,
    split_in,
    tails,
)
from pipelines.importers.reading import lines_of

CLASSES = "classInd.txt"
_LIST = re.compile(r"(train|test)list(\d+)\.txt")
_GROUP = re.compile(r"v_(.+_g\d+)_c\d+")


def is_wanted(name: str, split_number: int) -> bool:
    """Tell whether a file of the annotation folder is read."""
    match = _LIST.fullmatch(name.rpartition("/")[2])
    return name.rpartition("/")[2] == CLASSES or (match is not None and int(match[2]) == split_number)


def parse(files: Sequence[TextFile]) -> Parsed:
    """Read the lists of one split and the class index.

    Raises:
        FormatError: no list, no class index where one is needed, or a class index of another form.
    """
    lists = [f for f in files if _LIST.fullmatch(f.name.rpartition("/")[2])]
    if not lists:
        raise FormatError(["--annotations: no trainlist01.txt or testlist01.txt (or 02, 03) there"])
    index = _class_index([f for f in files if f.name.rpartition("/")[2] == CLASSES])
    parsed = Parsed(classes=[Node(name, name) for name in index.values()])
    for file in lists:
        split = split_in(file.name.replace("list", " "))
        for place, line in lines_of(file):
            _row(parsed, place, line, split, index)
    return parsed


def _class_index(files: Sequence[TextFile]) -> dict[str, str]:
    index: dict[str, str] = {}
    for file in files:
        for place, line in lines_of(file):
            number, _, name = line.partition(" ")
            if not (number.isdecimal() and name.strip()):
                raise FormatError([f"{place}: got {line!r}, expected a number and a class"])
            index[number] = name.strip()
    return index


def _row(parsed: Parsed, place: str, line: str, split: str | None, index: dict[str, str]) -> None:
    path, _, last = line.rpartition(" ")
    path, number = (path.strip(), last) if last.isdecimal() and path else (line, "")
    folder, _, name = path.rpartition("/")
    label = folder.rpartition("/")[2]
    if not (is_text(label) and name):
        parsed.leave_out(place, Kind.BAD_ROW, f"got {line!r}, expected Class/video.avi")
        return
    if number and index and number not in index:
        parsed.leave_out(place, Kind.UNKNOWN_CLASS, f"{name}: class {number} is not in {CLASSES}")
        return
    if number and index.get(number, label) != label:
        parsed.leave_out(place, Kind.BAD_ROW, f"{name}: lies in {label}, but class {number} is {index[number]}")
        return
    group = _GROUP.match(name)
    parsed.entries.append(
        Entry(
            place,
            names=tails(path),
            labels=(label,),
            split=split,
            group=group[1] if group else None,
            is_single_label=True,
        )
    )
