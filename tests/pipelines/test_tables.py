"""Parquet files that FAL wrote are read as they were; others are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fal_model.errors import OutputError
from pipelines import storage, tables
from pipelines.records import FAILURES, VERSION_KEY


def failures(*video_ids: str) -> pa.Table:
    rows = [
        {"video_id": i, "uri": i, "stage": "open", "kind": "corrupt", "message": "", "attempts": 1} for i in video_ids
    ]
    return pa.Table.from_pylist(rows, schema=FAILURES)


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=10), max_size=10))
def test_a_table_is_read_as_it_was_written_and_its_bytes_are_always_the_same(
    tmp_path: Path, video_ids: list[str]
) -> None:
    first, second = str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")
    tables.write_table(first, failures(*video_ids))
    tables.write_table(second, failures(*video_ids))
    assert tables.read_table(first).equals(failures(*video_ids), check_metadata=True)
    assert storage.read_bytes(first) == storage.read_bytes(second)


def test_columns_and_row_groups_are_chosen(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.parquet")
    tables.write_table(uri, failures("a", "b", "c"), row_group_rows=2)
    assert pq.read_metadata(uri).num_row_groups == 2
    assert tables.read_table(uri, ["kind", "uri"]).column_names == ["kind", "uri"]


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OutputError, match=r"cannot write '.*/file/a\.parquet'"):
        tables.write_table(str(tmp_path / "file" / "a.parquet"), failures())


def test_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot read '.*/a\.parquet': .*No such file"):
        tables.read_table(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize("cut", [slice(0, 0), slice(0, 40), slice(100, None), slice(0, -30)])
def test_a_damaged_table(tmp_path: Path, cut: slice) -> None:
    uri = str(tmp_path / "a.parquet")
    tables.write_table(uri, failures("a" * 100, "b" * 100))
    Path(uri).write_bytes(Path(uri).read_bytes()[cut])
    with pytest.raises(OutputError, match=r"cannot read '.*/a\.parquet': "):
        tables.read_table(uri)


def test_damage_within_the_data_is_an_error_too(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.parquet")
    tables.write_table(uri, failures(*(str(i) * 50 for i in range(100))))
    data = bytearray(Path(uri).read_bytes())
    data[4:200] = bytes(196)
    Path(uri).write_bytes(data)
    with pytest.raises(OutputError, match=r"cannot read '.*/a\.parquet': "):
        tables.read_table(uri)


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.parquet")
    tables.write_table(uri, failures("a").replace_schema_metadata({VERSION_KEY: b"99"}))
    with pytest.raises(OutputError, match=r"'.*/a\.parquet' has schema version 99, this FAL reads 4$"):
        tables.read_table(uri)


def test_a_folder_is_read_in_the_order_of_parts(tmp_path: Path) -> None:
    folder = str(tmp_path / "failures")
    assert tables.read_folder(folder) is None
    for name, ids in (("part-1", ["c"]), ("part-0", ["b", "a"]), ("part-2", [])):
        tables.write_table(f"{folder}/{name}.parquet", failures(*ids))
    for other in ("notes.txt", ".writing-x", ".part-3.parquet"):  # a killed writer leaves such files behind
        storage.write_bytes(f"{folder}/{other}", b"not a table")
    table = tables.read_folder(folder, ["video_id"])
    assert table is not None
    assert table.to_pydict() == {"video_id": ["b", "a", "c"]}
    tables.write_table(f"{folder}/part-10.parquet", failures("d"))  # by letters it would come after part-1
    tables.write_table(f"{folder}/part-2.parquet", failures("x"))
    table = tables.read_folder(folder, ["video_id"])
    assert table is not None
    assert table.to_pydict() == {"video_id": ["b", "a", "c", "x", "d"]}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("lengths", [[3], [2, 0, 4], [], [0]])
def test_a_column_of_lists_is_an_array(dtype: type[np.floating], lengths: list[int]) -> None:
    values = [np.arange(n * 3, dtype=dtype) + n for n in lengths]
    kind = pa.list_(pa.from_numpy_dtype(np.dtype(dtype)), 3)
    chunks = [pa.FixedSizeListArray.from_arrays(pa.array(v), 3).cast(kind) for v in values]
    found = tables.matrix(pa.chunked_array(chunks, kind))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.concatenate([*values, np.zeros(0, dtype)]).reshape(-1, 3))


def test_a_slice_of_a_column_is_that_slice() -> None:
    column = pa.table({"x": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(12.0)), 3)})["x"]
    np.testing.assert_array_equal(tables.matrix(column.slice(1, 2)), [[3, 4, 5], [6, 7, 8]])


def test_row_groups_have_the_sizes_asked_for(tmp_path: Path) -> None:
    uri, table = str(tmp_path / "a.parquet"), failures(*"abcde")
    tables.write_groups(uri, table, [2, 1, 2])
    metadata = pq.read_metadata(uri)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [2, 1, 2]
    assert tables.read_table(uri).equals(table)


def test_a_column_that_is_not_there_is_said(tmp_path: Path) -> None:
    uri = str(tmp_path / "a.parquet")
    tables.write_table(uri, pa.table({"a": [1], "b": [2]}))
    assert tables.read_table(uri, ["b"]).column_names == ["b"]
    with pytest.raises(OutputError, match=r"cannot read '.*a\.parquet': it has no column 'c'"):
        tables.read_table(uri, ["a", "c"])


def test_a_schema_is_read_without_rows(tmp_path: Path) -> None:
    table = pa.table({"a": [1]}).replace_schema_metadata({"note": "kept"})
    tables.write_table(str(tmp_path / "a.parquet"), table)
    found = tables.read_schema(str(tmp_path / "a.parquet"))
    assert (found.names, found.metadata[b"note"]) == (["a"], b"kept")
    (tmp_path / "b.parquet").write_bytes(b"no table")
    for name in ("b.parquet", "none.parquet"):
        with pytest.raises(OutputError, match=f"cannot read '.*{name}'"):
            tables.read_schema(str(tmp_path / name))


def test_a_file_whose_pieces_cannot_all_be_made_is_not_there(tmp_path: Path) -> None:
    schema = pa.schema([("a", pa.int64())])

    def write_half() -> None:
        with tables.table_writer(str(tmp_path / "a.parquet"), schema) as write:
            write(schema.empty_table(), None)
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert list(tmp_path.iterdir()) == []
