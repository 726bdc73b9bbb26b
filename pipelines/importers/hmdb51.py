"""HMDB-51: the split files.

Source: ``testTrainMulti_7030_splits``: one file per class and split, ``brush_hair_test_split1.txt``, of lines
``<video>.avi 1``: 1 train, 2 test, 0 not used in this split. The set's README gives the name of a video as
``<source>_<class>_<visible part>_<camera motion>_<people>_<view>_<quality>_<number>.avi``, as in
``April_09_brush_hair_u_nm_np1_ba_goo_0.avi``: clips of one source and class share the part before the tags. That is
taken as the group, without the class, because one film gives clips of several classes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fal_model.taxonomy import Node
from pipelines.importers.annotations import Entry, FormatError, Kind, Parsed, TextFile
from pipelines.importers.reading import lines_of

_FILE = re.compile(r"(.+)_test_split(\d)\.txt")
_TAGS = re.compile(r"_[a-z]{1,2}_(?:cm|nm)_np\d+_[a-z]{2}_[a-z]{3}_\d+\.avi$")
SPLITS = {"1": "train", "2": "test"}


def is_wanted(name: str, split_number: int) -> bool:
    """Tell whether a file of the annotation folder is read."""
    match = _FILE.fullmatch(name.rpartition("/")[2])
    return match is not None and int(match[2]) == split_number


def parse(files: Sequence[TextFile]) -> Parsed:
    """Read the files of one split.

    Raises:
        FormatError: none is there, or a file whose name says no class.
    """
    if not files:
        raise FormatError(["--annotations: no <class>_test_split1.txt (or 2, 3) there"])
    parsed = Parsed()
    for file in sorted(files, key=lambda f: f.name):
        match = _FILE.fullmatch(file.name.rpartition("/")[2])
        if match is None:
            raise FormatError([f"{file.name}: expected a name like brush_hair_test_split1.txt, which says the class"])
        parsed.classes.append(Node(match[1], match[1]))
        for place, line in lines_of(file):
            _row(parsed, place, line, match[1])
    return parsed


def _row(parsed: Parsed, place: str, line: str, label: str) -> None:
    name, _, use = line.rpartition(" ")
    name = name.strip()
    if not name or use not in {"0", "1", "2"}:
        parsed.leave_out(place, Kind.BAD_ROW, f"got {line!r}, expected video.avi and 0, 1 or 2")
    elif use == "0":
        parsed.leave_out(place, Kind.UNUSED, f"{name}: 0, not used in this split", (f"{label}/{name}", name))
    else:
        parsed.entries.append(
            Entry(
                place,
                names=(f"{label}/{name}", name),
                labels=(label,),
                split=SPLITS[use],
                group=_source(name, label),
                is_single_label=True,
            )
        )


def _source(name: str, label: str) -> str | None:
    stem, found = _TAGS.subn("", name)
    return stem.removesuffix(f"_{label}") or None if found else None
