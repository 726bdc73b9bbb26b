from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.novelty import Novelty, cut_frames, local_median
from tests.helpers.tables import table_of


def wavering(count: int, usual: int, seed: int = 0) -> list[int]:
    """Give packet sizes that differ by some percent, as encoders make them."""
    return [int(size) for size in np.random.default_rng(seed).normal(usual, usual / 20, count)]


def test_more_bytes_than_usual_are_a_burst_where_they_are() -> None:
    sizes = wavering(200, 1000)
    sizes[120:126] = [3000] * 6
    burst = Novelty(table_of([0.04] * 200, sizes)).burst(100, 200)
    assert burst is not None
    assert burst.score > 5
    assert 118 <= burst.first <= 122
    assert 123 <= burst.last <= 135


def test_where_nothing_happens_scores_are_small() -> None:
    burst = Novelty(table_of([0.04] * 500, wavering(500, 1000))).burst(0, 500)
    assert burst is not None
    assert burst.score < 2.5


def test_keyframes_are_no_burst_for_being_large() -> None:
    keys = set(range(0, 500, 50))
    sizes = [10_000 if i in keys else size for i, size in enumerate(wavering(500, 1000))]
    burst = Novelty(table_of([0.04] * 500, sizes, keys)).burst(0, 500)
    assert burst is not None
    assert burst.score < 2.5


@pytest.mark.parametrize("size", [900, 1100])
def test_where_all_are_keyframes_a_change_either_way_is_a_burst(size: int) -> None:
    sizes = [1000] * 200
    sizes[100:112] = [size] * 12
    burst = Novelty(table_of([0.04] * 200, sizes, set(range(200)))).burst(50, 150)
    assert burst is not None
    assert burst.score > 5
    assert 99 <= burst.first <= 112


def test_a_burst_ends_where_its_range_does() -> None:
    sizes = [1000] * 95 + [9000] * 105
    burst = Novelty(table_of([0.04] * 200, sizes)).burst(90, 100)
    assert burst is not None
    assert 90 <= burst.first <= burst.last < 100
    assert Novelty(table_of([0.04] * 200, sizes)).burst(50, 50) is None


@given(
    st.lists(st.tuples(st.floats(0.001, 1.0), st.integers(0, 10**7), st.booleans()), min_size=1, max_size=60),
    st.integers(0, 59),
    st.integers(1, 60),
)
@settings(deadline=None, max_examples=100)
def test_every_range_with_frames_has_a_finite_burst_inside(
    rows: list[tuple[float, int, bool]], start: int, length: int
) -> None:
    keys = {i for i, row in enumerate(rows) if row[2]}
    table = table_of([row[0] for row in rows], [row[1] for row in rows], keys)
    stop = min(start + length, len(table))
    burst = Novelty(table).burst(start, stop)
    assert (burst is None) == (start >= stop)
    if burst is not None:
        assert np.isfinite(burst.score)
        assert start <= burst.first <= burst.last < stop


def test_the_local_median_follows_slow_change_and_not_single_values() -> None:
    times_s = np.arange(0, 40, 0.1)
    values = np.where(times_s < 20, 1.0, 5.0)
    values[100] = 100.0
    medians = local_median(times_s, values)
    assert medians[100] == 1.0
    assert medians[0] == 1.0
    assert medians[-1] == 5.0


def test_a_keyframe_out_of_step_and_a_huge_frame_are_cuts() -> None:
    keys = {0, 50, 73, 123, 173}
    sizes = [10_000 if i in keys else 1000 for i in range(200)]
    sizes[150] = 9000
    table = table_of([0.04] * 200, sizes, keys)
    assert cut_frames(table).tolist() == [73, 150]


def test_a_cut_begins_with_the_b_frames_before_the_large_frame() -> None:
    # Decoded: key, then P before the two B-frames that are presented before it, over and over.
    count = 61
    packet_index = [0] + [3 * (i // 3) + 1 + (i % 3 + 1) % 3 for i in range(count - 1)]
    skippable_before = np.concatenate([[0, 0], np.cumsum([i % 3 != 0 for i in range(count - 1)])])
    sizes = [10_000] + [1000 if i % 3 == 2 else 100 for i in range(count - 1)]
    sizes[33] = 8000  # a P-frame: 31 and 32 are the B-frames before it
    table = replace(
        table_of([0.04] * count, sizes),
        packet_index=np.array(packet_index),
        start_index=np.zeros(count, np.int64),
        skippable_before=skippable_before,
    )
    assert [i for i in range(28, 35) if table.is_skippable(i)] == [28, 29, 31, 32, 34]
    assert cut_frames(table).tolist() == [31]


def test_noise_is_full_of_large_frames_and_not_of_cuts() -> None:
    sizes = wavering(5000, 9000)
    assert len(cut_frames(table_of([0.04] * 5000, sizes, set(range(0, 5000, 100))))) == 0


def test_a_steady_interval_shows_no_cut() -> None:
    assert len(cut_frames(table_of([0.04] * 200, keys=set(range(0, 200, 50))))) == 0


@pytest.mark.parametrize("keys", [set(range(20)), {0}])
def test_streams_of_keyframes_only_or_of_one_show_no_cut(keys: set[int]) -> None:
    assert len(cut_frames(table_of([0.04] * 20, keys=keys))) == 0
