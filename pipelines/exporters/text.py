"""JSON as every format writes it, and lists of it too long for memory."""

from __future__ import annotations

import json
from typing import Any, BinaryIO


def json_text(value: Any) -> str:
    """Write JSON in one line, as UTF-8 reads it.

    Raises:
        ValueError: NaN or infinity, which JSON does not have.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


class Items:
    """Write the items of a JSON list, or the members of an object, one after the other.

    Args:
        file: Where they go.
        opening: What stands before the first one.
    """

    def __init__(self, file: BinaryIO, opening: str) -> None:
        self._file = file
        self._before = opening + "\n"

    def add(self, text: str) -> None:
        """Write the next item."""
        self._file.write((self._before + text).encode())
        self._before = ",\n"

    def end(self, closing: str) -> None:
        """Write what stands behind the last one."""
        before = "\n" if self._before == ",\n" else self._before
        self._file.write((before + closing).encode())
