"""Arrow tables to and from Parquet files, with the schema version checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fal_model.errors import OutputError
from pipelines import storage
from pipelines.records import SCHEMA_VERSION, VERSION_KEY


def write_table(uri: str, table: pa.Table, *, row_group_rows: int | None = None) -> None:
    """Write one Parquet file atomically. The same table gives the same bytes.

    Raises:
        OutputError: the place cannot be written.
    """
    with table_writer(uri, table.schema) as write:
        write(table, row_group_rows)


@contextmanager
def table_writer(uri: str, schema: pa.Schema) -> Iterator[Callable[[pa.Table, int | None], None]]:
    """Write one Parquet file atomically, piece by piece: it is there once the block ends, and never if that fails.

    Yields:
        What writes a piece, in row groups of so many rows, or in one. The same pieces give the same bytes.

    Raises:
        OutputError: the place cannot be written.
    """
    with storage.writing(uri) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield writer.write_table


def write_groups(uri: str, table: pa.Table, sizes: Sequence[int]) -> None:
    """Write one Parquet file atomically, its row groups of the given sizes.

    Raises:
        OutputError: the place cannot be written.
    """
    start = 0
    with table_writer(uri, table.schema) as write:
        for size in sizes:
            write(table.slice(start, size), size)
            start += size


def read_table(uri: str, columns: list[str] | None = None) -> pa.Table:
    """Read one Parquet file that FAL wrote.

    Raises:
        OutputError: missing, damaged, or written with another schema version.
    """
    try:
        # Half the time of read_table for the small files of parts, of which a run has thousands.
        # Of a large one in S3 only the columns asked for are fetched.
        is_ranged = columns is not None and storage.is_remote(uri)
        source = storage.open_ranged(uri) if is_ranged else pa.BufferReader(storage.read_bytes(uri))
        file = pq.ParquetFile(source)
        missing = [name for name in columns or () if name not in file.schema_arrow.names]
        if missing:
            raise OutputError(f"cannot read {uri!r}: it has no column {missing[0]!r}")
        table = file.read(columns=columns, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"cannot read {uri!r}: {error}") from None
    version = (table.schema.metadata or {}).get(VERSION_KEY, str(SCHEMA_VERSION).encode()).decode()
    if version != str(SCHEMA_VERSION):
        raise OutputError(f"{uri!r} has schema version {version}, this FAL reads {SCHEMA_VERSION}")
    return table


def read_schema(uri: str) -> pa.Schema:
    """Read the columns and the metadata of a Parquet file, and none of its rows.

    Raises:
        OutputError: missing or damaged.
    """
    try:
        with storage.open_ranged(uri) as file:
            return pq.read_schema(file)
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"cannot read {uri!r}: {error}") from None


def read_folder(folder: str, columns: list[str] | None = None) -> pa.Table | None:
    """Read every ``.parquet`` file of a folder as one table; None where there is none.

    Shorter names come first, then those of one length in order: part 100,000 comes after part 99,999.
    """
    found = [n for n in storage.names_in(folder) if n.endswith(".parquet") and not n.startswith(".")]
    names = sorted(found, key=lambda name: (len(name), name))
    if not names:
        return None
    return pa.concat_tables([read_table(storage.join(folder, n), columns) for n in names])


def matrix(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Turn a column of fixed-size lists into an array [rows, list size], without Python objects."""
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    values = np.concatenate(flat) if flat else np.zeros(0, column.type.value_type.to_pandas_dtype())
    return values.reshape(len(column), column.type.list_size)
