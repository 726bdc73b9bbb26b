"""Rates and the time left: what a person may believe of them."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from pipelines.progress import RECENT_S, SAMPLE_EVERY_S, Meter


def measured(steps: list[tuple[float, float]], before: float = 0.0) -> Meter:
    """Make a meter that began at second 0 and was told (second, amount)."""
    meter = Meter(0.0, before)
    for at_s, amount in steps:
        meter.add(at_s, amount)
    return meter


def steady(rate: float, until_s: int, from_s: int = 0, amount: float = 0.0) -> list[tuple[float, float]]:
    return [(float(s), amount + rate * (s - from_s)) for s in range(from_s + 1, until_s + 1)]


def test_nothing_is_guessed_before_anything_came() -> None:
    meter = measured([])
    assert (meter.mean(100.0), meter.recent(100.0)) == (0, 0)
    assert math.isnan(meter.left_s(100.0, 10))


def test_the_mean_covers_the_run_and_the_recent_rate_the_last_minute() -> None:
    meter = measured(steady(1, 120) + steady(4, 240, 120, 120.0))
    assert meter.mean(240.0) == pytest.approx(600 / 240)
    assert meter.recent(240.0) == pytest.approx(4)


def test_what_was_there_before_counts_for_no_rate() -> None:
    meter = measured([(10.0, 520.0)], before=500.0)
    assert (meter.amount, meter.mean(10.0), meter.recent(10.0)) == (520, 2, 2)


def test_the_wait_for_the_first_does_not_count_for_the_time_left() -> None:
    """Workers start and load a model for half a minute, then work at 2 a second."""
    meter = measured(steady(2, 50, 30, 0.0))
    assert meter.left_s(50.0, 100.0) == pytest.approx(30, rel=0.06)


def test_two_in_a_row_are_no_reason_to_guess() -> None:
    meter = measured([(1.0, 50.0), (1.1, 99.0)])
    assert math.isnan(meter.left_s(1.1, 1000))
    assert math.isnan(meter.left_s(60.0, 1000))
    meter.add(61.0, 100.0)
    assert meter.left_s(61.0, 1000) > 0


def test_what_cost_nothing_at_first_does_not_promise_the_rest_is_free() -> None:
    """A resumed run reads 9,000 videos it knows in ten seconds; the last thousand are decoded, one a second."""
    meter = measured(steady(900, 10) + steady(1, 70, 10, 9000.0))
    assert meter.left_s(70.0, 10_000) == pytest.approx(940, rel=0.2)


def test_while_nothing_comes_the_time_left_grows() -> None:
    meter = measured(steady(1, 100))
    guesses = [meter.left_s(float(s), 200) for s in (100, 130, 161, 300, 1000)]
    assert guesses == sorted(guesses)
    assert guesses[-1] > 900


def test_a_count_that_shrinks_is_not_believed() -> None:
    meter = measured([(1.0, 10.0), (2.0, 5.0)])
    assert meter.amount == 10


@settings(deadline=None, max_examples=100)
@given(
    steps=st.lists(st.tuples(st.floats(0.01, 300), st.integers(0, 50)), min_size=1, max_size=60),
    before=st.integers(0, 1000),
    later_s=st.floats(0, 500),
)
def test_rates_are_what_a_list_of_all_steps_says(steps: list[tuple[float, int]], before: int, later_s: float) -> None:
    now_s, amount, told = 0.0, float(before), [(0.0, float(before))]
    meter = Meter(0.0, before)
    for wait_s, more in steps:
        now_s, amount = now_s + wait_s, amount + more
        meter.add(now_s, amount)
        told.append((now_s, amount))
    now_s += later_s
    assert meter.mean(now_s) == pytest.approx((amount - before) / now_s)
    ago = [max(a for s, a in told if s <= max(0.0, now_s - RECENT_S - late_s)) for late_s in (SAMPLE_EVERY_S, 0)]
    least, most = sorted((amount - there) / min(now_s, RECENT_S) for there in ago)
    assert least - 1e-9 <= meter.recent(now_s) <= most + 1e-9
    left_s = meter.left_s(now_s, amount + 10)
    assert math.isnan(left_s) or left_s > 0
    assert math.isnan(meter.left_s(now_s, amount)) or meter.left_s(now_s, amount) == 0
