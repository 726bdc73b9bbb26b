from __future__ import annotations

import numpy as np
import pytest

from pipelines.tone import HLG, PQ, light_of_hlg, light_of_pq, table, to_standard_range


def test_pq_gives_the_light_that_bt_2100_and_bt_2408_state() -> None:
    light = light_of_pq(np.array([0.0, 0.5081, 0.5807, 0.7518, 1.0]))
    assert light == pytest.approx([0, 100, 203, 1000, 10_000], rel=2e-3)


def test_hlg_gives_the_light_that_bt_2100_and_bt_2408_state() -> None:
    light = light_of_hlg(np.array([0.0, 0.5, 0.75, 1.0]))
    assert light == pytest.approx([0, 1000 * (1 / 12) ** 1.2, 203, 1000], rel=2e-3)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_brighter_stays_brighter_and_paper_becomes_nearly_white(transfer: int) -> None:
    values = table(transfer).astype(int)
    assert (values[0], values[255]) == (0, 255)
    assert (np.diff(values) >= 0).all()
    assert values[{PQ: 148, HLG: 191}[transfer]] == pytest.approx(239, abs=1)
    assert len(set(values)) > 80  # it is a curve, not a threshold


def test_the_table_is_applied_to_every_channel() -> None:
    rgb_HWC = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    rgb_HWC[..., 1] = 0
    got_HWC = to_standard_range(rgb_HWC, PQ)
    assert got_HWC.dtype == np.uint8
    assert np.array_equal(got_HWC[..., 0].ravel(), table(PQ))
    assert np.array_equal(got_HWC[..., 2].ravel(), table(PQ))
    assert not got_HWC[..., 1].any()


@pytest.mark.parametrize("transfer", [0, 1, 2, 13, 14, 17, 255])
def test_other_curves_are_left_alone(transfer: int) -> None:
    rgb_HWC = np.full((2, 2, 3), 77, np.uint8)
    assert to_standard_range(rgb_HWC, transfer) is rgb_HWC
