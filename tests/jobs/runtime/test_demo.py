"""The demo: what it checks at its end. The whole of it is ``make demo``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fal_model.errors import FalError
from jobs import demo as script
from jobs.runtime.cli import DONE, FAILED, TOO_MANY_FAILED, Outcome
from jobs.runtime.demo import _show, _step, check_failures
from jobs.runtime.make_corpus import Corpus
from tests.helpers.report_folder import failure_row, write_folder


def corpus(**broken: str) -> Corpus:
    expected = {f"broken/{name}.mp4": kind for name, kind in broken.items()}
    return Corpus("train.jsonl", "test.jsonl", "tree.json", "sheet.html", expected)


def test_failures_that_were_made_on_purpose_are_no_problem(tmp_path: Path) -> None:
    rows = [failure_row("broken/a.mp4", "corrupt"), failure_row("broken/b.mp4", "empty_file")]
    output = write_folder(tmp_path, failures=rows)
    assert check_failures(output, corpus(a="corrupt", b="empty_file")) == []


def test_whatever_differs_from_the_plan_is_a_problem(tmp_path: Path) -> None:
    rows = [failure_row("broken/a.mp4", "timeout"), failure_row("good.mp4", "decoder_crash")]
    output = write_folder(tmp_path, failures=rows)
    assert check_failures(output, corpus(a="corrupt", b="empty_file")) == [
        "broken/a.mp4: expected the failure corrupt, got timeout",
        "broken/b.mp4: expected the failure empty_file, got none",
        "good.mp4: failed with decoder_crash",
    ]


def test_no_table_means_no_failures(tmp_path: Path) -> None:
    assert check_failures(str(tmp_path), corpus()) == []
    assert check_failures(str(tmp_path), corpus(a="corrupt")) == [
        "broken/a.mp4: expected the failure corrupt, got none"
    ]


def test_a_step_is_shown_and_timed(capsys: pytest.CaptureFixture[str]) -> None:
    spent: dict[str, float] = {}
    with _step("1/4 generate", spent, "generate"):
        _show(Outcome(DONE, {}, ["all is well"]))
    assert capsys.readouterr().out.splitlines() == ["", "== 1/4 generate", "   all is well", "   0 s"]
    assert spent == {"generate": pytest.approx(0, abs=5)}


@pytest.mark.parametrize("code", [FAILED, TOO_MANY_FAILED])
def test_a_step_that_is_not_done_ends_the_demo(code: int) -> None:
    with pytest.raises(FalError, match=f"the step ended with exit code {code}"):
        _show(Outcome(code, {}, []))


@pytest.mark.ray
@pytest.mark.slow
def test_the_whole_path_runs_and_runs_again(
    tmp_path: Path, ray_local: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    settings = ["corpus.classes=2", "corpus.videos_per_class=6", "corpus.difficulty=easy", "loop.epochs=1"]
    settings += ["loop.batch_clips=4", "tracking.is_enabled=false", "train.learning_rate=1e-9"]
    arguments = ["--output", str(tmp_path / "demo"), *settings, *ray_local]

    # So little training cannot reach the accuracy that the demo wants. Nothing else may be wrong.
    assert script.main(arguments) == FAILED
    first = capfd.readouterr().out
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text(encoding="utf-8"))
    assert [p.split(" is ")[0] for p in summary["problems"]] == ["top-1"]
    assert summary["videos"] == {"train": 8, "val": 2, "test": 2}
    assert summary["label"]["seen"] == 2 + summary["label"]["failed"]
    assert (tmp_path / "demo" / "report.html").is_file()
    assert [first.count(f"== {n}/4") for n in range(1, 5)] == [1, 1, 1, 1]
    assert "nothing to do" not in first

    assert script.main(arguments) == FAILED
    assert capfd.readouterr().out.count("nothing to do") == 3
    again = json.loads((tmp_path / "demo" / "summary.json").read_text(encoding="utf-8"))
    assert again["problems"] == summary["problems"]
