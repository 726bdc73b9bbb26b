"""Bytes of annotation files to lines, cells and JSON, with places; a file that is something else is one clear error."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pipelines.importers.annotations import FormatError, TextFile

MAX_SHOWN = 12


def text_of(file: TextFile) -> str:
    """Decode a file; a byte order mark is taken off.

    Raises:
        FormatError: not UTF-8.
    """
    try:
        return file.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError([f"{file.name}: not UTF-8 text (byte {error.start})"]) from None


def lines_of(file: TextFile) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of every line that is not blank, whatever its line ends.

    Raises:
        FormatError: not UTF-8.
    """
    for number, line in enumerate(text_of(file).split("\n"), start=1):
        if line.strip():
            yield f"{file.name}, line {number}", line.strip()


def csv_rows(file: TextFile, needed: Collection[str]) -> Iterator[tuple[str, Mapping[str, str] | None]]:
    """Yield the place and the cells of every row; None where the row has another number of cells than the header.

    Args:
        file: Comma separated, or tab separated if its name ends in ``.tsv``.
        needed: Columns that must be there; spaces around and capitals in their names do not matter.

    Raises:
        FormatError: not UTF-8, not CSV, or columns that are missing.
    """
    header: list[str] | None = None
    for place, cells in csv_cells(file):
        if header is None:
            header = [c.strip().lower() for c in cells]
            _check_header(file, header, needed)
        else:
            yield place, dict(zip(header, cells, strict=True)) if len(cells) == len(header) else None
    if header is None:
        raise FormatError([f"{file.name}: empty; needed are the columns {', '.join(needed)}"])


def csv_cells(file: TextFile) -> Iterator[tuple[str, list[str]]]:
    """Yield the place and the cells of every row that is not blank.

    Raises:
        FormatError: not UTF-8, or not CSV.
    """
    delimiter = "\t" if file.name.lower().endswith(".tsv") else ","
    reader = csv.reader(io.StringIO(text_of(file), newline=""), delimiter=delimiter)
    try:
        for cells in reader:
            if any(c.strip() for c in cells):
                yield f"{file.name}, line {reader.line_num}", cells
    except csv.Error as error:
        raise FormatError([f"{file.name}: not CSV after line {reader.line_num}: {error}"]) from None


def _check_header(file: TextFile, header: Sequence[str], needed: Collection[str]) -> None:
    missing = [name for name in needed if name.lower() not in header]
    if missing:
        found = ", ".join(header[:MAX_SHOWN]) + (", …" if len(header) > MAX_SHOWN else "")
        raise FormatError([f"{file.name}: no column {', '.join(missing)}; the first line has: {found}"])
    repeated = sorted({name for name in header if name in {n.lower() for n in needed} and header.count(name) > 1})
    if repeated:
        raise FormatError([f"{file.name}: column {', '.join(repeated)} is there more than once"])


def json_of(file: TextFile) -> tuple[Any, list[str]]:
    """Read a JSON file.

    Returns:
        What it holds, and the keys that one of its objects has twice (of which Python keeps the last value).

    Raises:
        FormatError: not UTF-8, or not JSON.
    """
    repeated: list[str] = []

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            repeated.extend(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        return made

    try:
        return json.loads(text_of(file), object_pairs_hook=object_of), repeated
    except (ValueError, RecursionError) as error:
        raise FormatError([f"{file.name}: not JSON: {error}"]) from None


def number_in(value: object) -> float | None:
    """Read a number, or a text that is one; None for all else, NaN and infinity included."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and "_" in value:
        return None  # Python would take it for a separator of thousands
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if -sys.float_info.max <= number <= sys.float_info.max else None
