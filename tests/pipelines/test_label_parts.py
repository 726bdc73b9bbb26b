"""Parts are named by what they depend on, and an output folder knows which of them are finished."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import OutputError
from pipelines import label_parts, storage, tables
from pipelines.label_parts import LabelKey, Mark, PartCounts, PlannedParts
from pipelines.records import FAILURES, MANIFEST

KEY = LabelKey(weights_id="w", pipeline_id="p", decoding_id="d", model_id="m", taxonomy_id="t", labelling_id="l")
COUNTS = PartCounts(
    seen=3, labelled=2, failed=1, clips=7, failures_by_kind={"corrupt": 1}, prepare_busy_s=0.5, predict_busy_s=0.25
)
MARK = Mark(KEY.prediction_id, KEY.label_id, COUNTS)
NO_ROWS = FAILURES.empty_table()


def table_of(video_ids: list[str]) -> pa.Table:
    return pa.Table.from_pylist([{"video_id": i, "uri": f"/{i}"} for i in video_ids], schema=MANIFEST)


def planned(video_ids: list[str], part_videos: int, looks: dict[str, str] | None = None) -> PlannedParts:
    fingerprints = [(looks or {}).get(i, f"look of {i}") for i in video_ids]
    return label_parts.plan_parts(table_of(video_ids), fingerprints, KEY.prediction_id, part_videos)


def members(parts: PlannedParts) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for row in parts.table.to_pylist():
        found.setdefault(row["part"], set()).add(row["video_id"])
    return {name: frozenset(ids) for name, ids in found.items()}


VIDEO_IDS = st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=60).map(sorted)


@settings(deadline=None, max_examples=60)
@given(video_ids=VIDEO_IDS, part_videos=st.integers(1, 9))
def test_every_video_is_in_exactly_one_part(video_ids: list[str], part_videos: int) -> None:
    parts = planned(video_ids, part_videos)
    assert sorted(parts.table["video_id"].to_pylist()) == video_ids
    assert sum(parts.sizes) == len(video_ids)
    assert len(parts.names) == len(set(parts.names)) == len(parts.sizes)
    start = 0
    for name, size in zip(parts.names, parts.sizes, strict=True):
        assert set(parts.table.slice(start, size)["part"].to_pylist()) == {name}
        start += size
    assert len(parts.names) <= max(1, 2 * -(-len(video_ids) // part_videos))


@settings(deadline=None, max_examples=60)
@given(video_ids=VIDEO_IDS.filter(lambda ids: len(ids) > 1), part_videos=st.integers(1, 9), data=st.data())
def test_a_video_that_changes_changes_its_own_part_only(
    video_ids: list[str], part_videos: int, data: st.DataObject
) -> None:
    changed = data.draw(st.sampled_from(video_ids))
    before, after = planned(video_ids, part_videos), planned(video_ids, part_videos, {changed: "another look"})
    kept = set(before.names) & set(after.names)
    assert {i for name in set(before.names) - kept for i in members(before)[name]} >= {changed}
    assert len(kept) == len(before.names) - 1


@settings(deadline=None, max_examples=60)
@given(video_ids=VIDEO_IDS.filter(lambda ids: len(ids) > 1), part_videos=st.integers(1, 9), data=st.data())
def test_a_video_that_goes_changes_its_own_part_only(
    video_ids: list[str], part_videos: int, data: st.DataObject
) -> None:
    gone = data.draw(st.sampled_from(video_ids))
    rest = [i for i in video_ids if i != gone]
    before, after = planned(video_ids, part_videos), planned(rest, part_videos)
    doublings = [(-(-len(ids) // part_videos) - 1).bit_length() for ids in (video_ids, rest)]
    if doublings[0] == doublings[1]:
        (changed,) = set(before.names) - set(after.names)
        assert gone in members(before)[changed]
    else:  # half as many parts are asked for, as happens once on the way from any size to half of it
        assert len(after.names) <= len(before.names)


def test_the_name_of_a_part_is_the_same_everywhere_and_tells_everything_it_depends_on() -> None:
    def name(row: dict[str, str], look: str = "1:2", prediction_id: str = "x") -> str:
        table = pa.Table.from_pylist([{"video_id": "a", "uri": "/a"} | row], schema=MANIFEST)
        (found,) = label_parts.plan_parts(table, [look], prediction_id, 4).names
        return found

    same = name({})
    assert same == "part-5ec9bcb0f61d3e8c"  # on every machine and in every version: runs are gone on with by it
    assert name({"split": "val"}) == same  # says nothing about the labels
    others = [name({"uri": "/b"}), name({"video_id": "b"}), name({"sha256": "c"}), name({}, "1:3")]
    assert len({same, *others, name({}, prediction_id="y")}) == 6


@pytest.mark.parametrize("field", [name for name in asdict(KEY) if name != "schema_version"])
def test_predictions_depend_on_some_of_a_key_labels_on_all_of_it(field: str) -> None:
    other = LabelKey(**(asdict(KEY) | {field: "other"}))
    assert other.label_id != KEY.label_id
    assert (other.prediction_id != KEY.prediction_id) == (field in {"weights_id", "pipeline_id", "decoding_id"})
    assert replace(KEY, schema_version=99).prediction_id != KEY.prediction_id


def test_a_kept_manifest_has_a_row_group_for_each_part(tmp_path: Path) -> None:
    parts = planned([f"{i}" for i in range(20)], 4)
    uri = label_parts.write_manifest(str(tmp_path), parts)
    metadata = pq.read_metadata(uri)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == parts.sizes
    read = [label_parts.read_part(uri, index) for index in range(len(parts.names))]
    assert [row for part in read for row in part] == parts.table.to_pylist()
    assert {row["fingerprint"] for row in read[0]} == {f"look of {row['video_id']}" for row in read[0]}
    before = Path(uri).read_bytes()
    assert label_parts.write_manifest(str(tmp_path), parts) == uri
    assert Path(uri).read_bytes() == before


def test_a_split_that_was_put_right_reaches_the_kept_manifest(tmp_path: Path) -> None:
    parts = planned(["a", "b"], 4)
    label_parts.write_manifest(str(tmp_path), parts)
    place = parts.table.schema.get_field_index("split")
    table = parts.table.set_column(place, "split", pa.array(["test", "test"], pa.string()))
    uri = label_parts.write_manifest(str(tmp_path), replace(parts, table=table))
    assert [row["split"] for row in label_parts.read_part(uri, 0)] == ["test", "test"]


def test_files_of_a_part_share_its_name() -> None:
    assert label_parts.table_uri("/out", "labels", "part-7") == "/out/labels/part-7.parquet"
    assert label_parts.batch_uri("s3://b/out/", "r", "part-7", 3, 4) == (
        "s3://b/out/_fal/batches/r/part-7/000003-000004.parquet"
    )
    assert label_parts.begun_uri("/out", "r", "part-7", 3) == "/out/_fal/batches/r/part-7/000003-begun"
    assert label_parts.thumbnails_uri("/out", "part-7") == "/out/_fal/thumbnails/part-7.json"


def write_part(output: str, part: str, mark: Mark = MARK, tables_made: tuple[str, ...] = label_parts.TABLES) -> None:
    for table in tables_made:
        tables.write_table(label_parts.table_uri(output, table, part), NO_ROWS)
    label_parts.mark_finished(output, part, mark)


def test_a_part_is_finished_when_it_is_marked_and_its_tables_are_there(tmp_path: Path) -> None:
    output = str(tmp_path)
    assert label_parts.read_marks(output) == {}
    assert label_parts.read_mark(output, "part-a") is None
    write_part(output, "part-a")
    write_part(output, "part-b", replace(MARK, label_id="old"))
    write_part(output, "part-c", tables_made=("labels", "failures"))
    tables.write_table(label_parts.table_uri(output, "labels", "part-d"), NO_ROWS)
    storage.write_bytes(storage.join(output, "_fal", "done", ".writing-part-e.json"), b"{")
    assert label_parts.read_marks(output) == {"part-a": MARK, "part-b": replace(MARK, label_id="old")}
    assert label_parts.read_mark(output, "part-a") == MARK


def test_a_damaged_mark_is_named(tmp_path: Path) -> None:
    write_part(str(tmp_path), "part-a")
    (tmp_path / "_fal" / "done" / "part-a.json").write_text("{")
    with pytest.raises(OutputError, match=r"part-a\.json' is damaged; delete it, and the part is done again"):
        label_parts.read_marks(str(tmp_path))


def test_what_is_left_of_the_work_is_told_apart(tmp_path: Path) -> None:
    parts = planned([f"{i}" for i in range(30)], 4)
    done, again, *todo = range(len(parts.names))
    write_part(str(tmp_path), parts.names[done])
    write_part(str(tmp_path), parts.names[again], replace(MARK, label_id="of another threshold"))
    write_part(str(tmp_path), "part-of-another-run")
    work = label_parts.work_of(str(tmp_path), parts, KEY)
    assert (work.finished, work.again, work.todo) == ([done], [again], todo)
    assert "part-of-another-run" in work.marks


def test_the_same_in_s3(bucket: str) -> None:
    output = f"{bucket}/out"
    uri = label_parts.write_manifest(output, planned(["a", "b", "c"], 4))
    assert [row["video_id"] for row in label_parts.read_part(uri, 0)] == ["a", "b", "c"]
    write_part(output, "part-old")
    assert label_parts.read_marks(output) == {"part-old": MARK}


@pytest.mark.parametrize("text", ['{"a": "picture", "b": 1}', "{", "[]", ""])
def test_pictures_that_are_damaged_are_none(tmp_path: Path, text: str) -> None:
    output = str(tmp_path)
    assert label_parts.read_thumbnails(output, "part-a") == {}
    storage.write_bytes(label_parts.thumbnails_uri(output, "part-a"), text.encode())
    assert label_parts.read_thumbnails(output, "part-a") == ({"a": "picture"} if "picture" in text else {})
