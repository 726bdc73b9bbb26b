"""Show how far a job is: a live bar at a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

LINE_EVERY_S = 5.0


class Update(Protocol):
    """Says that ``done`` of the total are finished, with a short note."""

    def __call__(self, done: int, note: str) -> None:
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
    if sys.stdout.isatty():
        with _bar(title, total, before) as update:
            yield update
    else:
        yield _Lines(title, total, unit, before, time.monotonic())


@contextmanager
def _bar(title: str, total: int, before: int) -> Iterator[Update]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with RichProgress(*columns, console=Console(file=sys.stdout)) as bar:
        task = bar.add_task(title, total=total, completed=before, note="")

        def update(done: int, note: str) -> None:
            bar.update(task, completed=done, note=note)

        yield update


class _Lines:
    """Plain lines for logs."""

    def __init__(self, title: str, total: int, unit: str, before: int, start_s: float) -> None:
        self.title, self.total, self.unit, self.before = title, total, unit, before
        self.start_s = self.next_s = start_s

    def __call__(self, done: int, note: str) -> None:
        self.at(time.monotonic(), done, note)

    def at(self, now_s: float, done: int, note: str) -> None:
        """Write a line if one is due."""
        if now_s < self.next_s and done < self.total:
            return
        self.next_s = now_s + LINE_EVERY_S
        rate = (done - self.before) / (now_s - self.start_s) if now_s > self.start_s else 0.0
        left = f", {(self.total - done) / rate:.0f} s left" if rate > 0 and done < self.total else ""
        sys.stdout.write(f"{self.title}: {done}/{self.total} {self.unit}, {rate:.1f}/s{left}, {note}\n")
        sys.stdout.flush()
