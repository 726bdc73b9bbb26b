"""The demo: what it checks at its end. The whole of it is ``make demo``."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_model.errors import FalError
from jobs.runtime.cli import DONE, FAILED, TOO_MANY_FAILED, Outcome
from jobs.runtime.demo import _show, _step, check_failures
from jobs.runtime.make_corpus import Corpus
from tests.helpers.report_folder import failure_row, write_folder


def corpus(**broken: str) -> Corpus:
    return Corpus(
        "train.jsonl", "test.jsonl", "tree.json", {f"broken/{name}.mp4": kind for name, kind in broken.items()}
    )


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
