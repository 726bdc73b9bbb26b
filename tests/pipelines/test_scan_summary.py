"""The clean manifest, the duplicates, what leaks, and how classes are balanced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fal_model.errors import OutputError
from fal_model.taxonomy import Node, Taxonomy
from pipelines import storage, tables
from pipelines.config import Duplicates, ScanConfig
from pipelines.manifest import read_manifest, write_manifest
from pipelines.records import DUPLICATES
from pipelines.scan_job import ScanCounts, ScanPlan
from pipelines.scan_summary import GROUP, NEAR, SAME, Conflict, ScanSummary, counts_of, summarise
from tests.helpers.corpus import digests
from tests.helpers.scanned import USABLE, scan_into, scene, write_scene

TREE = Taxonomy([Node("move", "Move"), Node("run", "Run", "move"), Node("swim", "Swim", "move")])


@pytest.fixture(scope="module")
def summary(scanned: ScanPlan) -> ScanSummary:
    return summarise(scanned.output, scanned.scan, TREE)


@pytest.fixture(scope="module")
def clean(scanned: ScanPlan, summary: ScanSummary) -> dict[str, dict[str, Any]]:
    assert summary.kept > 0
    rows = read_manifest(storage.join(scanned.output, "manifest.parquet")).to_pylist()
    return {row["video_id"]: row for row in rows}


def test_the_clean_manifest_holds_every_usable_video_once(
    summary: ScanSummary, clean: dict[str, dict[str, Any]]
) -> None:
    assert (summary.usable, summary.kept, summary.dropped) == (USABLE, USABLE - 1, 1)
    # Of the two files with the same bytes the first by id is kept.
    assert sorted(clean) == ["black", "black2", "bright", "bytes", "other", "other2", "small", "third"]
    for row in clean.values():
        assert len(row["sha256"]) == 64
        assert row["duration_s"] == pytest.approx(2.5 if row["video_id"] == "black2" else 2.0)
        assert Path(row["uri"]).is_file()
    assert (clean["other2"]["labels"], clean["third"]["labels"]) == (["walk", "run"], None)


def test_copies_are_one_group_and_given_groups_stay(clean: dict[str, dict[str, Any]]) -> None:
    groups = {name: row["group"] for name, row in clean.items()}
    assert groups == {
        "black": None,  # black pictures are like nothing, not even each other
        "black2": None,
        "bright": "park",
        "bytes": "park",
        "small": "park",
        "other": "street",
        "other2": "street",
        "third": None,
    }


def test_duplicates_are_listed_in_pairs(scanned: ScanPlan, summary: ScanSummary) -> None:
    table = tables.read_table(storage.join(scanned.output, "duplicates.parquet"))
    assert table.schema.names == DUPLICATES.names
    rows = table.to_pylist()
    assert rows[0] == {
        "kind": SAME,
        "video_id": "first",
        "like_id": "bytes",
        "num_matches": None,
        "distance": None,
        "split": "train",
        "like_split": "test",
        "is_dropped": True,
    }
    pairs = {(row["like_id"], row["video_id"]) for row in rows[1:]}
    assert pairs == {("bright", "bytes"), ("bright", "small"), ("bytes", "small")}
    assert all(row["kind"] == NEAR and 2 <= row["num_matches"] <= 8 and row["distance"] <= 6 for row in rows[1:])
    assert (summary.same_bytes, summary.near_pairs) == (1, 3)


def test_leaks_are_told_worst_first(summary: ScanSummary) -> None:
    same, near, group = summary.leaks
    assert (same.kind, same.splits, same.video_ids) == (SAME, {"test": 1, "train": 1}, ["bytes", "first"])
    assert (near.kind, near.splits) == (NEAR, {"test": 1, "train": 2, "val": 1})
    assert near.distance is not None
    assert (group.kind, group.name, group.splits) == (GROUP, "street", {"train": 1, "val": 1})


def test_like_videos_are_shown_together(summary: ScanSummary) -> None:
    (cluster,) = summary.clusters
    assert cluster.video_ids == ["bright", "bytes", "first", "small"]
    assert cluster.splits == ["val", "test", "train", "train"]
    assert cluster.num_near == 3


def test_the_same_bytes_under_other_labels_are_told(summary: ScanSummary) -> None:
    (conflict,) = summary.conflicts
    assert conflict == Conflict(sha256=conflict.sha256, labels={"bytes": ["walk"], "first": ["run"]})


def test_classes_are_counted_by_split(summary: ScanSummary) -> None:
    assert summary.splits == {"": 1, "test": 2, "train": 3, "val": 2}
    assert summary.classes == {
        "run": {"train": 1, "val": 2},
        "walk": {"test": 1, "train": 1, "val": 1},
        "day": {"train": 1},
        "night": {"test": 1},
    }
    assert summary.unlabelled == 1
    assert summary.unknown_labels == {"walk": 3, "day": 1, "night": 1}
    assert summary.empty_classes == ["swim"]


def test_copies_can_stay(scanned: ScanPlan) -> None:
    keep = replace(scanned.scan, duplicates=Duplicates.KEEP)
    kept = summarise(scanned.output, keep, None)
    try:
        assert (kept.kept, kept.dropped, kept.same_bytes) == (USABLE, 0, 1)
        rows = read_manifest(storage.join(scanned.output, "manifest.parquet")).to_pylist()
        groups = {row["video_id"]: row["group"] for row in rows}
        assert groups["first"] == groups["bytes"] == "park"
        assert (kept.unknown_labels, kept.empty_classes) == ({}, [])
    finally:
        summarise(scanned.output, scanned.scan, None)
    before = digests(Path(scanned.output))
    summarise(scanned.output, scanned.scan, TREE)
    assert digests(Path(scanned.output)) == before


def test_a_stricter_search_finds_less(scanned: ScanPlan) -> None:
    try:
        strict = summarise(scanned.output, replace(scanned.scan, max_distance=0, min_share=1.0), None)
    finally:
        summarise(scanned.output, scanned.scan, None)
    assert strict.near_pairs < 3


def test_a_label_of_a_segment_must_be_known_too(scanned: ScanPlan, tmp_path: Path) -> None:
    video = Path(scanned.output).parent / "corpus" / "first.mp4"
    segments = [{"label": "hop", "start_s": 0.0, "end_s": 1.0}]
    write_manifest(str(tmp_path / "m.jsonl"), [{"uri": str(video), "labels": ["run"], "segments": segments}])
    plan = scan_into(tmp_path / "out", tmp_path / "m.jsonl", ScanConfig())
    assert summarise(plan.output, plan.scan, TREE).unknown_labels == {"hop": 1}


def test_tables_in_another_order_than_the_manifest_are_refused(tmp_path: Path) -> None:
    rows = [{"video_id": name, "uri": str(write_scene(tmp_path / f"{name}.mp4", scene(1)))} for name in "ab"]
    write_manifest(str(tmp_path / "m.jsonl"), rows)
    plan = scan_into(tmp_path / "out", tmp_path / "m.jsonl", ScanConfig())
    (part,) = (tmp_path / "out" / "videos").iterdir()
    tables.write_table(str(part), tables.read_table(str(part)).take([1, 0]))
    with pytest.raises(OutputError, match=r"out/videos': row 0: got the video 'b', must be 'a' as in the manifest"):
        summarise(plan.output, plan.scan, None)


def test_counts_add_up_or_nothing_is_said() -> None:
    found = ScanSummary(usable=3, kept=2, dropped=1)
    parts = [
        ScanCounts(seen=3, failed=1, failures_by_kind={"corrupt": 1}),
        ScanCounts(seen=1, failed=0, failures_by_kind={}),
    ]
    counts = counts_of(parts, found)
    assert (counts["seen"], counts["usable"], counts["failed"], counts["kept"]) == (4, 3, 1, 2)
    assert counts["failures_by_kind"] == {"corrupt": 1}
    assert counts["leaks"] == {"same_bytes": 0, "near": 0, "group": 0}
    for wrong in (parts[:1], [*parts, parts[1]]):
        with pytest.raises(ArithmeticError, match=r"is not usable 3 \(kept 2 \+ dropped 1\) \+ failed 1"):
            counts_of(wrong, found)
    with pytest.raises(ArithmeticError, match=r"seen 4 is not usable 3 \(kept 3 \+ dropped 1\) \+ failed 1"):
        counts_of(parts, replace(found, kept=3))


def test_a_corpus_without_a_usable_video_has_an_empty_manifest(tmp_path: Path) -> None:
    write_manifest(str(tmp_path / "m.jsonl"), [{"uri": "gone.mp4", "labels": ["run"], "split": "train"}])
    plan = scan_into(tmp_path / "out", tmp_path / "m.jsonl", ScanConfig())
    assert summarise(plan.output, plan.scan, TREE) == ScanSummary(empty_classes=["run", "swim"])
    assert read_manifest(storage.join(plan.output, "manifest.parquet")).num_rows == 0
