"""Progress: lines in a log, a bar at a terminal."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence

import pytest

from jobs.runtime.progress import _Lines, progress

BAR = """
from jobs.runtime.progress import progress
with progress("labelling", 4, "videos", before=1) as update:
    update(3, "1 failed")
    update(4, "2 failed")
"""


def lines(capsys: pytest.CaptureFixture[str], updates: Sequence[tuple[float, int]], before: int = 0) -> list[str]:
    """Make updates at (seconds since the start, how many are done), of 100."""
    show = _Lines("labelling", 100, "videos", before, start_s=100.0)
    for at_s, done in updates:
        show.at(100.0 + at_s, done, "2 failed")
    return capsys.readouterr().out.splitlines()


def test_a_line_says_how_far_how_fast_and_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, [(10, 20)]) == ["labelling: 20/100 videos, 2.0/s, 40 s left, 2 failed"]


def test_earlier_runs_do_not_count_for_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, [(10, 60)], before=50)
    assert found == ["labelling: 60/100 videos, 1.0/s, 40 s left, 2 failed"]


def test_lines_come_every_five_seconds_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, [(1, 1), (2, 2), (5.9, 3), (6, 4), (7, 99), (8, 100)])
    assert [line.split()[1] for line in found] == ["1/100", "4/100", "100/100"]
    assert found[-1] == "labelling: 100/100 videos, 12.5/s, 2 failed"


def test_before_anything_is_done_nothing_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, [(0, 0)]) == ["labelling: 0/100 videos, 0.0/s, 2 failed"]


def test_elsewhere_the_first_update_is_a_line_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("labelling", 100, "videos") as update:
        update(0, "none failed")
    assert capsys.readouterr().out.startswith("labelling: 0/100 videos, ")


def test_a_terminal_shows_a_bar() -> None:
    ours, theirs = os.openpty()
    shown = subprocess.Popen([sys.executable, "-c", BAR], stdout=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    raw = b""
    with contextlib.suppress(OSError):  # Linux says so when the other end is closed
        while piece := os.read(ours, 4096):
            raw += piece
    os.close(ours)
    assert shown.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw.decode())
    assert "labelling" in text
    assert "4/4" in text
    assert "100%" in text
    assert "2 failed" in text
