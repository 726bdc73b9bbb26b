"""Exporting a labelling run in one pass."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from fal_model.errors import ConfigError
from fal_model.taxonomy import Node, Taxonomy
from pipelines.export_job import WRITING, ExportCounts, export
from pipelines.exporters.settings import ExportConfig, Format
from pipelines.exporters.source import open_source
from tests.helpers.corpus import digests
from tests.helpers.exporting import ODD_IDS
from tests.helpers.label_output import write_output
from tests.helpers.report_folder import TAXONOMY, failure_row, label_row

EVERY = tuple(Format)


def run(folder: Path, output: Path, taxonomy: Taxonomy | None = None, **settings: Any) -> ExportCounts:
    config = ExportConfig(**{"format": "jsonl"} | settings)
    return export(open_source(str(folder), is_partial=config.is_partial), str(output), config, taxonomy)


def lines_of(output: Path) -> list[dict[str, Any]]:
    text = (output / "jsonl" / "videos.jsonl").read_bytes().decode()
    return [json.loads(line) for line in text.split("\n")[:-1]]


def test_every_format_has_its_writer() -> None:
    assert set(WRITING) == set(Format)


def test_the_same_videos_give_the_same_bytes_however_they_were_cut(tmp_path: Path) -> None:
    labels = [label_row(name, is_abstained=not i % 2) for i, name in enumerate(ODD_IDS)]
    failures = [failure_row(f"broken {n}.mp4") for n in range(3)]
    write_output(tmp_path / "a", labels, failures, part_videos=2)
    write_output(tmp_path / "b", labels[::-1], failures[::-1], part_videos=100)
    for name in ("a", "b"):
        counts = run(tmp_path / name, tmp_path / "out" / name, TAXONOMY, format=EVERY)
        assert (counts.seen, counts.exported, counts.failed, counts.left_out) == (11, 8, 3, 0)
        assert (counts.abstained, counts.labels, counts.segments) == (4, 16, 8)
    assert sorted(path.name for path in (tmp_path / "out" / "a").iterdir()) == sorted(EVERY)
    assert digests(tmp_path / "out" / "a") == digests(tmp_path / "out" / "b")
    assert [line["video_id"] for line in lines_of(tmp_path / "out" / "a")] == sorted(
        [*ODD_IDS, *(row["video_id"] for row in failures)]
    )


def test_no_video_is_silently_absent_from_any_format(tmp_path: Path) -> None:
    write_output(tmp_path / "in", [label_row("good.mp4")], [failure_row("bad.mp4")])
    run(tmp_path / "in", tmp_path / "out", format=EVERY)
    for name in EVERY:
        texts = [path.read_text(encoding="utf-8") for path in (tmp_path / "out" / name).rglob("*") if path.is_file()]
        assert any("good.mp4" in text for text in texts), name
        assert any("bad.mp4" in text and "corrupt" in text for text in texts), name


def test_progress_is_told_now_and_then(tmp_path: Path) -> None:
    write_output(tmp_path / "in", [label_row(f"{n:04}") for n in range(1001)], part_videos=2000)
    told: list[int] = []
    export(open_source(str(tmp_path / "in")), str(tmp_path / "out"), ExportConfig(format="csv"), update=told.append)
    assert told == [500, 1000, 1001]


def test_what_filters_leave_out_is_counted(tmp_path: Path) -> None:
    labels = [label_row("a", "run", 0.9), label_row("b", "run", 0.2), label_row("c", "studio", 0.8)]
    write_output(tmp_path / "in", labels, [failure_row("z")])
    counts = run(tmp_path / "in", tmp_path / "out", labels="sport", min_score=0.5)
    assert (counts.seen, counts.exported, counts.failed, counts.left_out) == (4, 1, 1, 2)
    assert (counts.labels, counts.labels_left_out) == (2, 4)
    assert (counts.segments, counts.segments_left_out) == (1, 2)
    assert [line["video_id"] for line in lines_of(tmp_path / "out")] == ["a", "z"]


def test_numbers_that_are_none_are_counted_and_harm_no_format(tmp_path: Path) -> None:
    bad = label_row("a", score=math.nan, duration_s=math.nan, coverage=math.inf)
    write_output(tmp_path / "in", [bad, label_row("b")])
    counts = run(tmp_path / "in", tmp_path / "out", format=EVERY)
    assert (counts.exported, counts.not_numbers, counts.labels, counts.segments) == (2, 3, 2, 1)


def test_a_partial_run_gives_what_there_is(tmp_path: Path) -> None:
    parts = write_output(tmp_path / "in", [label_row(f"{n}") for n in range(8)], unfinished=[0])
    counts = run(tmp_path / "in", tmp_path / "out", is_partial=True, format=EVERY)
    assert counts.seen == 8 - parts.sizes[0]


def test_a_run_of_which_nothing_is_there_gives_empty_files(tmp_path: Path) -> None:
    write_output(tmp_path / "in", [label_row("a")], unfinished=[0])
    assert run(tmp_path / "in", tmp_path / "out", is_partial=True, format=EVERY) == ExportCounts()
    assert lines_of(tmp_path / "out") == []
    assert json.loads((tmp_path / "out" / "label-studio" / "tasks.json").read_text(encoding="utf-8")) == []


def test_a_class_that_is_not_there_and_a_tree_of_others_are_said_before_anything_is_written(tmp_path: Path) -> None:
    write_output(tmp_path / "in", [label_row("a")])
    with pytest.raises(ConfigError, match=r"export.labels: got 'swim', which is none of the 2 classes"):
        run(tmp_path / "in", tmp_path / "out", labels="swim")
    with pytest.raises(ConfigError, match=r"export.labels: got 'swim', which is none of the 5 classes"):
        run(tmp_path / "in", tmp_path / "out", TAXONOMY, labels="swim")
    other = Taxonomy([Node("x", "X")])
    with pytest.raises(ConfigError) as raised:
        run(tmp_path / "in", tmp_path / "out", other)
    assert raised.value.problems == [
        f"--taxonomy: got a tree with taxonomy_id {other.taxonomy_id}, the labels were made with {TAXONOMY.taxonomy_id}"
    ]
    assert not (tmp_path / "out").exists()


def test_a_class_that_no_video_has_leaves_all_out_where_the_tree_knows_it(tmp_path: Path) -> None:
    write_output(tmp_path / "in", [label_row("a")])
    counts = run(tmp_path / "in", tmp_path / "out", TAXONOMY, labels="studio")
    assert (counts.exported, counts.left_out) == (0, 1)
