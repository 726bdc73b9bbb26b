"""Show how far a job is: a live display at a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipelines.progress import Meter, StageProgress

LINE_EVERY_S = 5.0
LONGEST_BETWEEN_LINES_S = 60.0
LINES_PER_RUN_TIME = 100
"""A line each hundredth of the time spent so far: a night's log stays readable."""
QUIET_S = 30.0
"""After this long without news that is said, seconds."""
MINUTE_S, HOUR_S = 60, 3600
BAR_WIDTH, BUSY_BAR_WIDTH = 28, 10


class Update(Protocol):
    """Says that ``done`` of the total are finished, with a short note, and how far each stage is."""

    def __call__(self, done: int, note: str, stages: Sequence[StageProgress] = ()) -> None:
        """Show it."""


@contextmanager
def progress(title: str, total: int, unit: str, before: int = 0) -> Iterator[Update]:
    """Show progress of a block.

    Args:
        title: What is being done.
        total: How much there is.
        unit: Of what.
        before: How much was done in earlier runs; it counts neither for the rate nor for the time left.
    """
    board = _Board(title, total, unit, before, time.monotonic())
    console = Console(file=sys.stdout)
    if sys.stdout.isatty() and not console.is_dumb_terminal:
        with Live(get_renderable=lambda: _live(board, time.monotonic()), console=console, refresh_per_second=4):
            yield board.update
    else:
        lines = _Lines(board)
        with lines.beating():
            yield lines


class _Stage:
    """One stage: what was last said of it, and how fast it is."""

    def __init__(self, start_s: float) -> None:
        self.last: StageProgress | None = None
        self.done, self.busy = Meter(start_s), Meter(start_s)

    def add(self, now_s: float, found: StageProgress) -> None:
        self.last = found
        self.done.add(now_s, found.num_done)
        self.busy.add(now_s, found.busy_s or 0.0)

    def busy_share(self, now_s: float) -> float | None:
        """Return the share of the last minute that its workers worked, where that is known."""
        if self.last is None or self.last.busy_s is None or not self.last.num_workers:
            return None
        return min(1.0, self.busy.recent(now_s) / self.last.num_workers)

    def facts(self, now_s: float) -> list[str]:
        """Say what is known of the last minute."""
        last, share = self.last, self.busy_share(now_s)
        if last is None:
            return []
        of = f"/{last.total:,}" if last.total is not None else ""
        found = [f"{last.num_done:,}{of} {last.unit}" if of else _speed(self.done.recent(now_s), last.unit)]
        if share is not None:
            found.append(f"{last.num_workers} worker{'s' * (last.num_workers > 1)} {share:.0%} busy")
        if last.num_in_work is not None:
            found.append(f"{last.num_in_work:,} in work")
        if last.num_waiting is not None:
            found.append(f"{last.num_waiting:,} waiting")
        return found


class _Board:
    """What is known, written by the job and read by the thread that shows it."""

    def __init__(self, title: str, total: int, unit: str, before: int, start_s: float) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.start_s = self.news_s = start_s
        self.note = ""
        self.meter = Meter(start_s, before)
        self.stages: dict[str, _Stage] = {}
        self.lock = threading.RLock()

    def update(self, done: int, note: str, stages: Sequence[StageProgress] = ()) -> None:
        self.at(time.monotonic(), done, note, stages)

    def at(self, now_s: float, done: int, note: str, stages: Sequence[StageProgress] = ()) -> None:
        """Take note of what the job says."""
        with self.lock:
            self.news_s, self.note = now_s, note
            self.meter.add(now_s, done)
            for stage in stages:
                self.stages.setdefault(stage.name, _Stage(self.start_s)).add(now_s, stage)

    @property
    def is_done(self) -> bool:
        return self.meter.amount >= self.total

    def facts(self, now_s: float) -> list[str]:
        """Say how fast it goes, how long it will take, and what the job says."""
        meter = self.meter
        mean, recent = _speed(meter.mean(now_s)), _speed(meter.recent(now_s))
        found = [mean if mean == recent else f"{mean} ({recent} in the last minute)"]
        if not self.is_done:
            found.append(_time_left(meter.left_s(now_s, self.total)))
        if now_s - self.news_s >= QUIET_S:
            found.append(f"no news for {_about(now_s - self.news_s)}")
        return [*found, *([self.note] if self.note else [])]


class _Lines:
    """Plain lines for logs."""

    def __init__(self, board: _Board) -> None:
        self.board = board
        self.next_s = board.start_s
        self.has_unsaid = False

    def __call__(self, done: int, note: str, stages: Sequence[StageProgress] = ()) -> None:
        self.at(time.monotonic(), done, note, stages)

    def at(self, now_s: float, done: int, note: str, stages: Sequence[StageProgress] = ()) -> None:
        """Take note, and write a line if one is due."""
        with self.board.lock:
            was_done = self.board.is_done
            self.board.at(now_s, done, note, stages)
            self.has_unsaid = True
            if now_s >= self.next_s or (self.board.is_done and not was_done):
                self.write(now_s)

    def beat(self, now_s: float) -> None:
        """Write a line if there was no news for long, so that a log never just stops."""
        with self.board.lock:
            if now_s >= self.next_s and now_s - self.board.news_s >= QUIET_S:
                self.write(now_s)

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Look for missing news on a thread as long as the block runs, and say the last ones at its end."""
        is_over = threading.Event()

        def beat() -> None:
            while not is_over.wait(LINE_EVERY_S):
                self.beat(time.monotonic())

        thread = threading.Thread(target=beat, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
            if self.has_unsaid:
                self.write(time.monotonic())

    def write(self, now_s: float) -> None:
        """Write a line."""
        board, self.has_unsaid = self.board, False
        every_s = (now_s - board.start_s) / LINES_PER_RUN_TIME
        self.next_s = now_s + min(LONGEST_BETWEEN_LINES_S, max(LINE_EVERY_S, every_s))
        facts = ", ".join([f"{board.meter.amount:.0f}/{board.total} {board.unit}", *board.facts(now_s)])
        stages = [f"{name} {', '.join(stage.facts(now_s))}" for name, stage in board.stages.items()]
        sys.stdout.write(" | ".join([f"{board.title}: {facts}", *stages]) + "\n")
        sys.stdout.flush()


def _live(board: _Board, now_s: float) -> RenderableType:
    """Draw the board for a terminal of 80 columns or more."""
    with board.lock:
        done, total = board.meter.amount, board.total
        head = Table.grid(padding=(0, 2))
        share = f"{math.floor(100 * done / total)}%" if total else "100%"
        bar = ProgressBar(total=max(1, total), completed=done if total else 1, width=BAR_WIDTH)
        head.add_row(Text(board.title, "bold"), bar, f"{done:,.0f}/{total:,} {board.unit}", Text(share, "bold"))
        facts = Text("  " + " · ".join(board.facts(now_s)), "dim")
        stages = Table.grid(padding=(0, 2))
        for name, stage in board.stages.items():
            busy = stage.busy_share(now_s)
            shown = "" if busy is None else ProgressBar(total=1.0, completed=busy, width=BUSY_BAR_WIDTH)
            stages.add_row(f"  {name}", shown, " · ".join(stage.facts(now_s)))
        return Group(head, facts, stages) if board.stages else Group(head, facts)


def _speed(rate_per_s: float, unit: str = "") -> str:
    """Write a rate; what is slower than one a second is said by the minute."""
    number, time_unit = (rate_per_s, "s") if rate_per_s >= 1 or not rate_per_s else (rate_per_s * MINUTE_S, "min")
    return f"{number:.1f} {unit}/{time_unit}" if unit else f"{number:.1f}/{time_unit}"


def _time_left(left_s: float) -> str:
    return "time left not known yet" if math.isnan(left_s) else f"{_about(left_s)} left"


def _about(value_s: float) -> str:
    """Write a time as people say it, in the units that matter."""
    if value_s < 2 * MINUTE_S:
        return f"{value_s:.0f} s"
    minutes = round(value_s / MINUTE_S)
    return f"{minutes} min" if value_s < 2 * HOUR_S else f"{minutes // 60} h {minutes % 60:02d} min"
