import math

import numpy as np
import pytest

from fal_model.timeline import Timeline, frame_places


def test_frames_lie_in_the_middles_of_equal_places() -> None:
    assert frame_places(4).tolist() == [0.125, 0.375, 0.625, 0.875]


def test_places_follow_the_frames_whatever_their_times() -> None:
    timeline = Timeline([1.0, 2.0, 8.0, 9.0], 0.0, 10.0)
    assert timeline.places([0.0, 1.0, 2.0, 5.0, 8.0, 9.0, 10.0]).tolist() == [0, 0.125, 0.375, 0.5, 0.625, 0.875, 1]
    assert timeline.seconds([0.5, 0.9375, 1.0, 1.5]).tolist() == [5.0, 9.5, 10.0, 10.0]


def test_times_beyond_the_window_count_as_its_border() -> None:
    timeline = Timeline([-1.0, 5.0], 0.0, 10.0)
    assert timeline.places([-3.0, 0.0, 12.0]).tolist() == [0.0, 0.0, 1.0]
    assert timeline.seconds([0.0, 0.25, 0.75]).tolist() == [0.0, 0.0, 5.0]


def test_frames_of_the_same_time_share_the_place_of_the_first() -> None:
    timeline = Timeline([2.0, 4.0, 4.0, 4.0], 0.0, 8.0)
    assert timeline.places(4.0) == 0.375
    assert timeline.places(6.0) == pytest.approx((0.875 + 1) / 2)
    assert timeline.seconds([0.375, 0.6, 0.875]).tolist() == [4.0, 4.0, 4.0]


def test_one_frame_is_enough() -> None:
    timeline = Timeline([3.0], 0.0, 4.0)
    np.testing.assert_allclose(timeline.places([1.5, 3.0, 3.5]), [0.25, 0.5, 0.75])


@pytest.mark.parametrize("times_s", [[], [2.0, 1.0], [math.nan], [1.0, math.nan, 2.0], [1.0, math.inf]])
def test_times_that_are_none_are_refused(times_s: list[float]) -> None:
    with pytest.raises(ValueError, match=r"frame_times_s: got \[.*\], must be at least one finite time, none falling"):
        Timeline(times_s, 0.0, 4.0)


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match=r"end_s: got 1.0, must be greater than start_s \(1.0\)"):
        Timeline([1.0], 1.0, 1.0)


@pytest.mark.parametrize("window_s", [(math.nan, 1.0), (0.0, math.nan), (0.0, math.inf), (-math.inf, 0.0)])
def test_a_window_without_borders_is_refused(window_s: tuple[float, float]) -> None:
    start_s, end_s = window_s
    with pytest.raises(ValueError, match=f"start_s and end_s: got {start_s} and {end_s}, must be finite"):
        Timeline([0.5], start_s, end_s)
