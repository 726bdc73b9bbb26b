"""A batch comes out of its row as it went in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.clip_batches import (
    SCHEMA,
    BatchMeta,
    ClipArrays,
    ClipMeta,
    ClipOutputs,
    Failure,
    KnownVideo,
    VideoMeta,
    arrays_of,
    error_row,
    to_row,
)
from tests.helpers.model import SPEC, random_arrays, random_clip

TEXT = st.text(max_size=20)
SECONDS = st.floats(allow_nan=False, allow_infinity=False)
COUNT = st.integers(0, 2**31 - 1)
CLIPS = st.builds(
    ClipMeta,
    video_id=TEXT,
    clip_index=COUNT,
    start_s=SECONDS,
    end_s=SECONDS,
    covered_s=SECONDS,
    num_substituted=COUNT,
    input_sha256=TEXT,
    frame_times_s=st.lists(SECONDS, max_size=4),
)
VIDEOS = st.builds(VideoMeta, video_id=TEXT, uri=TEXT, sha256=TEXT, duration_s=SECONDS, num_clips=COUNT)
KNOWN = st.builds(KnownVideo, video_id=TEXT, uri=TEXT, sha256=TEXT, part=TEXT)
FAILURES = st.builds(Failure, video_id=TEXT, uri=TEXT, stage=TEXT, kind=TEXT, message=TEXT, attempts=COUNT)
METAS = st.builds(
    BatchMeta,
    clips=st.lists(CLIPS, max_size=3),
    videos=st.lists(VIDEOS, max_size=3),
    known=st.lists(KNOWN, max_size=3),
    failures=st.lists(FAILURES, max_size=3),
    thumbnails=st.dictionaries(TEXT, TEXT, max_size=2),
    versions=st.dictionaries(TEXT, TEXT, max_size=2),
    busy_s=SECONDS,
)


@settings(deadline=None, max_examples=50)
@given(METAS)
def test_what_is_known_about_a_batch_keeps_every_bit(meta: BatchMeta) -> None:
    assert BatchMeta.from_json(meta.to_json()) == meta


ITEM = {"part_index": 3, "part": "part-a", "item_index": 5}


def test_an_error_is_one_row_too() -> None:
    (row,) = error_row(ITEM, "no disk").to_pylist()
    assert error_row(ITEM, "no disk").schema.equals(SCHEMA)
    assert {name: row[name] for name in ITEM} == ITEM
    assert (row["is_last"], row["error"]) == (True, "no disk")


def test_a_batch_is_filled_up_with_empty_clips() -> None:
    arrays = random_arrays(2)
    full = arrays.filled_up(5)
    for name in ("frames_BTHWC", "flow_q_BTHWC", "flow_valid_BT"):
        mine, theirs = getattr(arrays, name), getattr(full, name)
        assert (mine.dtype, theirs.shape) == (theirs.dtype, (5, *mine.shape[1:]))
        np.testing.assert_array_equal(theirs[:2], mine)
        assert not theirs[2:].any()
    assert arrays.filled_up(2) is arrays
    assert arrays.filled_up(0) is arrays


@pytest.mark.parametrize("num_clips", [0, 1, 3])
def test_a_batch_is_one_row(num_clips: int) -> None:
    meta, arrays = BatchMeta(busy_s=0.1), random_arrays(num_clips)
    table = to_row(ITEM, 7, is_last=True, meta=meta, arrays=arrays)
    assert table.schema.equals(SCHEMA)
    (row,) = table.to_pylist()
    assert {name: row[name] for name in ITEM} == ITEM
    assert (row["batch_index"], row["is_last"], row["error"]) == (7, True, "")
    assert BatchMeta.from_json(row["meta"]) == meta
    found = arrays_of(row, SPEC)
    for name in ("frames_BTHWC", "flow_q_BTHWC", "flow_valid_BT"):
        mine, theirs = getattr(arrays, name), getattr(found, name)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def test_clips_are_stacked_in_order() -> None:
    clips = [random_clip(1), random_clip(2)]
    arrays = ClipArrays.from_clips(clips, SPEC)
    for i, clip in enumerate(clips):
        np.testing.assert_array_equal(arrays.frames_BTHWC[i], clip.frames_THWC)
        np.testing.assert_array_equal(arrays.flow_q_BTHWC[i], clip.flow_q_THWC)
        np.testing.assert_array_equal(arrays.flow_valid_BT[i], clip.flow_valid_T)


def test_no_clips_have_the_shape_of_the_specification() -> None:
    arrays = ClipArrays.from_clips([], SPEC)
    assert arrays.frames_BTHWC.shape == (0, 4, 32, 32, 3)
    assert arrays.flow_q_BTHWC.shape == (0, 4, 8, 8, 2)
    assert arrays.flow_valid_BT.shape == (0, 4)


def test_clips_of_which_something_is_no_number_are_told() -> None:
    out = ClipOutputs(
        np.zeros((4, 3), np.float32),
        np.zeros((4, 2, 3), np.float16),
        np.zeros((4, 2, 2, 2), np.uint8),
        np.zeros((4, 5), np.float32),
    )
    assert out.are_numbers().tolist() == [True] * 4
    out.logits_BK[0, 1] = np.nan
    out.frame_logits_BTK[2, 1, 0] = np.inf
    out.embedding_BD[3, 4] = -np.inf
    assert out.are_numbers().tolist() == [False, True, False, False]
