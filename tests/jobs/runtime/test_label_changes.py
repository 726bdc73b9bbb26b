"""The same command over a corpus, a model or settings that changed: what depends on it is done again, nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from jobs import label_corpus, relabel
from tests.helpers.corpus import BROKEN, digests, write_broken, write_model, write_videos

TABLES = ("labels", "failures", "predictions")


@pytest.mark.ray
@pytest.mark.slow
def test_what_changed_is_done_again_and_nothing_else(
    tmp_path: Path, ray_local: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    corpus, model_dir = tmp_path / "corpus", write_model(tmp_path / "model")
    write_videos(corpus, 5)
    write_broken(corpus)
    first, *_, last = sorted(path.name for path in corpus.glob("*.mp4") if path.name not in BROKEN)

    def run(name: str, *settings: str, model: Path = model_dir) -> dict[str, Any]:
        places = ["--input", str(corpus), "--output", str(tmp_path / name), "--model", str(model)]
        wanted = (
            *ray_local,
            "tracking.is_enabled=false",
            "label.part_videos=1",
            "label.max_failed_share=1",
            "label.thumbnails=0",
            *settings,
        )
        assert label_corpus.main([*places, *wanted]) == 0
        summary: dict[str, Any] = json.loads((tmp_path / name / "summary.json").read_text(encoding="utf-8"))
        return summary

    def is_as_if_new(*settings: str, model: Path = model_dir) -> bool:
        shutil.rmtree(tmp_path / "clean", ignore_errors=True)
        run("clean", *settings, model=model)
        return digests(tmp_path / "out", *TABLES) == digests(tmp_path / "clean", *TABLES)

    parts = run("out")["parts"]
    before = digests(tmp_path / "out", "predictions")

    # A file gets another name: nothing is decoded, only the parts that it leaves and comes into are written.
    (corpus / first).rename(corpus / "renamed.mp4")
    summary = run("out")
    assert 0 < summary["parts_done_now"] <= 2 < parts
    assert (summary["reused_predictions"] > 0, summary["stages"]["predict"]["busy_s"]) == (True, 0)
    assert is_as_if_new()
    assert len(set(before) & set(digests(tmp_path / "out", "predictions"))) >= parts - 2

    # A file has other bytes now, another is gone.
    shutil.copy(corpus / "renamed.mp4", corpus / last)
    (corpus / "text.mp4").unlink()
    assert run("out")["parts_done_now"] <= 2
    said = "1 videos of the last run here are not in this input: their rows are deleted in the end"
    assert said in capfd.readouterr().out
    assert is_as_if_new()

    # Other thresholds: no prediction is touched.
    untouched = {path: path.stat() for path in (tmp_path / "out" / "predictions").iterdir()}
    summary = run("out", "label.threshold=0.4")
    assert (summary["parts_done_now"], summary["parts_labelled_again"]) == (0, summary["parts"])
    assert {path: path.stat() for path in (tmp_path / "out" / "predictions").iterdir()} == untouched
    assert "another than in the last run here: thresholds or other settings of labels;" in capfd.readouterr().out
    assert is_as_if_new("label.threshold=0.4")

    # The same in a folder of its own, from which the labelling job could go on.
    places = ["--input", str(tmp_path / "out"), "--output", str(tmp_path / "relabelled")]
    wanted = ("tracking.is_enabled=false", "label.max_failed_share=1", "label.threshold=0.6")
    assert relabel.main([*places, *wanted]) == 0
    run("clean", "label.threshold=0.6")
    assert digests(tmp_path / "relabelled", *TABLES) == digests(tmp_path / "clean", *TABLES)
    summary = run("relabelled", "label.threshold=0.6")
    assert (summary["parts_done_now"], summary["parts_labelled_again"]) == (0, 0)

    # Another model: everything.
    other = write_model(tmp_path / "other", seed=1)
    summary = run("out", model=other)
    assert summary["parts_done_now"] == summary["parts"] == summary["parts_deleted"]
    assert is_as_if_new(model=other)
