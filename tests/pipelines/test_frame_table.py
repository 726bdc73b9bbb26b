from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.helpers.tables import table_of


def test_a_frame_costs_what_lies_between_it_and_its_keyframe() -> None:
    table = table_of([0.1] * 12, keys={0, 5})
    assert [table.cost_of(frame) for frame in (0, 4, 5, 11)] == [1, 5, 1, 7]


def test_packets_shared_by_frames_are_paid_once() -> None:
    table = table_of([0.1] * 12, keys={0, 5})
    assert table.cost([4]) == 5
    assert table.cost([2, 4]) == 5
    assert table.cost([2, 4, 5]) == 6
    assert table.cost([]) == 0


def test_unwanted_b_frames_cost_half() -> None:
    # Decoded: key, P, B, B; presented: key, B, B, P.
    table = replace(
        table_of([0.1] * 4), packet_index=np.array([0, 2, 3, 1]), skippable_before=np.array([0, 0, 0, 1, 2])
    )
    assert [table.is_skippable(frame) for frame in range(4)] == [False, True, True, False]
    assert table.cost([3]) == 2
    assert table.cost([2]) == 3.5  # the key, the P, half of the B that nobody wants, and the wanted one
    assert table.cost([1, 2]) == 4
