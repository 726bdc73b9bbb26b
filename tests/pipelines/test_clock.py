from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.clock import without_restarts
from pipelines.packets import NO_TIME, PacketLog, Packets

TICK_S = 0.001


def packets_of(pts: list[int | None], dts: list[int | None] | None = None) -> Packets:
    log = PacketLog()
    for shown, decoded in zip(pts, dts or pts, strict=True):
        log.add((shown, decoded, 40), 100, is_key=True, is_shown=True)
    return log.packets()


def joined(pts: list[int | None], dts: list[int | None] | None = None) -> list[int]:
    return [int(t) for t in without_restarts(packets_of(pts, dts), TICK_S).pts]


def steady(count: int, start: int = 0, step: int = 40) -> list[int | None]:
    return [start + step * i for i in range(count)]


def test_a_second_recording_follows_on_the_first() -> None:
    assert joined([*steady(10, 7000), *steady(12, 500)]) == steady(22, 7000)


def test_as_many_recordings_as_there_are() -> None:
    assert joined(steady(12) * 4) == steady(48)


def test_presentation_order_within_a_part_is_kept() -> None:
    pts: list[int] = [80, 200, 120, 160, 320, 240, 280, 440, 360, 400, 560, 480, 520]
    dts = steady(13)
    assert joined([*pts], dts) == pts
    assert joined([*pts, *pts], dts * 2) == [*pts, *(t + 520 for t in pts)]


@pytest.mark.parametrize(
    "times",
    [
        steady(30),
        [*steady(10), *steady(10, 20_000)],  # a gap is a gap
        [*steady(10), 9_000_000, *steady(10, 400)],  # one wrong time stamp
        [*steady(10), 160, *steady(10, 400)],  # one too early
        [*steady(10), 200, *steady(10, 240)],  # times that go back by a little
        [],
        [None] * 8,
        [5],
    ],
)
def test_anything_else_is_left_as_it_is(times: list[int | None]) -> None:
    packets = packets_of(times)
    assert without_restarts(packets, TICK_S) is packets


def test_packets_without_times_stay_without() -> None:
    times: list[int | None] = [*steady(12), None, *steady(12)]
    assert joined(times) == [*steady(12), NO_TIME, *steady(12, 480)]


def test_times_at_the_edge_of_the_numbers_are_left_alone() -> None:
    packets = packets_of([*steady(6, 2**62), *steady(6, -(2**62))])
    assert without_restarts(packets, TICK_S) is packets
    packets = packets_of([*steady(6, 2**60 - 220), *steady(6, 0)])  # the second part would end beyond the edge
    assert without_restarts(packets, TICK_S) is packets
    assert joined([*steady(6, 2**60 - 9000), *steady(6, 0)]) == steady(12, 2**60 - 9000)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40), st.sampled_from([1.0, 1e-3, 1 / 90000, 1e-9, 0.0]))
@settings(deadline=None, max_examples=100)
def test_any_times_give_a_table_of_the_same_length(times: list[int], tick_s: float) -> None:
    packets = packets_of(list(times))
    got = without_restarts(packets, tick_s)
    assert len(got) == len(packets)
    assert np.array_equal(got.pts == NO_TIME, packets.pts == NO_TIME)
