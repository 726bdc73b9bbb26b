"""The job that shows what is in shards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs import show_shards as script
from pipelines.shard_writing import shard_row, write_shard
from tests.helpers.model import SPEC, TREE, random_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("shards")
    for split, count in (("train", 6), ("test", 3)):
        labels = [["run"], ["tennis"], []]
        videos = [{"video_id": f"{split}{i}", "labels": labels[i % 3], "segments": None} for i in range(count)]
        rows = [shard_row(video, random_clip(i), 90) for i, video in enumerate(videos)]
        write_shard(str(place / split / "part-00000.parquet"), rows, SPEC, TREE, group_clips=4)
    return place


def test_splits_are_counted_and_shown(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--input", str(folder), "--output", str(tmp_path / "out"), "show.clips=5"]) == 0
    told = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert told["shown"] == 5
    assert {name: found["clips"] for name, found in told["splits"].items()} == {"train": 6, "test": 3}
    assert told["splits"]["train"]["clips_by_class"] == {"": 2, "run": 2, "tennis": 2}
    page = (tmp_path / "out" / "shards.html").read_text(encoding="utf-8")
    assert page.count('<article class="card clip">') == 5
    assert [page.count(f" s · {split}</span>") for split in ("train", "test")] == [3, 2]
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("train: 6 clips of 6 videos, 2 classes, 1 shards, ") for line in lines)
    assert f"page: {tmp_path}/out/shards.html" in lines


def test_one_class_and_one_split_can_be_shown(folder: Path, tmp_path: Path) -> None:
    arguments = ["--input", str(folder / "train"), "--output", str(tmp_path), "show.label=run"]
    assert script.main(arguments) == 0
    page = (tmp_path / "shards.html").read_text(encoding="utf-8")
    assert page.count('<article class="card clip">') == 2
    assert script.main([*arguments, "show.label=studio"]) == 0
    assert "No clip has this label." in (tmp_path / "shards.html").read_text(encoding="utf-8")


def test_what_cannot_be_shown_is_wrong_usage(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--input", str(folder), "--output", str(tmp_path), "show.label=jump"]) == 2
    assert "show.label: got 'jump', which is no class of the shards' taxonomy" in capsys.readouterr().err
    assert script.main(["--input", str(tmp_path), "--output", str(tmp_path)]) == 2
    assert "no .parquet files in" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert script.main(["--input", str(folder), "--output", str(tmp_path / "file")]) == 1
    assert "cannot write" in capsys.readouterr().err
