"""Rows of many tables in the order of ``video_id``, in bounded memory.

The ids are known beforehand, so they are cut into ranges of some thousand rows. Each table that comes in is divided
over local temporary files, one for each range; then one range after the other is read and sorted.
"""

from __future__ import annotations

import bisect
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fal_model.errors import OutputError

Row = dict[str, Any]
RANGE_ROWS = 5_000
MAX_RANGES = 256
"""So many temporary files are open at once."""
BATCH_ROWS = 256


class SortedRows:
    """Collect tables, then give their rows sorted. To be used in a ``with`` block, which deletes the temporary files.

    Args:
        ids: The ids of all rows to come.
        schema: Of all tables; has a column ``video_id``.
        range_rows: How many rows are sorted at once, if that needs no more than ``MAX_RANGES`` files.
    """

    def __init__(self, ids: pa.ChunkedArray, schema: pa.Schema, range_rows: int = RANGE_ROWS) -> None:
        size = max(range_rows, -(-len(ids) // MAX_RANGES))
        order = pc.sort_indices(ids)
        self._borders: list[str] = ids.take(order.take(pa.array(range(size, len(ids), size), pa.int64()))).to_pylist()
        self._schema = schema
        self._opened = ExitStack()
        self._paths: list[Path] = []
        self._writers: list[Any] = []

    def __enter__(self) -> Self:
        folder = Path(self._opened.enter_context(tempfile.TemporaryDirectory(prefix="fal-")))
        self._paths = [folder / str(number) for number in range(len(self._borders) + 1)]
        for path in self._paths:
            self._writers.append(self._opened.enter_context(pa.ipc.new_stream(os.fspath(path), self._schema)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def add(self, table: pa.Table) -> None:
        """Take the rows of one table."""
        ids = table["video_id"].to_pylist()
        numbers = np.array([bisect.bisect_right(self._borders, video_id) for video_id in ids], np.int64)
        for number in np.unique(numbers):
            self._writers[number].write_table(table.filter(pa.array(numbers == number)))

    def rows(self) -> Iterator[Row]:
        """Yield all rows sorted; nothing can be added afterwards.

        Raises:
            OutputError: an id stands there twice.
        """
        for writer in self._writers:
            writer.close()
        last = None
        for path in self._paths:
            with pa.OSFile(os.fspath(path)) as file:
                table = pa.ipc.open_stream(file).read_all().sort_by("video_id")
            for batch in table.to_batches(max_chunksize=BATCH_ROWS):
                for row in batch.to_pylist():
                    if row["video_id"] == last:
                        raise OutputError(f"video {last!r} is in the tables twice; run label_corpus again")
                    last = row["video_id"]
                    yield row
