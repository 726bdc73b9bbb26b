"""Progress: lines in a log, a bar at a terminal."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence

import pytest

from jobs.runtime import progress as module
from jobs.runtime.progress import progress


class Clock:
    """Tell the time that a test says."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


def lines(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    updates: Sequence[tuple[float, int]],
    before: int = 0,
) -> list[str]:
    """Make updates at (seconds since the start, how many are done), of 100."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    with progress("labelling", 100, "videos", before) as update:
        for at_s, done in updates:
            clock.now_s = 100.0 + at_s
            update(done, "2 failed")
    return capsys.readouterr().out.splitlines()


def test_a_line_says_how_far_how_fast_and_how_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lines(monkeypatch, capsys, [(10, 20)]) == ["labelling: 20/100 videos, 2.0/s, 40 s left, 2 failed"]


def test_earlier_runs_do_not_count_for_the_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = lines(monkeypatch, capsys, [(10, 60)], before=50)
    assert found == ["labelling: 60/100 videos, 1.0/s, 40 s left, 2 failed"]


def test_lines_come_every_five_seconds_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = lines(monkeypatch, capsys, [(1, 1), (2, 2), (5.9, 3), (6, 4), (7, 99), (8, 100)])
    assert [line.split()[1] for line in found] == ["1/100", "4/100", "100/100"]
    assert found[-1] == "labelling: 100/100 videos, 12.5/s, 2 failed"


def test_before_anything_is_done_nothing_is_guessed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lines(monkeypatch, capsys, [(0, 0)]) == ["labelling: 0/100 videos, 0.0/s, 2 failed"]


class Terminal(io.StringIO):
    """A terminal that keeps what is shown."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with progress("labelling", 4, "videos", before=1) as update:
        update(3, "1 failed")
        update(4, "2 failed")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "labelling" in text
    assert "4/4" in text
    assert "100%" in text
    assert "2 failed" in text
