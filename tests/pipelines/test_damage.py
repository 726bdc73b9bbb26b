from __future__ import annotations

import pytest

from pipelines.damage import DamageLog, DamageMap
from pipelines.packets import PacketLog

# Decoding order; I0 P3 b1 b2 | I6 b4 b5 (shown before the keyframe) P9 b7 b8 | I10 P11
PTS: tuple[int | None, ...] = (0, 3, 1, 2, 6, 4, 5, 9, 7, 8, 10, 11)
KEYS = (0, 4, 10)


def log_of(pts: tuple[int | None, ...] = PTS, keys: tuple[int, ...] = KEYS) -> DamageLog:
    packets = PacketLog()
    for index, time in enumerate(pts):
        packets.add((time, time, 1), 10, is_key=index in keys, is_shown=True)
    return DamageLog(DamageMap(packets.packets()))


def spoilt(log: DamageLog) -> list[int]:
    return [time for time in range(12) if log.spoils(time, 11)]


@pytest.mark.parametrize(
    ("damaged", "frames"),
    [
        ([], []),
        ([0], [0, 1, 2, 3, 4, 5]),
        ([1], [1, 2, 3, 4, 5]),  # 4 and 5 follow the keyframe, but look back beyond it
        ([3], [2, 4, 5]),
        ([4], [4, 5, 6, 7, 8, 9]),
        ([5], [4, 5]),  # what is shown before a keyframe cannot spoil what is shown after it
        ([6], [5]),
        ([7], [7, 8, 9]),
        ([9], [8]),
        ([10], [10, 11]),
        ([11], [11]),
        ([6, 9], [5, 8]),
        ([1, 11], [1, 2, 3, 4, 5, 11]),
    ],
)
def test_damage_reaches_to_the_next_keyframe(damaged: list[int], frames: list[int]) -> None:
    log = log_of()
    for index in damaged:
        log.note(index)
    assert spoilt(log) == frames


def test_without_times_the_place_of_the_decoder_counts() -> None:
    log = log_of((None,) * 12)
    log.note(5)
    assert [log.spoils(None, index) for index in range(12)] == [False] * 5 + [True] * 5 + [False] * 2


def test_a_time_that_no_packet_has_is_placed_where_the_decoder_is() -> None:
    log = log_of()
    log.note(1)
    assert log.spoils(100, 2)
    assert not log.spoils(100, 8)


def test_damage_to_the_second_field_spoils_the_frame() -> None:
    log = log_of((0, None, 1, None, 2, None), (0,))
    log.note(3)
    assert [log.spoils(time, 5) for time in range(3)] == [False, True, True]


def test_a_stream_without_keyframes_stays_spoilt() -> None:
    log = log_of(keys=())
    log.note(7)
    assert spoilt(log) == [7, 8, 9, 10, 11]
