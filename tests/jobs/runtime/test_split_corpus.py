"""The job that divides a manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jobs import split_corpus as script
from jobs.runtime.split_corpus import class_table
from pipelines import manifest
from pipelines.splits import SplitConfig, assign_splits


def write(path: Path, count: int, **changes: Any) -> str:
    rows = [
        {"video_id": f"v{i:03}", "uri": str(path.parent / f"v{i:03}.mp4"), "labels": ["run" if i % 2 else "jump"]}
        | {"group": f"g{i // 4}"}
        | changes
        for i in range(count)
    ]
    manifest.write_manifest(str(path), rows)
    return str(path)


def summary(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(("read", "written"), [(".jsonl", ".csv"), (".csv", ".parquet"), (".parquet", ".jsonl")])
def test_a_manifest_of_any_format_is_divided(
    read: str, written: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / f"in{read}", 200)
    target = tmp_path / f"out{written}"
    assert script.main(["--input", source, "--output", str(target)]) == 0

    before, after = (manifest.read_manifest(uri).to_pylist() for uri in (source, str(target)))
    plan = assign_splits(before, SplitConfig())
    assert [row | {"split": plan.split_of[row["video_id"]]} for row in before] == after
    assert capsys.readouterr().out.splitlines() == [
        "dividing 200 videos",
        "200 videos in 50 units, the largest of 4 videos; 0 videos had a split already",
        "                     train             val            test",
        "share                80.0%           10.0%           10.0%",
        "all videos     160 (80.0%)      20 (10.0%)      20 (10.0%)",
        "jump            80 (80.0%)      10 (10.0%)      10 (10.0%)",
        "run             80 (80.0%)      10 (10.0%)      10 (10.0%)",
        "all 2 classes are in every split",
        f"output: {target}",
        "exit code 0: done",
    ]
    told = summary(tmp_path / "out.summary.json")
    assert (told["videos"], told["units"], told["largest_unit"], told["given"]) == (200, 50, 4, 0)
    assert told["videos_by_split"] == {"test": 20, "train": 160, "val": 20}
    assert told["videos_by_class_and_split"]["run"] == {"test": 10, "train": 80, "val": 10}
    assert told["classes_not_in_every_split"] == []


def test_more_videos_leave_the_old_ones_where_they_are(tmp_path: Path) -> None:
    """A manifest may be divided in place, again and again."""
    path = write(tmp_path / "m.jsonl", 40)
    sizes = "split.shares={train: 0.5, hold: 0.5}"
    assert script.main(["--input", path, "--output", path, sizes]) == 0
    old = manifest.read_manifest(path).to_pylist()
    more = [{"video_id": f"w{i}", "uri": f"/w{i}.mp4", "labels": ["run"]} for i in range(20)]
    manifest.write_manifest(path, [*more, *old])
    assert script.main(["--input", path, "--output", path, sizes]) == 0
    new = {row["video_id"]: row["split"] for row in manifest.read_manifest(path).to_pylist()}
    assert {row["video_id"]: row["split"] for row in old}.items() <= new.items()
    told = summary(tmp_path / "m.summary.json")
    assert (told["given"], told["videos_by_split"]) == (40, {"hold": 30, "train": 30})
    assert script.main(["--input", path, "--output", path, "split.keeps_given=false", "split.seed=1"]) == 0
    assert summary(tmp_path / "m.summary.json")["given"] == 0


def test_classes_that_are_not_everywhere_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"uri": f"/{c}{i}", "labels": [f"c{c}"]} for c in range(8) for i in range(2)]
    rows.append({"uri": "/x", "labels": [], "split": "elsewhere"})
    manifest.write_manifest(str(tmp_path / "in.jsonl"), rows)
    assert script.main(["--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["(no", "label)"] and "1 (100.0%)" in line for line in lines)
    at = lines.index("8 of 8 classes are not in every split:")
    assert lines[at + 1].startswith("  c0: not in ")
    assert lines[at + 1].endswith(": 2 units for 3 splits")
    assert lines[at + 6] == "  … and 3 more, in summary.json"
    assert len(summary(tmp_path / "out.summary.json")["classes_not_in_every_split"]) == 8


def test_only_the_classes_farthest_from_the_shares_are_shown() -> None:
    rows = [
        {"video_id": f"{c}/{i}", "labels": [f"c{c:02}"], "segments": None, "split": None, "sha256": None, "group": None}
        for c in range(15)
        for i in range(10 if c else 17)
    ]
    shares = SplitConfig().shares
    lines = class_table(assign_splits(rows, SplitConfig()), shares, [*shares])
    assert len(lines) == 3 + 12 + 1
    assert lines[3].startswith("c00 ")
    assert lines[-1] == "… and 3 more classes, nearer to the shares"


def test_wrong_usage_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--input", "a", "--output", "b"]) == 2
    assert capsys.readouterr().err == (
        "2 problems:\n"
        "  --input: got 'a'; must be a manifest: .parquet, .csv, .jsonl\n"
        "  --output: got 'b'; must be a manifest: .parquet, .csv, .jsonl\n"
    )
    (tmp_path / "none.jsonl").touch()
    assert script.main(["--input", str(tmp_path / "none.jsonl"), "--output", str(tmp_path / "o.csv")]) == 2
    assert "holds no videos" in capsys.readouterr().err
    torn = write(tmp_path / "torn.jsonl", 4)
    rows = manifest.read_manifest(torn).to_pylist()
    manifest.write_manifest(torn, [row | {"split": f"s{i}"} for i, row in enumerate(rows)])
    assert script.main(["--input", torn, "--output", str(tmp_path / "o.csv")]) == 2
    assert "4 videos of one group or content were given different splits" in capsys.readouterr().err
    assert not (tmp_path / "o.csv").exists()
