from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.spec import Sampling
from pipelines.sampling import (
    CUT_NOVELTY,
    FrameTable,
    choose_frames,
    choose_neighbours,
    cut_windows,
    novelty_of,
)


def table_of(
    gaps_s: list[float], sizes_bytes: list[int] | None = None, keys: set[int] | None = None, group: int = 1
) -> FrameTable:
    times_s = np.concatenate([[0.0], np.cumsum(gaps_s[:-1])])
    count = len(times_s)
    return FrameTable(
        times_s=times_s,
        sizes_bytes=np.array(sizes_bytes if sizes_bytes is not None else [1000] * count, np.float64),
        is_key=np.array([i in (keys if keys is not None else {0}) for i in range(count)]),
        cost_frames=np.arange(count, dtype=np.float64) % group + 1,
        until_s=np.cumsum(gaps_s),
        duration_s=float(times_s[-1] + gaps_s[-1]),
    )


tables = st.lists(st.tuples(st.floats(0.001, 1.0), st.integers(1, 10**6), st.booleans()), min_size=1, max_size=60).map(
    lambda rows: table_of(
        [row[0] for row in rows], [row[1] for row in rows], {i for i, row in enumerate(rows) if row[2]}, group=7
    )
)


@given(st.floats(0.001, 2000), st.floats(0.5, 600))
@settings(deadline=None, max_examples=100)
def test_windows_are_equal_and_leave_no_gap(duration_s: float, window_s: float) -> None:
    windows = cut_windows(duration_s, window_s)
    assert windows[0][0] == 0
    assert windows[-1][1] == duration_s
    assert all(a[1] == b[0] for a, b in itertools.pairwise(windows))
    lengths_s = [end - start for start, end in windows]
    assert max(lengths_s) <= window_s * (1 + 1e-5)
    assert max(lengths_s) - min(lengths_s) < 1e-6 * duration_s


def test_a_video_as_long_as_the_window_is_one_window() -> None:
    assert cut_windows(10.0000001, 10.0) == [(0.0, 10.0000001)]


@given(tables, st.floats(1, 20), st.integers(1, 16), st.sampled_from(Sampling))
@settings(deadline=None, max_examples=100)
def test_one_frame_per_stratum_in_order(
    table: FrameTable, window_s: float, num_frames: int, sampling: Sampling
) -> None:
    novelty = novelty_of(table)
    for window in cut_windows(table.duration_s, window_s):
        chosen = choose_frames(table, novelty, window, num_frames, sampling)
        assert chosen == choose_frames(table, novelty, window, num_frames, sampling)
        assert len(chosen) == num_frames
        edges_s = np.linspace(*window, num_frames + 1)
        for frame, (start_s, end_s) in zip(chosen, itertools.pairwise(edges_s), strict=True):
            time_s = table.times_s[frame]
            inside = (table.times_s >= start_s) & (table.times_s < end_s)
            if inside.any():
                assert start_s <= time_s < end_s
            else:  # the frame that is on screen at the centre
                assert frame == np.flatnonzero(table.times_s <= (start_s + end_s) / 2)[-1]
        assert chosen == sorted(chosen)


def test_uniform_takes_the_frame_nearest_to_each_centre() -> None:
    table = table_of([0.1] * 40)
    chosen = choose_frames(table, novelty_of(table), (0.0, 4.0), 4, Sampling.UNIFORM)
    assert [round(float(table.times_s[i]), 1) for i in chosen] == [0.5, 1.5, 2.5, 3.5]


def test_a_burst_of_bytes_is_a_key_moment() -> None:
    sizes = [1000] * 100
    sizes[12:16] = [6000, 9000, 9000, 6000]
    table = table_of([0.1] * 100, sizes)
    chosen = choose_frames(table, novelty_of(table), (0.0, 10.0), 4, Sampling.KEY_MOMENTS)
    assert 12 <= chosen[0] <= 15
    assert choose_frames(table, novelty_of(table), (0.0, 10.0), 4, Sampling.UNIFORM)[0] == 12


def test_a_keyframe_out_of_step_is_a_cut_and_a_key_moment() -> None:
    table = table_of([0.1] * 100, keys={0, 25, 32, 50, 75})
    novelty = novelty_of(table)
    assert novelty[32] == CUT_NOVELTY
    assert set(np.flatnonzero(novelty > 0.5)) == {32, 50}  # 50 came sooner after 32 than the regular 25
    assert choose_frames(table, novelty, (0.0, 10.0), 4, Sampling.KEY_MOMENTS)[1] == 32


def test_where_nothing_happens_the_cheapest_frame_near_the_centre_is_taken() -> None:
    table = table_of([0.1] * 80, keys=set(range(0, 80, 8)), group=8)
    chosen = choose_frames(table, novelty_of(table), (0.0, 8.0), 2, Sampling.KEY_MOMENTS)
    assert [table.cost_frames[i] for i in chosen] == [1, 1]
    assert all(abs(table.times_s[i] - centre_s) <= 1 for i, centre_s in zip(chosen, (2, 6), strict=True))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_novelty_of_very_short_videos_is_finite(count: int) -> None:
    novelty = novelty_of(table_of([0.1] * count))
    assert novelty.shape == (count,)
    assert np.allclose(novelty, 0)


def test_an_empty_table_has_no_novelty() -> None:
    empty = np.zeros(0)
    table = FrameTable(
        times_s=empty, sizes_bytes=empty, is_key=np.zeros(0, np.bool_), cost_frames=empty, until_s=empty, duration_s=1.0
    )
    assert len(novelty_of(table)) == 0


def test_keyframes_are_not_novel_for_being_large() -> None:
    sizes = [9000 if i % 10 == 0 else 1000 for i in range(100)]
    assert np.abs(novelty_of(table_of([0.1] * 100, sizes, set(range(0, 100, 10))))).max() < 0.01


def test_a_neighbour_is_one_step_later_or_failing_that_earlier() -> None:
    table = table_of([0.25] * 20)
    assert choose_neighbours(table, [0, 5, 8, 9], (0.0, 2.5), 0.5, 1.0) == [2, 7, 9, 7]
    assert choose_neighbours(table, [19], (2.5, 5.0), 0.5, 1.0) == [17]


def test_the_first_frame_can_be_a_neighbour() -> None:
    assert choose_neighbours(table_of([0.1, 0.1]), [0, 1], (0.0, 0.2), 0.1, 0.5) == [1, 0]


def test_a_neighbour_too_far_away_or_at_the_same_time_is_none() -> None:
    assert choose_neighbours(table_of([1.0, 1.0, 1.0]), [0, 1, 2], (0.0, 3.0), 0.1, 0.5) == [None] * 3
    assert choose_neighbours(table_of([0.1]), [0], (0.0, 0.1), 0.1, 0.5) == [None]
