"""Parts of a scan: facts, failures, warnings, pictures, and going on after an interruption."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fal_model.errors import OutputError
from pipelines import storage, tables
from pipelines.config import ScanConfig
from pipelines.isolated_scan import Scan
from pipelines.limits import DecodeLimits
from pipelines.manifest import read_manifest, write_manifest
from pipelines.pixels import decode_jpeg
from pipelines.records import FAILURES, SCANNED
from pipelines.scan import DeepCount, VideoFacts
from pipelines.scan_job import (
    PartScanner,
    ScanCounts,
    ScanPlan,
    finished,
    open_output,
    pictures_uri,
    strip_of,
    warnings_of,
)
from tests.helpers.corpus import BROKEN, digests
from tests.helpers.messages import FACTS
from tests.helpers.scanned import FAILED, NUM_FRAMES, ROWS, USABLE, scan_into, write_scanned

GOOD = VideoFacts(**{k: v for k, v in FACTS.items() if k != "type"} | {"width_px": 64, "height_px": 64})


def rows_of(output: str, table: str) -> dict[str, dict[str, Any]]:
    read = tables.read_folder(storage.join(output, table))
    assert read is not None
    return {row["video_id"]: row for row in read.to_pylist()}


def scan(facts: VideoFacts = GOOD, count: DeepCount | None = None, num_pictures: int = 2) -> Scan:
    pictures = np.zeros((num_pictures, 96, 96, 3), np.uint8)
    return Scan(facts=facts, times_s=tuple(map(float, range(num_pictures))), pictures_NHWC=pictures, count=count)


def test_every_video_is_in_exactly_one_table(scanned: ScanPlan) -> None:
    videos, failures = rows_of(scanned.output, "videos"), rows_of(scanned.output, "failures")
    assert len(videos) == USABLE
    assert sorted([*videos, *failures]) == sorted(row["video_id"] for row in ROWS)
    kinds = {name: row["kind"] for name, row in failures.items()}
    assert kinds == {**BROKEN, "gone": "not_found", "changed": "corrupt"}
    assert failures["changed"]["message"].startswith("the manifest says sha256 000")
    counts = finished(scanned.output)
    assert sum(c.seen for c in counts.values()) == len(ROWS)
    assert sum(c.failed for c in counts.values()) == FAILED
    assert all(ScanCounts.from_json(c.to_json()) == c for c in counts.values())


def test_a_row_holds_the_facts(scanned: ScanPlan) -> None:
    row = rows_of(scanned.output, "videos")["small"]
    assert (row["container"], row["codec"], row["width_px"], row["height_px"]) == ("avi", "mpeg4", 80, 48)
    assert (row["num_frames"], row["num_keyframes"], row["num_decoded"], row["num_damaged"]) == (NUM_FRAMES, 2, 20, 0)
    assert row["duration_s"] == pytest.approx(2.0)
    assert row["keyframe_gap_s"] == pytest.approx(1.0)
    assert row["bit_rate_bps"] == pytest.approx(8 * row["num_bytes"] / row["duration_s"])
    assert 0 < row["video_bit_rate_bps"] < row["bit_rate_bps"]
    assert len(row["picture_hashes"]) == len(row["picture_times_s"]) == 8
    assert Path(row["uri"]).stat().st_size == row["num_bytes"]


def test_tables_have_the_promised_columns(scanned: ScanPlan) -> None:
    for table, schema in (("videos", SCANNED), ("failures", FAILURES)):
        read = tables.read_table(storage.join(scanned.output, table, "part-00000.parquet"))
        assert read.schema.metadata == schema.metadata
        # Parquet calls the items of lists otherwise.
        assert [(f.name, str(f.type).replace("element: ", "item: ")) for f in read.schema] == [
            (f.name, str(f.type)) for f in schema
        ]


def test_what_is_odd_is_said(scanned: ScanPlan) -> None:
    warnings = {name: row["warnings"] for name, row in rows_of(scanned.output, "videos").items() if row["warnings"]}
    assert warnings == {
        "black": ["shows_nothing"],
        "black2": ["shows_nothing"],
        "other2": ["duration_differs"],
    }


@pytest.mark.parametrize(
    ("facts", "video", "warning"),
    [
        ({"longest_gap_s": 6.0}, {}, "hole"),
        ({"duration_s": 0.5}, {}, "short"),
        ({"width_px": 31}, {}, "tiny"),
        ({"duration_s": 31.0}, {}, "few_keyframes"),
        ({"num_damaged_pictures": 1}, {}, "damaged"),
        ({}, {"duration_s": 2.5}, "duration_differs"),
        ({}, {"segments": [{"label": "x", "start_s": 0.0, "end_s": 1.6}]}, "segment_after_end"),
    ],
)
def test_each_warning_has_its_cause(facts: dict[str, Any], video: dict[str, Any], warning: str) -> None:
    plain = {"duration_s": None, "segments": None}
    fitting = {"duration_s": 1.9, "segments": [{"label": "x", "start_s": 0.0, "end_s": 1.4}]}
    assert warnings_of(plain, scan(), [5], ScanConfig()) == []
    assert warnings_of(fitting, scan(), [5], ScanConfig()) == []
    assert warnings_of({**plain, **video}, scan(replace(GOOD, **facts)), [5], ScanConfig()) == [warning]


def test_a_deep_scan_warns_of_more() -> None:
    video = {"duration_s": None, "segments": None}
    assert warnings_of(video, scan(count=DeepCount(25, 0)), [5], ScanConfig()) == []
    assert warnings_of(video, scan(count=DeepCount(25, 1)), [5], ScanConfig()) == ["damaged"]
    assert warnings_of(video, scan(count=DeepCount(24, 0)), [5], ScanConfig()) == ["frames_missing"]


@pytest.mark.parametrize(("width", "height", "expected"), [(192, 96, 144), (96, 192, 36), (10, 5000, 24)])
def test_a_strip_has_the_proportions_of_the_video(width: int, height: int, expected: int) -> None:
    strip = decode_jpeg(strip_of(scan(replace(GOOD, width_px=width, height_px=height), num_pictures=8)))
    assert strip.shape == (72, 3 * expected + 4, 3)
    assert decode_jpeg(strip_of(scan(num_pictures=1))).shape == (72, 72, 3)


def test_pictures_are_kept_if_they_are_wanted(scanned: ScanPlan, tmp_path: Path) -> None:
    kept = tables.read_table(pictures_uri(scanned.output, 0))
    assert kept["video_id"].to_pylist() == list(rows_of(scanned.output, "videos"))[: kept.num_rows]
    assert all(decode_jpeg(jpeg).shape[0] == 72 for jpeg in kept["strip_jpeg"].to_pylist())
    write_manifest(str(tmp_path / "m.jsonl"), [{"uri": "gone.mp4"}])
    plan = scan_into(tmp_path / "out", tmp_path / "m.jsonl", ScanConfig(has_pictures=False))
    assert not storage.exists(pictures_uri(plan.output, 0))


def test_another_run_ends_with_the_same_bytes(scanned: ScanPlan, tmp_path: Path) -> None:
    manifest = read_manifest(str(Path(scanned.output).parent / "corpus" / "manifest.jsonl"))
    plan = replace(scanned, output=str(tmp_path / "out"))
    num_parts = open_output(plan, manifest)
    with PartScanner(plan) as scanner:
        scanner.write(num_parts - 1)
    assert list(finished(plan.output)) == [num_parts - 1]
    assert open_output(plan, manifest) == num_parts
    with PartScanner(plan) as scanner:
        for part_index in reversed(range(num_parts - 1)):
            scanner.write(part_index)
    assert digests(tmp_path / "out") == digests(Path(scanned.output)) | {
        name: digest
        for name, digest in digests(tmp_path / "out").items()
        if name.endswith(("html", "manifest.parquet"))
    }


def test_what_a_killed_writer_left_is_cleared(scanned: ScanPlan, tmp_path: Path) -> None:
    manifest = read_manifest(str(Path(scanned.output).parent / "corpus" / "manifest.jsonl"))
    plan = replace(scanned, output=str(tmp_path / "out"))
    num_parts = open_output(plan, manifest)
    half = [tmp_path / "out" / name / ".writing-abc" for name in ("videos", "failures", "_fal/pictures", "_fal/done")]
    for path in half:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    assert open_output(plan, manifest) == num_parts
    assert not any(path.exists() for path in half)


def test_other_videos_or_settings_need_another_output(scanned: ScanPlan) -> None:
    manifest = read_manifest(str(Path(scanned.output).parent / "corpus" / "manifest.jsonl"))
    for changes in ({"is_deep": False}, {"part_videos": 3}, {"duration_tolerance_s": 9.0}):
        other = replace(scanned, scan=replace(scanned.scan, **changes))
        with pytest.raises(OutputError, match="was made by another run: settings differ"):
            open_output(other, manifest)
    with pytest.raises(OutputError, match="was made by another run: settings differ"):
        open_output(replace(scanned, limits=DecodeLimits(max_streams=3)), manifest)
    with pytest.raises(OutputError, match="was made by another run: manifest differ"):
        open_output(scanned, manifest.slice(1))
    # What is made of the parts may change.
    assert open_output(replace(scanned, scan=replace(scanned.scan, max_distance=0, min_share=1.0)), manifest) == 4


def test_s3_is_read_and_written(bucket: str, tmp_path: Path) -> None:
    manifest = write_scanned(tmp_path)
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()][:7]
    for row in rows:
        row["uri"] = f"{bucket}/{row['uri']}"
        if row["video_id"] != "gone":
            storage.write_bytes(row["uri"], (tmp_path / row["uri"].rpartition("/")[2]).read_bytes())
    write_manifest(f"{bucket}/m.jsonl", rows)
    plan = scan_into(f"{bucket}/out", f"{bucket}/m.jsonl", ScanConfig(part_videos=4))
    assert sorted(rows_of(plan.output, "videos")) == sorted(row["video_id"] for row in rows)
    assert sorted(finished(plan.output)) == [0, 1]
