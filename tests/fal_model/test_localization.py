import numpy as np
import pytest

from fal_model.localization import (
    ClipScores,
    Part,
    Segment,
    clip_parts,
    find_segments,
    join,
    overlap,
    quantise_offsets,
    soft_nms,
)

NO = (0.0, 0.0, 0.0)
"""Score and offsets of a frame at which nothing holds."""


def clip(rows: list[tuple[float, float, float]], start_s: float = 0.0, end_s: float = 8.0) -> ClipScores:
    """Make a clip of one class: score and two offsets of each frame; frames are at the middles of their strata."""
    num = len(rows)
    values = np.array(rows)
    step_s = (end_s - start_s) / num
    times_s = [start_s + (t + 0.5) * step_s for t in range(num)]
    return ClipScores(values[:, :1], values[:, None, 1:], times_s, start_s, end_s)


def spans(segments: list[Segment]) -> list[tuple[float, float]]:
    return [(round(s.start_s, 6), round(s.end_s, 6)) for s in segments]


# ---- one window ---------------------------------------------------------------------------------------------------


def test_frames_in_a_row_are_one_segment() -> None:
    rows = [NO, (0.9, 0.5, 0.9), (0.8, 0.9, 0.9), (0.7, 0.9, 0.25), NO, NO, NO, NO]
    (found,) = find_segments([clip(rows)], [3], [0.5], 8.0)
    assert found[:3] == pytest.approx((3, 1.0, 3.75))  # the first frame says where it begins, the last where it ends
    assert found.score == pytest.approx(0.8)


def test_two_events_in_a_window_stay_two() -> None:
    rows = [(0.9, 0.5, 0.5), NO, NO, (0.8, 0.5, 1.0), (0.8, 1.0, 0.0), NO, NO, NO]
    assert spans(find_segments([clip(rows)], [0], [0.5], 8.0)) == [(0.0, 1.0), (3.0, 4.5)]


def test_what_shares_much_time_with_a_better_segment_falls_below_the_threshold() -> None:
    likely, less, other = [0.0, 10.0, 0.9], [0.0, 4.0, 0.6], [6.0, 30.0, 0.8]
    kept = soft_nms(np.array([likely, less, other]), 0.5)
    assert kept[:, 0].tolist() == [0.0, 6.0]
    assert kept[1, 2] == pytest.approx(0.8 * np.exp(-((4 / 30) ** 2) / 0.3))


def test_a_segment_below_the_threshold_is_dropped_also_where_it_is_the_best() -> None:
    low, high = [0.0, 10.0, 0.4], [20.0, 30.0, 0.5]
    assert soft_nms(np.array([low, high]), 0.5).tolist() == [high]
    assert soft_nms(np.array([low]), 0.5).shape == (0, 3)


def test_rounding_takes_no_event_below_its_threshold() -> None:
    scores = [0.1, 0.3, 0.7, 0.15, 0.55]
    for score in scores:
        for num in range(2, 12):
            (found,) = find_segments([clip([(score, 0.5, 0.5)] * num)], [0], [score], 8.0)
            assert found.score >= score
        early, late = clip([(score, 0.5, 0.5)] * 3, 0.0, 4.1), clip([(score, 0.5, 0.5)] * 7, 4.1, 8.0)
        (found,) = find_segments([early, late], [0], [score], 8.0)
        assert found.score >= score


def test_frames_below_the_threshold_and_segments_without_length_say_nothing() -> None:
    assert find_segments([clip([(0.49, 0.5, 0.5)] * 8)], [0], [0.5], 8.0) == []
    assert find_segments([clip([NO, (0.9, 0.0, 0.0), NO, (0.9, 0.0, 0.0)])], [0], [0.5], 8.0) == []
    assert find_segments([], [0], [0.5], 8.0) == []


def test_classes_have_thresholds_of_their_own_and_may_overlap() -> None:
    scores_TC = np.array([[0.6, 0.3], [0.6, 0.3]])
    offsets_TC2 = np.full((2, 2, 2), 0.5)
    both = [ClipScores(scores_TC, offsets_TC2, [1.0, 3.0], 0.0, 4.0)]
    found = find_segments(both, [7, 2], [0.5, 0.25], 4.0)
    assert [s.class_index for s in found] == [2, 7]
    assert [s.class_index for s in find_segments(both, [7, 2], [0.5, 0.5], 4.0)] == [7]


def test_nothing_lies_outside_the_video() -> None:
    (found,) = find_segments([clip([(0.9, 1.0, 1.0)] * 4, 0.0, 8.0)], [0], [0.5], 7.5)
    assert (found.start_s, found.end_s) == (0.0, 7.5)


def test_a_frame_from_before_the_window_counts_as_its_border() -> None:
    on_screen = ClipScores(np.array([[0.9], [0.1]]), np.full((2, 1, 2), 0.5), [1.0, 7.0], 2.0, 8.0)
    (part,) = clip_parts(on_screen, 0, 0.5)
    assert (part.start_s, part.end_s) == pytest.approx((2.0, 4.5))
    assert (part.is_open_before, part.is_open_after) == (True, False)


# ---- windows ------------------------------------------------------------------------------------------------------

TO_THE_END = [*[NO] * 3, (0.9, 0.5, 0.5)]
FROM_THE_START = [(0.7, 0.5, 1.0), (0.7, 1.0, 0.5), NO, NO]


def test_an_event_across_the_border_of_two_windows_is_one_segment() -> None:
    (found,) = find_segments([clip(TO_THE_END, 0.0, 4.0), clip(FROM_THE_START, 4.0, 8.0)], [0], [0.5], 8.0)
    assert (found.start_s, found.end_s) == pytest.approx((3.0, 6.0))
    assert found.score == pytest.approx((0.9 * 1 + 0.7 * 2) / 3)  # by length


def test_borders_need_not_be_exact_where_no_frame_lies_between() -> None:
    early = [*[NO] * 3, (0.9, 0.5, 0.3)]
    late = [(0.7, 0.2, 1.0), (0.7, 1.0, 0.5), NO, NO]
    found = find_segments([clip(early, 0.0, 4.0), clip(late, 4.0, 8.0)], [0], [0.5], 8.0)
    assert spans(found) == [(3.0, 6.0)]


def test_what_holds_to_a_border_that_no_other_window_sees_fills_its_window() -> None:
    early = clip([*[NO] * 3, (0.9, 0.5, 0.1)], 0.0, 4.0)
    nothing = [NO] * 4
    assert spans(find_segments([early, clip(nothing, 4.0, 8.0)], [0], [0.5], 8.0)) == [(3.0, 4.0)]
    assert spans(find_segments([early, clip(nothing, 3.0, 7.0)], [0], [0.5], 7.0)) == [(3.0, 3.6)]
    assert spans(find_segments([early], [0], [0.5], 4.0)) == [(3.0, 3.6)]  # the video ends: it need not go on so far


def test_windows_with_a_hole_between_them_are_not_joined() -> None:
    found = find_segments([clip(TO_THE_END, 0.0, 4.0), clip(FROM_THE_START, 8.0, 12.0)], [0], [0.5], 12.0)
    assert spans(found) == [(3.0, 4.0), (8.0, 10.0)]


def test_an_event_that_was_seen_to_end_is_not_joined_with_the_next() -> None:
    ends = [NO, NO, (0.9, 0.5, 0.5), NO]
    found = find_segments([clip(ends, 0.0, 4.0), clip(FROM_THE_START, 4.0, 8.0)], [0], [0.5], 8.0)
    assert spans(found) == [(2.0, 3.0), (4.0, 6.0)]


def test_an_event_that_windows_have_in_common_is_found_once() -> None:
    first = [NO, NO, (0.9, 0.5, 0.5), NO]
    again = [(0.8, 0.5, 0.5), NO, NO, NO]
    found = find_segments([clip(first, 0.0, 4.0), clip(again, 2.0, 6.0)], [0], [0.5], 6.0)
    assert spans(found) == [(2.0, 3.0)]


def test_an_event_longer_than_windows_that_overlap_is_one_segment() -> None:
    whole = [(0.9, 0.5, 0.5)] * 4
    begins = [NO, *whole[1:]]
    found = find_segments(
        [clip(begins, 0.0, 4.0), clip(whole, 2.0, 6.0), clip(whole, 4.0, 8.0), clip(FROM_THE_START, 6.0, 10.0)],
        [0],
        [0.5],
        10.0,
    )
    assert spans(found) == [(1.0, 8.0)]


def test_what_one_window_keeps_apart_stays_apart() -> None:
    window_s = (0.0, 4.0)
    parts = [Part(0.0, 2.5, 0.9, window_s, True, True), Part(2.0, 4.0, 0.8, window_s, True, True)]
    assert join(parts) == parts


# ---- small parts --------------------------------------------------------------------------------------------------


def test_overlap_is_shared_over_joint_time() -> None:
    others = np.array([[0.0, 4.0, 1.0], [2.0, 6.0, 1.0], [5.0, 6.0, 1.0]])
    assert overlap(np.array([0.0, 4.0, 1.0]), others).tolist() == [1.0, pytest.approx(1 / 3), 0.0]


def test_offsets_fit_a_byte() -> None:
    assert quantise_offsets(np.array([-0.1, 0.0, 0.5, 1.0, 1.5])).tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("shapes", [((2, 1), (2, 2, 2), 2), ((2, 1), (2, 1, 2), 3), ((2, 1), (2, 1), 2)])
def test_shapes_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...], int]) -> None:
    scores, offsets, num = shapes
    with pytest.raises(ValueError, match=r"scores, offsets and times: got .*, must be \[T, C\], \[T, C, 2\] and T"):
        ClipScores(np.zeros(scores), np.zeros(offsets), [0.0] * num, 0.0, 1.0)
