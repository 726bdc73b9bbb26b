"""How far a job is, and how fast: counts of stages, and rates over them that do not lie. Plain numbers, no terminal."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

RECENT_S = 60.0
"""The time that a recent rate covers, seconds."""
FEWEST_STEPS = 3
"""How often something must have got done before the time left is guessed."""
SHORTEST_GUESS_S = 5.0
"""How long work must have been arriving before the time left is guessed, seconds."""
STEPS_TO_GO_BY = 10
"""How many of the last steps a guess goes by at least, however long they took."""
SAMPLE_EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class StageProgress:
    """How far one stage of a job is, counted in this run alone. Rates are made from these by whoever shows them.

    Attributes:
        name: What people call the stage.
        unit: What is counted.
        num_done: How many are done.
        total: How many there are to do; ``None`` where nobody knows.
        num_in_work: How many are in work; ``None`` where nobody knows.
        num_waiting: How many wait for the stage; ``None`` where nobody knows.
        busy_s: How long its workers have worked in all, seconds; ``None`` where it is not measured.
        num_workers: How many work at it side by side; 0 where that is not fixed.
    """

    name: str
    unit: str
    num_done: int
    total: int | None = None
    num_in_work: int | None = None
    num_waiting: int | None = None
    busy_s: float | None = None
    num_workers: int = 0


class _Sample(NamedTuple):
    at_s: float
    amount: float
    num_steps: int


class Meter:
    """Measures how fast an amount grows: over the whole run, and over the last minute.

    Args:
        start_s: When the work began, on any clock that only goes forward, seconds.
        amount: What was there before; it counts for no rate.
    """

    def __init__(self, start_s: float, amount: float = 0.0) -> None:
        self._start = _Sample(start_s, amount, 0)
        self._first_growth: _Sample | None = None
        self._samples = deque([self._start])

    @property
    def amount(self) -> float:
        """Return the amount that is there."""
        return self._samples[-1].amount

    def add(self, now_s: float, amount: float) -> None:
        """Take note of the amount that is there now; it never shrinks."""
        last = self._samples[-1]
        if amount <= last.amount:
            return
        grown = _Sample(now_s, amount, last.num_steps + 1)
        self._first_growth = self._first_growth or grown
        if len(self._samples) > 1 and now_s - self._samples[-2].at_s < SAMPLE_EVERY_S:
            self._samples.pop()
        self._samples.append(grown)
        self._forget()

    def mean(self, now_s: float) -> float:
        """Return how much came per second since the start."""
        return _rate(self._start, self._samples[-1], now_s)

    def recent(self, now_s: float) -> float:
        """Return how much came per second in the last minute, or since the start if that is less long ago."""
        return _rate(self._minute_ago(now_s), self._samples[-1], now_s)

    def left_s(self, now_s: float, total: float) -> float:
        """Guess how long the rest takes, seconds; NaN while too little is known to guess.

        It goes by what came in the last minute, or in the last steps if these took longer; what a run begins with may
        cost nothing, such as videos that an earlier one has labelled. The very first to arrive only ends the wait for
        the workers to start. While nothing comes, the guess grows.
        """
        first, last = self._first_growth, self._samples[-1]
        if first is None or last.num_steps < FEWEST_STEPS or now_s - first.at_s < SHORTEST_GUESS_S:
            return math.nan
        steps_ago = self._latest(lambda s: s.num_steps <= last.num_steps - STEPS_TO_GO_BY)
        rate = _rate(max(first, min(self._minute_ago(now_s), steps_ago)), last, now_s)
        return (total - last.amount) / rate if rate > 0 else math.nan

    def _minute_ago(self, now_s: float) -> _Sample:
        """Return what was there a minute ago, or at the start."""
        cut_s = max(self._start.at_s, now_s - RECENT_S)
        return self._latest(lambda s: s.at_s <= cut_s)._replace(at_s=cut_s)

    def _latest(self, is_far_enough: Callable[[_Sample], bool]) -> _Sample:
        """Return the latest sample that is far enough back, else the first that is kept."""
        return next((sample for sample in reversed(self._samples) if is_far_enough(sample)), self._samples[0])

    def _forget(self) -> None:
        """Drop samples that are further back than anybody asks for."""
        last = self._samples[-1]
        while len(self._samples) > 1:
            second = self._samples[1]
            if second.at_s > last.at_s - RECENT_S or second.num_steps > last.num_steps - STEPS_TO_GO_BY:
                return
            self._samples.popleft()


def _rate(first: _Sample, last: _Sample, now_s: float) -> float:
    elapsed_s = now_s - first.at_s
    return (last.amount - first.amount) / elapsed_s if elapsed_s > 0 else 0.0
