"""Ranges of long videos become whole videos, or one failure each, whatever order they come in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_model.errors import FalError
from pipelines.clip_batches import Failure, VideoMeta
from pipelines.video_ranges import join_ranges


def video(
    first: int, stop: int, num_windows: int = 10, *, video_id: str = "v", num_clips: int | None = None
) -> VideoMeta:
    return VideoMeta(
        video_id=video_id,
        uri="/v",
        sha256="abc",
        duration_s=100.0,
        num_windows=num_windows,
        first_window=first,
        next_window=stop,
        num_clips=stop - first if num_clips is None else num_clips,
    )


def failure(message: str, first_window: int = 0, video_id: str = "v") -> Failure:
    return Failure(
        video_id=video_id, uri="/v", stage="decode", kind="corrupt", message=message, first_window=first_window
    )


@given(data=st.data(), num_windows=st.integers(1, 40), step=st.integers(1, 40))
def test_ranges_in_any_order_make_the_video(data: st.DataObject, num_windows: int, step: int) -> None:
    ranges = [video(a, min(a + step, num_windows), num_windows) for a in range(0, num_windows, step)]
    joined = join_ranges(data.draw(st.permutations(ranges)), [], [])
    assert joined.videos == {"v": video(0, num_windows, num_windows)}
    assert joined.failures == {}


@given(data=st.data(), num_windows=st.integers(2, 20))
def test_a_range_too_few_or_too_many_is_refused(data: st.DataObject, num_windows: int) -> None:
    ranges = [video(a, a + 1, num_windows) for a in range(num_windows)]
    lost = data.draw(st.integers(0, num_windows - 1))
    where = "video 'v': ranges from windows .* do not make up its"
    with pytest.raises(FalError, match=where):
        join_ranges([r for i, r in enumerate(ranges) if i != lost], [], [])
    with pytest.raises(FalError, match=where):
        join_ranges([*ranges, ranges[lost]], [], [])


def test_one_failed_range_fails_the_video_and_the_first_in_the_video_is_told() -> None:
    ranges = [video(0, 4), video(4, 8)]
    late, early, other = failure("late", 8), failure("early", 4), failure("other", video_id="w")
    for found in ([late, early, other], [other, early, late]):
        joined = join_ranges(ranges[:1], found, [])
        assert joined.videos == {}
        assert joined.failures == {"v": early, "w": other}
    assert join_ranges(ranges, [], [late]).failures == {"v": late}


def test_a_whole_video_that_also_failed_is_left_for_the_merge_to_notice() -> None:
    joined = join_ranges([video(0, 10)], [failure("x")], [])
    assert list(joined.videos) == list(joined.failures) == ["v"]


def test_another_file_under_the_same_name_is_a_failure() -> None:
    changed = replace(video(4, 10), sha256="other")
    joined = join_ranges([video(0, 4), changed], [], [])
    (told,) = joined.failures.values()
    assert joined.videos == {}
    assert (told.kind, told.stage, told.message) == (
        "storage_error",
        "open",
        "the file was changed while its parts were read",
    )


def test_a_range_may_be_empty_but_not_all_of_them() -> None:
    empty, full = video(0, 4, num_clips=0), video(4, 10, num_clips=5)
    assert join_ranges([empty, full], [], []).videos["v"].num_clips == 5
    joined = join_ranges([empty, video(4, 10, num_clips=0)], [], [])
    (told,) = joined.failures.values()
    assert (joined.videos, told.kind, told.message) == ({}, "no_frames", "no frame could be decoded")
