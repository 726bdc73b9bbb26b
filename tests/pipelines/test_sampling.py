from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.spec import Sampling
from pipelines.frame_table import FrameTable
from pipelines.novelty import Novelty
from pipelines.sampling import choose_neighbours, cut_windows, plan_frames, settle, spaced
from tests.helpers.tables import table_of

NO_CUTS = np.zeros(0, np.int64)

tables = st.lists(st.tuples(st.floats(0.001, 1.0), st.integers(1, 10**6), st.booleans()), min_size=1, max_size=60).map(
    lambda rows: table_of(
        [row[0] for row in rows], [row[1] for row in rows], {i for i, row in enumerate(rows) if row[2]}
    )
)


def plan(
    table: FrameTable, window: tuple[float, float], num_frames: int, sampling: Sampling = Sampling.KEY_MOMENTS
) -> list[tuple[int, ...]]:
    return plan_frames(table, Novelty(table), window, num_frames, sampling)


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


def test_windows_begin_at_cuts_in_reach() -> None:
    assert cut_windows(16.0, 10.0, [7.0]) == [(0.0, 7.0), (7.0, 16.0)]
    assert cut_windows(16.0, 10.0, [3.0]) == [(0.0, 8.0), (8.0, 16.0)]  # the rest would be too long
    assert cut_windows(16.0, 10.0, [6.5, 8.4, 9.5]) == [(0.0, 8.4), (8.4, 16.0)]
    assert cut_windows(20.0, 10.0, [9.9, 10.1]) == [(0.0, 10.0), (10.0, 20.0)]  # there is no room to move


@given(st.floats(0.1, 300), st.floats(0.5, 60), st.lists(st.floats(0, 300), max_size=40).map(sorted))
@settings(deadline=None, max_examples=200)
def test_cuts_change_neither_the_number_of_windows_nor_their_bounds(
    duration_s: float, window_s: float, cuts_s: list[float]
) -> None:
    windows = cut_windows(duration_s, window_s, cuts_s)
    assert len(windows) == len(cut_windows(duration_s, window_s))
    assert windows[0][0] == 0
    assert windows[-1][1] == duration_s
    assert all(a[1] == b[0] for a, b in itertools.pairwise(windows))
    lengths_s = [end - start for start, end in windows]
    assert max(lengths_s) <= window_s * (1 + 1e-5)
    assert min(lengths_s) >= duration_s / len(windows) / 2 * (1 - 1e-5)


@given(
    st.floats(0.1, 300), st.floats(0.5, 60), st.lists(st.floats(0, 300), max_size=40).map(sorted), st.floats(0, 0.75)
)
@settings(deadline=None, max_examples=200)
def test_windows_overlap_by_their_share_and_leave_no_gap(
    duration_s: float, window_s: float, cuts_s: list[float], overlap: float
) -> None:
    windows = cut_windows(duration_s, window_s, cuts_s, overlap)
    assert len(windows) == len(cut_windows(duration_s, window_s, overlap=overlap))  # cuts move borders only
    assert windows[0][0] == 0
    assert windows[-1][1] == duration_s
    assert max(end - start for start, end in windows) <= window_s * (1 + 1e-5)
    even_s = duration_s / (1 + (len(windows) - 1) * (1 - overlap))
    for (start, end), (later, latest) in itertools.pairwise(windows):
        assert start < later
        assert end < latest
        assert end - later == pytest.approx(even_s * overlap, abs=1e-9 * duration_s)


def test_windows_that_overlap_by_hand() -> None:
    assert cut_windows(10.0, 4.0, overlap=0.5) == [(0.0, 4.0), (2.0, 6.0), (4.0, 8.0), (6.0, 10.0)]
    assert cut_windows(4.0, 4.0, overlap=0.5) == [(0.0, 4.0)]
    assert [start for start, _ in cut_windows(9.0, 4.0, [3.0], overlap=0.5)] == pytest.approx([0.0, 1.8, 3.0, 5.0])
    assert cut_windows(9.0, 4.0, [1.9], overlap=0.5)[1][0] == 1.9


@given(tables, st.floats(1, 20), st.integers(1, 16), st.sampled_from(Sampling))
@settings(deadline=None, max_examples=150)
def test_candidates_lie_in_their_strata_and_cost_no_more_than_uniform(
    table: FrameTable, window_s: float, num_frames: int, sampling: Sampling
) -> None:
    for window in cut_windows(table.duration_s, window_s):
        strata = plan(table, window, num_frames, sampling)
        assert strata == plan(table, window, num_frames, sampling)
        assert len(strata) == num_frames
        edges_s = np.linspace(*window, num_frames + 1)
        for candidates, (start_s, end_s) in zip(strata, itertools.pairwise(edges_s), strict=True):
            assert candidates
            times_s = table.times_s[list(candidates)]
            inside = (table.times_s >= start_s) & (table.times_s < end_s)
            if inside.any():
                assert ((start_s <= times_s) & (times_s < end_s)).all()
                assert list(candidates) == sorted(set(candidates))
            else:  # the frame that is on screen at the centre
                on_screen = int(np.flatnonzero(table.times_s <= (start_s + end_s) / 2)[-1])
                assert candidates == (on_screen,)
        uniform = plan(table, window, num_frames, Sampling.UNIFORM)
        assert table.cost(itertools.chain(*strata)) <= table.cost(itertools.chain(*uniform))


def test_uniform_takes_the_frame_nearest_to_each_centre() -> None:
    table = table_of([0.1] * 40)
    chosen = plan(table, (0.0, 4.0), 4, Sampling.UNIFORM)
    assert [[round(float(table.times_s[i]), 1) for i in candidates] for candidates in chosen] == [
        [0.5], [1.5], [2.5], [3.5],
    ]  # fmt: skip


def test_the_frames_of_a_burst_are_candidates() -> None:
    sizes = [1000 + i % 7 for i in range(100)]
    sizes[12:16] = [6000, 9000, 9000, 6000]
    strata = plan(table_of([0.1] * 100, sizes, set(range(0, 100, 10))), (0.0, 10.0), 4)
    assert set(strata[0]) >= {12, 13, 14, 15}
    assert [len(candidates) for candidates in strata[1:]] == [1, 1, 1]


def test_a_burst_that_would_cost_too_much_is_left() -> None:
    sizes = [1000 + i % 7 for i in range(100)]
    sizes[45:50] = [9000] * 5  # at the end of a long group, in one stratum whose centre is cheap
    table = table_of([0.1] * 100, sizes, {0, 24, 50, 74})
    strata = plan(table, (0.0, 10.0), 2)
    assert table.cost(itertools.chain(*strata)) <= table.cost([25, 75])
    assert strata == [(24,), (74,)]


def test_where_nothing_happens_the_cheapest_frame_near_the_centre_is_taken() -> None:
    table = table_of([0.1] * 80, keys=set(range(0, 80, 8)))
    strata = plan(table, (0.0, 8.0), 2)
    assert [[table.cost_of(i) for i in candidates] for candidates in strata] == [[1], [1]]
    assert all(abs(table.times_s[c[0]] - centre_s) <= 1 for c, centre_s in zip(strata, (2, 6), strict=True))


def test_thorough_spends_what_uniform_would_on_more_candidates() -> None:
    table = table_of([0.1] * 400, keys={0, 100, 200, 300})
    quick, thorough = (plan(table, (0.0, 40.0), 4, sampling) for sampling in (Sampling.KEY_MOMENTS, Sampling.THOROUGH))
    assert all(len(candidates) == 1 for candidates in quick)
    assert all(len(candidates) > 10 for candidates in thorough)
    assert all(set(few) <= set(many) for few, many in zip(quick, thorough, strict=True))
    cost, allowed = (table.cost(frames) for frames in (itertools.chain(*thorough), [50, 150, 250, 350]))
    assert 0.9 * allowed <= cost <= allowed


def test_times_are_spaced() -> None:
    assert spaced(np.array([3.0, 3.05, 3.1, 3.2, 3.21, 3.5]), 0.1).tolist() == [0, 2, 3, 5]


def look(value: float) -> npt.NDArray[np.float32]:
    return np.full((2, 2), value, np.float32)


def test_the_candidate_unlike_everything_else_is_chosen() -> None:
    times_s = np.arange(0.0, 10.0, 0.5)
    looks = {frame: look(10.0) for frame in range(20)} | {7: look(90.0)}
    assert settle([(2,), (6, 7, 8), (15,)], looks, times_s) == [2, 7, 15]


def test_what_is_seen_again_at_another_time_is_not_new() -> None:
    times_s = np.arange(0.0, 10.0, 0.5)
    looks = {frame: look(10.0) for frame in range(20)} | {7: look(90.0), 8: look(60.0), 15: look(90.0)}
    assert settle([(2,), (6, 7, 8), (15,)], looks, times_s) == [2, 8, 15]


@pytest.mark.parametrize("seed", range(8))
def test_pictures_equally_novel_are_told_apart_by_no_rounding_error(seed: int) -> None:
    random = np.random.default_rng(seed)
    picture, times_s = random.uniform(0, 255, 576).astype(np.float32), np.arange(0.0, 10.0, 0.1)
    looks = {frame: random.permutation(picture) for frame in (50, 51, 52)}  # as far from evenly gray as each other
    looks |= {frame: np.full(576, 12.3, np.float32) for frame in (2, 90)}
    assert settle([(2,), (50, 51, 52), (90,)], looks, times_s) == [2, 51, 90]


def test_candidates_that_could_not_be_decoded_are_passed_over() -> None:
    times_s = np.arange(0.0, 10.0, 0.5)
    assert settle([(2, 3), (6, 7, 8)], {3: look(1.0), 8: look(1.0)}, times_s) == [3, 8]
    assert settle([(2, 3)], {}, times_s) == [2]


def test_with_nothing_to_compare_the_middle_is_chosen() -> None:
    assert settle([(1, 2, 3, 4, 5)], {i: look(float(i)) for i in range(6)}, np.arange(0, 0.6, 0.1)) == [3]


def test_a_neighbour_is_one_step_later_or_failing_that_earlier() -> None:
    table = table_of([0.25] * 20)
    assert choose_neighbours(table, [0, 5, 8, 9], (0.0, 2.5), 0.5, 1.0, NO_CUTS) == [2, 7, 9, 7]
    assert choose_neighbours(table, [19], (2.5, 5.0), 0.5, 1.0, NO_CUTS) == [17]


def test_a_neighbour_comes_from_the_same_shot() -> None:
    table = table_of([0.25] * 20)
    cuts = np.array([6, 7])
    assert choose_neighbours(table, [5, 6, 7], (0.0, 5.0), 0.5, 1.0, cuts) == [3, None, 9]


def test_no_group_of_frames_is_decoded_for_an_earlier_neighbour() -> None:
    table = table_of([0.1] * 30, keys={0, 20, 29})
    assert choose_neighbours(table, [29, 19], (0.0, 3.0), 0.1, 0.2, NO_CUTS) == [None, 20]
    assert choose_neighbours(table_of([0.1] * 30, keys=range(30)), [29], (0.0, 3.0), 0.1, 0.2, NO_CUTS) == [28]


def test_the_first_frame_can_be_a_neighbour() -> None:
    assert choose_neighbours(table_of([0.1, 0.1]), [0, 1], (0.0, 0.2), 0.1, 0.5, NO_CUTS) == [1, 0]


@pytest.mark.parametrize("gaps_s", [[1.0, 1.0, 1.0], [0.1]])
def test_a_neighbour_too_far_away_or_at_the_same_time_is_none(gaps_s: list[float]) -> None:
    table = table_of(gaps_s)
    frames = list(range(len(gaps_s)))
    assert choose_neighbours(table, frames, (0.0, sum(gaps_s)), 0.1, 0.5, NO_CUTS) == [None] * len(gaps_s)
