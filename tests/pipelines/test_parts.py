"""An output folder belongs to one run, and holds its manifest in parts."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fal_model.errors import OutputError
from pipelines import parts, storage, tables
from pipelines.parts import RunKey
from pipelines.records import MANIFEST

KEY = RunKey(manifest_id="a", model_id="b", taxonomy_id="c", pipeline_id="d", settings_id="e")
TABLES = ("labels", "failures", "predictions")


def table_of(*video_ids: str) -> pa.Table:
    return pa.Table.from_pylist([{"video_id": i, "uri": f"/{i}"} for i in video_ids], schema=MANIFEST)


def write_manifest(output: str, *video_ids: str) -> None:
    tables.write_table(parts.manifest_uri(output), table_of(*video_ids), row_group_rows=2)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_folder_that_cannot_say_whose_it_is_is_refused(tmp_path: Path, text: str) -> None:
    parts.claim(str(tmp_path), KEY, TABLES)
    (tmp_path / "_fal" / "run.json").write_text(text)
    with pytest.raises(OutputError, match=r"run.json' is damaged: it does not say which run made the folder"):
        parts.claim(str(tmp_path), KEY, TABLES)


@pytest.mark.parametrize("field", [name for name in asdict(KEY) if name.endswith("_id")])
def test_a_folder_of_another_run_is_refused_with_what_differs(tmp_path: Path, field: str) -> None:
    parts.claim(str(tmp_path), KEY, TABLES)
    other = RunKey(**(asdict(KEY) | {field: "other"}))
    with pytest.raises(OutputError) as raised:
        parts.claim(str(tmp_path), other, TABLES)
    what = field.removesuffix("_id")
    assert f"was made by another run: {what} differ; use another --output" in str(raised.value)


def test_all_that_differs_is_named(tmp_path: Path) -> None:
    parts.claim(str(tmp_path), KEY, TABLES)
    with pytest.raises(OutputError, match="another run: model, schema_version differ; use another"):
        parts.claim(str(tmp_path), replace(KEY, model_id="x", schema_version=99), TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_tables_that_fal_did_not_begin_are_left_alone(tmp_path: Path, table: str) -> None:
    storage.write_bytes(str(tmp_path / table / "mine.parquet"), b"x")
    with pytest.raises(OutputError, match=f"already holds '{table}' that this FAL did not begin; use another --output"):
        parts.claim(str(tmp_path), KEY, TABLES)
    assert not (tmp_path / "_fal").exists()


def test_other_files_beside_do_no_harm(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "notes.txt"), b"x")
    parts.claim(str(tmp_path), KEY, TABLES)


def test_a_place_that_takes_no_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        parts.claim(str(tmp_path / "file"), KEY, TABLES)


def test_files_of_a_part_share_its_name() -> None:
    assert parts.table_uri("/out", "labels", 7) == "/out/labels/part-00007.parquet"
    assert parts.manifest_uri("/out") == "/out/_fal/manifest.parquet"


def test_the_same_in_s3(bucket: str) -> None:
    output = f"{bucket}/out"
    for _ in range(2):
        parts.claim(output, KEY, TABLES)
    write_manifest(output, "a", "b", "c")
    assert [row["video_id"] for row in parts.read_part(output, 1)] == ["c"]
    with pytest.raises(OutputError, match="another run: model differ"):
        parts.claim(output, replace(KEY, model_id="x"), TABLES)


def test_the_manifest_is_known_by_its_videos_and_what_is_in_them() -> None:
    rows = [{"video_id": "a", "uri": "/a"}, {"video_id": "b", "uri": "/b"}]

    def identity(changes: dict[str, str], fingerprint: str = "2") -> str:
        table = pa.Table.from_pylist([rows[0], rows[1] | changes], schema=MANIFEST)
        return parts.manifest_id(table, ["1", fingerprint])

    same = identity({})
    assert same == "1cce0fcee0f9a4d8"  # the same on every machine and in every version: runs are gone on with by it
    assert same == identity({}) == identity({"split": "val"})  # a split changes no label
    assert len({same, identity({"uri": "/c"}), identity({"video_id": "c"}), identity({"sha256": "c"})}) == 4
    assert identity({}, fingerprint="3") != same


def test_row_groups_are_parts(tmp_path: Path) -> None:
    write_manifest(str(tmp_path), *"abcde")
    metadata = pq.read_metadata(tmp_path / "_fal" / "manifest.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [2, 2, 1]
    rows = [parts.read_part(str(tmp_path), index) for index in range(3)]
    assert [row["video_id"] for part in rows for row in part] == list("abcde")
