from __future__ import annotations

import itertools
from typing import TypedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.packets import NO_TIME, Layout, PacketLog, Packets, lay_out


class Row(TypedDict, total=False):
    pts: int | None
    dts: int | None
    duration: int
    size: int
    key: bool
    shown: bool


def packets_of(*rows: Row) -> Packets:
    log = PacketLog()
    for row in rows:
        log.add(
            (row.get("pts"), row.get("dts"), row.get("duration", 0)),
            row.get("size", 100),
            is_key=row.get("key", False),
            is_shown=row.get("shown", True),
        )
    return log.packets()


def group(*pts: int) -> list[Row]:
    """Give packets in decoding order, the first a keyframe."""
    return [Row(pts=time, dts=i, key=i == 0) for i, time in enumerate(pts)]


def laid_out(packets: Packets, rate_fps: float | None = 10, *, decode_order_times: bool = False) -> Layout:
    return lay_out(packets, 0.1, rate_fps, decode_order_times=decode_order_times)


def test_frames_are_put_into_presentation_order() -> None:
    layout = laid_out(packets_of(*group(5, 9, 7, 6, 8)))
    assert layout.is_timed
    assert layout.table.packet_index.tolist() == [0, 3, 2, 4, 1]
    assert layout.ticks.tolist() == [5, 6, 7, 8, 9]
    assert np.allclose(layout.table.times_s, [0, 0.1, 0.2, 0.3, 0.4])
    assert layout.table.is_key.tolist() == [True, False, False, False, False]
    assert [layout.table.cost_of(frame) for frame in range(5)] == [1, 4, 3, 5, 2]
    assert [layout.table.is_skippable(frame) for frame in range(5)] == [False, True, True, True, False]
    assert layout.table.duration_s == pytest.approx(0.5)


def test_packets_that_are_not_shown_are_no_frames_and_do_not_start_the_clock() -> None:
    layout = laid_out(packets_of(Row(pts=-3, key=True, shown=False), Row(pts=2), Row(pts=3)))
    assert layout.table.packet_index.tolist() == [1, 2]
    assert layout.table.times_s.tolist() == pytest.approx([0, 0.1])
    assert layout.table.start_index.tolist() == [0, 0]


def test_the_last_frame_lasts_as_stated_unless_that_is_absurd() -> None:
    for duration, expected_s in ((3, 0.4), (0, 0.2), (10**9, 0.2)):
        layout = laid_out(packets_of(Row(pts=0, key=True), Row(pts=1, duration=duration)))
        assert layout.table.duration_s == pytest.approx(expected_s)


def test_a_hole_between_packets_does_not_count_as_seen() -> None:
    layout = laid_out(packets_of(Row(pts=0, key=True), Row(pts=1, duration=1), Row(pts=50, duration=30), Row(pts=80)))
    assert layout.table.until_s.tolist() == pytest.approx([0.1, 1.1, 8.0, 9.0])
    assert layout.table.duration_s == pytest.approx(9.0)


@pytest.mark.parametrize(("rate_fps", "expected_s"), [(10, 0.1), (None, 0.04), (1000, 0.04), (-1.4e17, 0.04)])
def test_a_single_frame_lasts_one_plausible_frame(rate_fps: float | None, expected_s: float) -> None:
    assert laid_out(packets_of(Row(pts=7, key=True)), rate_fps).table.duration_s == pytest.approx(expected_s)


def test_without_times_frames_are_counted() -> None:
    layout = laid_out(packets_of(Row(key=True), Row(), Row()), 20)
    assert not layout.is_timed
    assert layout.table.times_s.tolist() == pytest.approx([0, 0.05, 0.1])
    assert layout.table.duration_s == pytest.approx(0.15)


def test_times_faster_than_any_camera_are_not_believed() -> None:
    packets = packets_of(*(Row(pts=i, key=i == 0) for i in range(9)))
    layout = lay_out(packets, 2.0**-31, 2.0**31, decode_order_times=False)
    assert not layout.is_timed
    assert layout.table.times_s.tolist() == pytest.approx([i / 25 for i in range(9)])
    single = lay_out(packets_of(Row(pts=0, duration=1)), 2.0**-31, None, decode_order_times=False)
    assert single.table.duration_s == pytest.approx(1 / 25)


def test_times_in_decoding_order_give_the_grid_but_not_the_frames() -> None:
    rows = [Row(pts=time, key=time == 0) for time in (0, 2, 4)]
    layout = laid_out(packets_of(*rows), decode_order_times=True)
    assert not layout.is_timed
    assert layout.table.times_s.tolist() == pytest.approx([0, 0.2, 0.4])


def test_second_fields_without_times_are_part_of_their_frame() -> None:
    rows = [Row(pts=time if time % 2 == 0 else None, key=time == 0) for time in range(8)]
    layout = laid_out(packets_of(*rows))
    assert layout.is_timed
    assert layout.table.packet_index.tolist() == [0, 2, 4, 6]


def test_repeated_times_are_one_frame() -> None:
    assert laid_out(packets_of(*group(0, 1, 1, 2))).table.packet_index.tolist() == [0, 1, 3]


def test_frames_shown_before_their_keyframe_start_one_keyframe_earlier() -> None:
    rows = [*group(0, 1, 2), Row(pts=5, key=True), Row(pts=3), Row(pts=4), Row(pts=6)]
    layout = laid_out(packets_of(*rows))
    assert layout.table.start_index.tolist() == [0, 0, 0, 0, 0, 3, 3]


def test_a_stream_without_keyframes_starts_at_its_first_packet() -> None:
    assert laid_out(packets_of(Row(pts=0), Row(pts=1))).table.start_index.tolist() == [0, 0]


def test_huge_time_stamps_do_not_overflow() -> None:
    layout = laid_out(packets_of(Row(pts=-(2**62), key=True), Row(pts=2**62)))
    assert layout.table.times_s.tolist() == pytest.approx([0, 2**63 / 10])


def test_runs_skip_what_nobody_wants() -> None:
    rows = [Row(pts=i, key=i % 10 == 0) for i in range(40)]
    runs = laid_out(packets_of(*rows)).table.runs([2, 5, 31])
    assert [(run.start, run.last, run.frames) for run in runs] == [(0, 5, (2, 5)), (30, 31, (31,))]


def test_a_run_reaches_back_for_a_frame_that_is_shown_before_its_keyframe() -> None:
    rows = [*group(0, 1, 2), Row(pts=5, key=True), Row(pts=3), Row(pts=4), Row(pts=6)]
    runs = laid_out(packets_of(*rows)).table.runs([4, 5])  # the keyframe itself, and one that leads it
    assert [(run.start, run.last) for run in runs] == [(0, 5)]


streams = st.lists(st.tuples(st.permutations(range(5)), st.integers(1, 5)), min_size=1, max_size=8).map(
    lambda groups: packets_of(
        *(
            Row(pts=10 * number + time, key=i == 0)
            for number, (times, length) in enumerate(groups)
            for i, time in enumerate(times[:length])
        )
    )
)


@given(streams, st.data())
@settings(deadline=None, max_examples=150)
def test_runs_hold_every_wanted_frame_once_and_do_not_overlap(packets: Packets, data: st.DataObject) -> None:
    layout = laid_out(packets)
    wanted = data.draw(st.sets(st.integers(0, len(layout.table) - 1), min_size=1))
    runs = layout.table.runs(sorted(wanted))
    assert sorted(frame for run in runs for frame in run.frames) == sorted(wanted)
    for run in runs:
        assert packets.is_key[run.start]
        for frame in run.frames:
            assert run.start <= layout.table.start_index[frame] <= layout.table.packet_index[frame] <= run.last
    assert all(before.last < after.start for before, after in itertools.pairwise(runs))


def test_a_packet_read_again_is_recognised_by_time_and_size() -> None:
    packets = packets_of(Row(pts=0, size=5), Row(pts=1, size=6), Row(pts=None, size=7), Row(pts=1, size=6))
    assert packets.find(0, 5, -1) == 0
    assert packets.find(None, 7, -1) == 2
    assert packets.find(1, 6, 3) == 3  # a double is where counting says
    assert packets.find(1, 6, -1) == -1
    assert packets.find(8, 8, 2) == 2


def test_missing_times_are_marked() -> None:
    packets = packets_of(Row())
    assert packets.pts.tolist() == packets.dts.tolist() == [NO_TIME]
