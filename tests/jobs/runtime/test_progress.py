"""Progress: lines in a log, a live display at a terminal."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence

import pytest

from jobs.runtime.progress import _Board, _Lines, progress
from pipelines.progress import StageProgress

SHOWN = """
from jobs.runtime.progress import progress
from pipelines.progress import StageProgress
with progress("labelling", 4, "videos", before=1) as update:
    update(3, "1 failed")
    prepare = StageProgress(name="prepare", unit="clips", num_done=12, busy_s=1e9, num_workers=2, num_in_work=3)
    merge = StageProgress(name="merge", unit="parts", num_done=1, total=2)
    update(4, "2 failed", (prepare, merge))
"""
STAGES = (
    StageProgress(name="prepare", unit="clips", num_done=50, busy_s=15.0, num_workers=2, num_in_work=3),
    StageProgress(name="predict", unit="clips", num_done=40, busy_s=4.0, num_workers=1, num_waiting=2),
    StageProgress(name="merge", unit="parts", num_done=1, total=8),
)


def shown(before: int = 0) -> _Lines:
    return _Lines(_Board("labelling", 100, "videos", before, start_s=100.0))


def lines(capsys: pytest.CaptureFixture[str], updates: Sequence[tuple[float, int]], before: int = 0) -> list[str]:
    """Make updates at (seconds since the start, how many are done), of 100."""
    show = shown(before)
    for at_s, done in updates:
        show.at(100.0 + at_s, done, "2 failed")
    return capsys.readouterr().out.splitlines()


def test_a_line_says_how_far_how_fast_and_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, [(1, 2), (2, 4), (3, 6), (10, 20)])
    assert found[-1] == "labelling: 20/100 videos, 2.0/s, 40 s left, 2 failed"


def test_the_last_minute_is_told_from_the_whole_run(capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, [*((s, s // 6) for s in range(1, 121)), *((s, s - 100) for s in range(121, 201))])
    assert found[-1] == "labelling: 100/100 videos, 30.0/min (1.0/s in the last minute), 2 failed"


def test_earlier_runs_do_not_count_for_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, [(1, 51), (2, 52), (3, 53), (10, 60)], before=50)
    assert found[-1] == "labelling: 60/100 videos, 1.0/s, 40 s left, 2 failed"


def test_lines_come_every_five_seconds_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    found = lines(capsys, [(1, 1), (2, 2), (5.9, 3), (6, 4), (7, 99), (8, 100)])
    assert [line.split()[1] for line in found] == ["1/100", "4/100", "100/100"]
    assert found[-1] == "labelling: 100/100 videos, 12.5/s, 2 failed"


def test_what_goes_on_after_the_last_one_is_not_said_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(lines(capsys, [(0, 0), (1, 100), (1.5, 100), (2, 100)])) == 2


def test_the_last_news_are_said_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("labelling", 100, "videos") as update:
        update(0, "none failed")
        update(100, "none failed", STAGES[2:])
        update(100, "one failed")
    found = capsys.readouterr().out.splitlines()
    assert len(found) == 3
    assert found[-1].endswith("one failed | merge 1/8 parts")


def test_lines_of_a_long_run_come_less_often(capsys: pytest.CaptureFixture[str]) -> None:
    an_hour = lines(capsys, [(s, 1 + s // 100) for s in range(3600)])
    assert 200 <= len(an_hour) <= 300


def test_before_anything_is_done_nothing_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, [(0, 0)]) == ["labelling: 0/100 videos, 0.0/s, time left not known yet, 2 failed"]


@pytest.mark.parametrize(("total", "left"), [(200, "100 s"), (800, "12 min"), (12_700, "3 h 30 min")])
def test_time_left_is_said_as_people_say_it(capsys: pytest.CaptureFixture[str], total: int, left: str) -> None:
    show = _Lines(_Board("labelling", total, "videos", 0, start_s=0.0))
    for at_s in range(1, 101):
        show.at(at_s, at_s, "")
    show.write(100)
    assert capsys.readouterr().out.splitlines()[-1] == f"labelling: 100/{total} videos, 1.0/s, {left} left"


def test_each_stage_says_what_it_knows(capsys: pytest.CaptureFixture[str]) -> None:
    shown().at(110.0, 20, "2 failed", STAGES)
    assert capsys.readouterr().out.splitlines()[0].split(" | ")[1:] == [
        "prepare 5.0 clips/s, 2 workers 75% busy, 3 in work",
        "predict 4.0 clips/s, 1 worker 40% busy, 2 waiting",
        "merge 1/8 parts",
    ]


def test_a_stage_that_is_not_mentioned_stays(capsys: pytest.CaptureFixture[str]) -> None:
    show = shown()
    show.at(110.0, 20, "", STAGES[:1])
    show.at(120.0, 30, "", ())
    assert capsys.readouterr().out.splitlines()[1].endswith("| prepare 2.5 clips/s, 2 workers 38% busy, 3 in work")


def test_a_log_does_not_just_stop_when_there_is_no_news(capsys: pytest.CaptureFixture[str]) -> None:
    show = shown()
    show.at(101.0, 20, "")
    for at_s in range(102, 200, 5):
        show.beat(at_s)
    found = capsys.readouterr().out.splitlines()
    assert found[1] == "labelling: 20/100 videos, 37.5/min, time left not known yet, no news for 31 s"
    assert len(found) == 1 + (197 - 132) // 5 + 1


def test_elsewhere_the_first_update_is_a_line_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("labelling", 100, "videos") as update:
        update(0, "none failed")
    assert capsys.readouterr().out.startswith("labelling: 0/100 videos, ")


def at_a_terminal(columns: int = 100, term: str = "xterm") -> tuple[int, str]:
    """Run the display with a terminal of this width as its output; return its exit code and what the terminal got."""
    ours, theirs = os.openpty()
    env = {**os.environ, "TERM": term, "COLUMNS": str(columns)}
    process = subprocess.Popen([sys.executable, "-c", SHOWN], stdout=theirs, env=env)
    os.close(theirs)
    raw = b""
    with contextlib.suppress(OSError):  # Linux says so when the other end is closed
        while piece := os.read(ours, 4096):
            raw += piece
    os.close(ours)
    return process.wait(), raw.decode()


def test_a_terminal_shows_a_bar_and_the_stages() -> None:
    code, raw = at_a_terminal()
    assert code == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw)
    for expected in ("labelling", "4/4 videos", "100%", "2 failed", "2 workers 100% busy", "3 in work", "1/2 parts"):
        assert expected in text


def test_the_display_fits_into_eighty_columns() -> None:
    code, raw = at_a_terminal(80)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw)
    assert code == 0
    assert max(len(line) for line in re.split(r"[\r\n]+", text)) <= 80
    assert "2 workers 100% busy · 3 in work" in text


def test_a_terminal_that_cannot_move_its_cursor_gets_lines() -> None:
    code, raw = at_a_terminal(term="dumb")
    assert code == 0
    assert "\x1b" not in raw
    assert "labelling: 3/4 videos, " in raw
    assert "labelling: 4/4 videos, " in raw
