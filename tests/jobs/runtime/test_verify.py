"""The verifying job chooses videos, tells what it found, and its exit code says whether all is well."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs import verify
from pipelines import tables
from pipelines.config import LabelConfig
from tests.helpers.corpus import write_broken, write_model, write_videos
from tests.helpers.label_plan import label_in_process

LABEL = LabelConfig(threshold=0.05, segment_threshold=0.05)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    write_model(tmp_path / "model")
    write_videos(tmp_path / "videos", 3)
    write_broken(tmp_path / "videos")
    label_in_process(tmp_path / "videos", tmp_path / "run", tmp_path / "model", LABEL)
    return tmp_path


def verified(made: Path, *arguments: str) -> int:
    places = ["--input", str(made / "run"), "--model", str(made / "model"), "--output", str(made / "out")]
    return verify.main([*places, *arguments])


def findings(made: Path) -> dict[str, str]:
    lines = (made / "out" / "verify.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["video_id"]: row["verdict"] for row in map(json.loads, lines)}


def test_a_run_that_nobody_touched_is_the_same_to_the_bit(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verified(made, "verify.is_strict=true") == 0
    assert set(findings(made).values()) == {"same"}
    summary = json.loads((made / "out" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["seen"], summary["same"], summary["different"], summary["causes"]) == (6, 6, 0, {})
    assert "6 videos made again: 6 same, 0 close, 0 different" in capsys.readouterr().out


def test_what_is_different_is_told_and_is_exit_code_3(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = (made / "run" / "labels").iterdir()
    held = tables.read_table(str(path))
    rows = held.to_pylist()
    rows[0]["coverage"] = 0.25
    tables.write_table(str(path), held.from_pylist(rows, schema=held.schema))
    assert verified(made) == 3
    told = f"{rows[0]['video_id']}: different; labels: the row does not follow from the stored predictions: coverage"
    assert told in capsys.readouterr().out
    assert verified(made, f"verify.video_ids=[{rows[1]['video_id']}]") == 0
    assert list(findings(made)) == [rows[1]["video_id"]]


def test_a_sample_is_the_same_for_the_same_seed(made: Path) -> None:
    chosen = []
    for seed in (0, 0, 5):
        assert verified(made, "verify.sample=2", f"verify.seed={seed}") == 0
        chosen.append(sorted(findings(made)))
    assert chosen[0] == chosen[1] != chosen[2]
    assert [len(ids) for ids in chosen] == [2, 2, 2]
    assert verified(made, "verify.sample=0") == 0
    assert len(findings(made)) == 6


def test_a_video_that_is_not_there_is_said(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verified(made, "verify.video_ids=[text.mp5]") == 2
    assert "verify.video_ids: no video 'text.mp5' in this run; did you mean 'text.mp4'" in capsys.readouterr().err
    assert verified(made, "verify.video_ids=[zzzzzzz]") == 2
    assert "verify.video_ids: no video 'zzzzzzz' in this run\n" in capsys.readouterr().err


def test_what_is_no_run_or_no_model_is_said(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main(["--input", str(tmp_path / "videos"), "--model", str(made / "model")]) == 2
    assert "is no output folder of label_corpus" in capsys.readouterr().err
    assert verify.main(["--input", str(made / "run"), "--model", str(tmp_path / "none")]) == 1
    assert "no such directory" in capsys.readouterr().err


def test_the_summary_of_the_run_itself_is_not_replaced(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--input", str(made / "run"), "--model", str(made / "model"), "--output", str(made / "run")]
    assert verify.main(places) == 2
    assert "is the output folder of another job; take another one" in capsys.readouterr().err
