"""An output folder belongs to one run, and knows which of its parts are finished."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import OutputError
from pipelines import parts, storage
from pipelines.parts import PartCounts, RunKey
from pipelines.records import MANIFEST

KEY = RunKey(manifest_id="a", model_id="b", taxonomy_id="c", pipeline_id="d", settings_id="e")
COUNTS = PartCounts(
    seen=3, labelled=2, failed=1, clips=7, failures_by_kind={"corrupt": 1}, prepare_busy_s=0.5, predict_busy_s=0.25
)
TABLES = ("labels", "failures", "predictions")


def table_of(*video_ids: str) -> pa.Table:
    return pa.Table.from_pylist([{"video_id": i, "uri": f"/{i}"} for i in video_ids], schema=MANIFEST)


@settings(deadline=None, max_examples=30)
@given(num_videos=st.integers(0, 9), part_videos=st.integers(1, 4))
def test_every_video_is_in_exactly_one_part(
    tmp_path_factory: pytest.TempPathFactory, num_videos: int, part_videos: int
) -> None:
    output = str(tmp_path_factory.mktemp("out"))
    manifest = table_of(*map(str, range(num_videos)))
    num_parts = parts.open_output(output, KEY, manifest, part_videos)
    rows = [parts.read_part(output, i) for i in range(num_parts)]
    assert [row for part in rows for row in part] == manifest.to_pylist()
    assert all(1 <= len(part) <= part_videos for part in rows)


def test_a_second_run_goes_on_with_the_same_parts(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    assert parts.open_output(output, KEY, table_of("a", "b", "c"), 2) == 2
    before = (tmp_path / "out" / "_fal" / "manifest.parquet").stat()
    assert parts.open_output(output, KEY, table_of("a", "b", "c"), 2) == 2
    assert (tmp_path / "out" / "_fal" / "manifest.parquet").stat() == before
    assert json.loads((tmp_path / "out" / "_fal" / "run.json").read_text()) == asdict(KEY)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_folder_that_cannot_say_whose_it_is_is_refused(tmp_path: Path, text: str) -> None:
    parts.claim(str(tmp_path), KEY, TABLES)
    (tmp_path / "_fal" / "run.json").write_text(text)
    with pytest.raises(OutputError, match=r"run.json' is damaged: it does not say which run made the folder"):
        parts.claim(str(tmp_path), KEY, TABLES)


def test_a_run_that_died_before_its_manifest_was_written_is_gone_on_with(tmp_path: Path) -> None:
    parts.claim(str(tmp_path), KEY, TABLES)
    assert parts.open_output(str(tmp_path), KEY, table_of("a"), 2) == 1
    assert [row["video_id"] for row in parts.read_part(str(tmp_path), 0)] == ["a"]


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
        parts.open_output(str(tmp_path / "file"), KEY, table_of("a"), 2)


def test_a_part_is_finished_when_it_is_marked(tmp_path: Path) -> None:
    output = str(tmp_path)
    assert parts.finished_parts(output) == {}
    assert parts.counts_if_finished(output, 3) is None
    parts.mark_finished(output, 3, COUNTS)
    parts.mark_finished(output, 123_456, replace(COUNTS, seen=9))
    storage.write_bytes(storage.join(output, "_fal", "done", "notes.txt"), b"x")
    storage.write_bytes(storage.join(output, "_fal", "done", ".writing-part-00009.json"), b"{")
    assert parts.finished_parts(output) == {3: COUNTS, 123_456: replace(COUNTS, seen=9)}
    assert parts.counts_if_finished(output, 3) == COUNTS


def test_files_of_a_part_share_its_name() -> None:
    assert parts.table_uri("/out", "labels", 7) == "/out/labels/part-00007.parquet"
    assert parts.batch_uri("s3://b/out/", 7, 3) == "s3://b/out/_fal/batches/part-00007/000003.parquet"
    assert parts.thumbnails_uri("/out", 7) == "/out/_fal/thumbnails/part-00007.json"
    assert parts.manifest_uri("/out") == "/out/_fal/manifest.parquet"


def test_the_same_in_s3(bucket: str) -> None:
    output = f"{bucket}/out"
    for _ in range(2):
        assert parts.open_output(output, KEY, table_of("a", "b", "c"), 2) == 2
    assert [row["video_id"] for row in parts.read_part(output, 1)] == ["c"]
    parts.mark_finished(output, 1, COUNTS)
    assert parts.finished_parts(output) == {1: COUNTS}
    with pytest.raises(OutputError, match="another run: model differ"):
        parts.open_output(output, replace(KEY, model_id="x"), table_of("a"), 2)


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
    parts.open_output(str(tmp_path), KEY, table_of(*"abcde"), 2)
    metadata = pq.read_metadata(tmp_path / "_fal" / "manifest.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [2, 2, 1]
