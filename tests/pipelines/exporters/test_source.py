"""Reading the output folder of a labelling run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fal_model.errors import ConfigError, OutputError
from pipelines import label_parts, run_record, tables
from pipelines.exporters.source import FoundTree, Source, open_source, read_parts, schema_of
from pipelines.records import labels_schema
from tests.helpers.label_output import key_of, write_output, write_part
from tests.helpers.report_folder import failure_row, label_row

IDS = [f"{n:02}.mp4" for n in range(12)]


def rows_of(source: Source) -> list[dict[str, Any]]:
    return [row for table in read_parts(source, schema_of(source, [])) for row in table.to_pylist()]


def problem_of(folder: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        open_source(str(folder))
    (problem,) = raised.value.problems
    return problem


def test_labels_and_failures_come_part_by_part_with_their_splits(tmp_path: Path) -> None:
    labels, failures = [label_row(v) for v in IDS[:8]], [failure_row(v) for v in IDS[8:]]
    parts = write_output(tmp_path, labels, failures, splits={IDS[0]: "train", IDS[9]: "test"})
    source = open_source(str(tmp_path))
    assert [part.name for part in source.parts] == parts.names
    assert len(parts.names) > 2
    assert (source.num_videos, source.num_missing, source.num_foreign) == (12, 0, 0)
    assert sorted(source.ids.to_pylist()) == IDS
    rows = {row["video_id"]: row for row in rows_of(source)}
    assert sorted(rows) == IDS
    assert (rows[IDS[0]]["split"], rows[IDS[1]]["split"], rows[IDS[9]]["split"]) == ("train", None, "test")
    assert (rows[IDS[0]]["top_label"], rows[IDS[0]]["kind"]) == ("run", None)
    assert (rows[IDS[9]]["top_label"], rows[IDS[9]]["kind"]) == (None, "corrupt")


def test_a_run_in_which_everything_failed(tmp_path: Path) -> None:
    write_output(tmp_path, [], [failure_row(v) for v in IDS])
    assert len(rows_of(open_source(str(tmp_path)))) == 12


def test_large_columns_are_read_when_asked_for(tmp_path: Path) -> None:
    write_output(tmp_path, [label_row("a", embedding=[0.6, 0.8, 0.0])], [failure_row("z")])
    source = open_source(str(tmp_path))
    assert "embedding" not in schema_of(source, []).names
    (table,) = read_parts(source, schema_of(source, ["embedding", "frame_times_s"]))
    assert table["frame_times_s"].to_pylist() == [[1.0, 3.0, 5.0, 7.0], None]
    assert table["embedding"].to_pylist()[0] == pytest.approx([0.6, 0.8, 0.0])


def test_a_folder_that_no_labelling_run_made(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "none") == (
        f"--input: '{tmp_path / 'none'}' is no output folder of label_corpus: there is no _fal/run.json"
    )
    (tmp_path / "_fal").mkdir()
    (tmp_path / "_fal" / "run.json").write_text(json.dumps({"job": "scanning"}), encoding="utf-8")
    assert "was written by another job" in problem_of(tmp_path)


def test_tables_of_another_version(tmp_path: Path) -> None:
    write_output(tmp_path, [label_row("a")], key=replace(key_of(), schema_version=3))
    assert problem_of(tmp_path) == (
        f"--input: '{tmp_path}' has tables of schema version 3, this FAL reads 4; run label_corpus again with this "
        "version"
    )


def test_an_unfinished_run_is_refused_unless_asked_for(tmp_path: Path) -> None:
    parts = write_output(tmp_path, [label_row(v) for v in IDS], unfinished=[1])
    num, left = len(parts.names), 12 - parts.sizes[1]
    assert problem_of(tmp_path) == (
        f"--input: '{tmp_path}' is not finished: {num - 1} of {num} parts, {left} of 12 videos are done; run "
        "label_corpus again, or take what there is with export.is_partial=true"
    )
    source = open_source(str(tmp_path), is_partial=True)
    assert (source.num_videos, source.num_missing) == (left, parts.sizes[1])
    missing = set(parts.table["video_id"].slice(parts.sizes[0], parts.sizes[1]).to_pylist())
    assert {row["video_id"] for row in rows_of(source)} == set(IDS) - missing


def test_labels_of_older_settings_are_not_finished(tmp_path: Path) -> None:
    parts = write_output(tmp_path, [label_row(v) for v in IDS])
    newer = replace(key_of(), labelling_id="other")
    settings = run_record.last_run(str(tmp_path)).settings
    run_record.begin(str(tmp_path), newer, label_parts.write_manifest(str(tmp_path), parts), settings)
    assert f": 0 of {len(parts.names)} parts, 0 of 12 videos are done" in problem_of(tmp_path)


def test_nothing_at_all_is_finished(tmp_path: Path) -> None:
    write_output(tmp_path, [label_row("a")], unfinished=[0])
    source = open_source(str(tmp_path), is_partial=True)
    assert (source.ids.to_pylist(), rows_of(source)) == ([], [])


def test_files_of_others_are_counted_and_not_read(tmp_path: Path) -> None:
    write_output(tmp_path, [label_row("a")])
    write_part(tmp_path, "part-00000000000000ff", [label_row("old")], key_of())
    (tmp_path / "labels" / "notes.txt").write_text("mine", encoding="utf-8")
    source = open_source(str(tmp_path))
    assert source.num_foreign == 3
    assert [row["video_id"] for row in rows_of(source)] == ["a"]


def test_a_part_that_lost_a_video_is_damaged(tmp_path: Path) -> None:
    (name,) = write_output(tmp_path, [label_row("a"), label_row("b")]).names
    write_part(tmp_path, name, [label_row("a")], key_of())
    with pytest.raises(OutputError) as raised:
        rows_of(open_source(str(tmp_path)))
    assert str(raised.value) == (
        f"part '{name}' has 1 rows of labels and failures for the 2 videos of its manifest, or rows of other videos; "
        "delete its mark in _fal/done and run label_corpus again"
    )


def test_a_damaged_table_and_a_damaged_manifest_are_named(tmp_path: Path) -> None:
    (name,) = write_output(tmp_path, [label_row("a")]).names
    (tmp_path / "labels" / f"{name}.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(OutputError, match=rf"cannot read '.*{name}.parquet'"):
        rows_of(open_source(str(tmp_path)))
    (manifest,) = (tmp_path / "_fal").glob("manifest-*.parquet")
    manifest.unlink()
    with pytest.raises(OutputError, match=r"cannot read '.*manifest-.*'.*; run label_corpus again$"):
        open_source(str(tmp_path))


def test_a_table_of_another_version_is_named(tmp_path: Path) -> None:
    (name,) = write_output(tmp_path, [label_row("a")]).names
    uri = label_parts.table_uri(str(tmp_path), "labels", name)
    table = tables.read_table(uri).replace_schema_metadata({b"fal_schema_version": b"3"})
    tables.write_table(uri, table)
    with pytest.raises(OutputError, match="has schema version 3, this FAL reads 4"):
        rows_of(open_source(str(tmp_path)))


def test_the_tree_is_what_the_labels_show() -> None:
    tree = FoundTree()
    assert tree.taxonomy() is None
    rows = [
        label_row("a", "run"),
        label_row("b", "studio", labels=[]),
        label_row("c", "run", segments=[{"label": "swim", "start_s": 0.0, "end_s": 1.0, "score": 0.5}]),
    ]
    for row in rows:
        tree.add(pa.Table.from_pylist([row], schema=labels_schema(2)))
    taxonomy = tree.taxonomy()
    assert taxonomy is not None
    assert {node.id: node.parent for node in taxonomy.nodes} == {
        "sport": None,
        "run": "sport",
        "news": None,
        "studio": "news",
        "swim": None,
    }
