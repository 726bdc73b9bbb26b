"""Any CSV with one row per video, or per segment of a video: the user says which column is what.

Columns that may be named: ``uri`` (the video's name or path; needed), ``label`` (several, separated by ``|``),
``split``, ``group``, ``duration_s``, ``start_s`` and ``end_s`` (when the labels of this row hold). Those that are not
named are taken from columns that are called so. Rows of one video become one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from pipelines.importers.annotations import Entry, FormatError, Kind, Parsed, RawSegment, TextFile, is_text, tails
from pipelines.importers.reading import csv_rows

MEANINGS = ("uri", "label", "split", "group", "duration_s", "start_s", "end_s")
SEPARATOR = "|"


def parse(files: Sequence[TextFile], columns: Mapping[str, str]) -> Parsed:
    """Read one or more CSV files (or TSV, by suffix).

    Args:
        files: The files.
        columns: What the columns mean: from ``uri``, ``label``, … to the name in the file.

    Raises:
        FormatError: meanings that there are not, or a file without the columns that were named.
    """
    wrong = [f"--columns: got {key!r}, allowed are {', '.join(MEANINGS)}" for key in columns if key not in MEANINGS]
    if ("start_s" in columns) != ("end_s" in columns):
        wrong.append("--columns: start_s and end_s go together")
    if wrong:
        raise FormatError(wrong)
    names = {key: name.lower() for key, name in {"uri": "uri", **columns}.items()}
    parsed = Parsed()
    for file in files:
        for place, cells in csv_rows(file, tuple(names.values())):
            _row(parsed, place, cells, {key: key for key in MEANINGS} | names)
    return parsed


def _row(parsed: Parsed, place: str, cells: Mapping[str, str] | None, names: Mapping[str, str]) -> None:
    if cells is None:
        parsed.leave_out(place, Kind.BAD_ROW, "another number of cells than the first line")
        return
    given = {key: cells[name].strip() for key, name in names.items() if name in cells}
    uri = given["uri"]
    if not is_text(uri):
        parsed.leave_out(place, Kind.BAD_ROW, "no name of a video")
        return
    labels = None
    if "label" in given:
        labels = tuple(dict.fromkeys(t.strip() for t in given["label"].split(SEPARATOR) if t.strip()))
        if not labels:
            parsed.leave_out(place, Kind.NO_LABEL, f"{uri}: the label is empty")
            return
    start, end = given.get("start_s", ""), given.get("end_s", "")
    has_times = bool(labels) and bool(start or end)
    parsed.entries.append(
        Entry(
            place,
            names=(*tails(uri.partition("://")[2] or uri), *tails(unquote(uri.partition("://")[2]))),
            labels=labels,
            segments=tuple(RawSegment(label, start, end, place) for label in labels or ()) if has_times else None,
            split=given.get("split") or None,
            duration=given.get("duration_s") or None,
            group=given.get("group") or None,
        )
    )
