"""Rows of many tables, sorted."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import OutputError
from pipelines.exporters.sorting import SortedRows

SCHEMA = pa.schema([("video_id", pa.string()), ("number", pa.int64())])


def table_of(ids: list[str]) -> pa.Table:
    return pa.table({"video_id": pa.array(ids, pa.string()), "number": [len(v) for v in ids]}, schema=SCHEMA)


def sorted_ids(tables: list[list[str]], range_rows: int) -> list[str]:
    ids = pa.chunked_array([pa.array(found, pa.string()) for found in tables], pa.string())
    with SortedRows(ids, SCHEMA, range_rows) as rows:
        for found in tables:
            rows.add(table_of(found))
        given_back = list(rows.rows())
    assert all(row["number"] == len(row["video_id"]) for row in given_back)
    return [row["video_id"] for row in given_back]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(max_size=5), unique=True, max_size=40), st.integers(1, 10), st.integers(1, 12))
def test_every_row_comes_once_in_order(ids: list[str], range_rows: int, table_rows: int) -> None:
    tables = [ids[i : i + table_rows] for i in range(0, len(ids), table_rows)]
    assert sorted_ids(tables, range_rows) == sorted(ids)


def test_many_rows_need_few_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ids = [f"{n:05}" for n in range(2000)]
    with SortedRows(pa.chunked_array([ids]), SCHEMA, 1) as rows:
        assert len(list(tmp_path.rglob("*"))) <= 257  # and the folder
        rows.add(table_of(ids[::-1]))
        assert [row["video_id"] for row in rows.rows()] == ids
    assert list(tmp_path.iterdir()) == []


def test_an_id_that_is_there_twice_is_said() -> None:
    with pytest.raises(OutputError, match=r"^video 'b' is in the tables twice; run label_corpus again$"):
        sorted_ids([["a", "b"], ["b"]], 1)


def test_only_one_range_is_in_memory() -> None:
    schema = SCHEMA.append(pa.field("ballast", pa.string()))
    ids = [f"{n:05}" for n in range(20_000)]
    with SortedRows(pa.chunked_array([ids]), schema, 500) as rows:
        before, most = pa.total_allocated_bytes(), 0
        for start in range(0, len(ids), 1000):
            found = table_of(ids[start : start + 1000])
            rows.add(found.append_column("ballast", pa.array(["x" * 1000] * len(found))))
            most = max(most, pa.total_allocated_bytes() - before)
        del found
        for _ in rows.rows():
            most = max(most, pa.total_allocated_bytes() - before)
    assert most < 5_000_000  # of twenty
