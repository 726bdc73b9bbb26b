"""Clips become tensors without a value out of place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fal_model.flow_codec import decode_flow
from pipelines.clip_batches import ClipArrays
from pipelines.tensors import clip_batch
from tests.helpers.model import SPEC, random_arrays


def test_channels_come_first_and_flow_is_in_pixels() -> None:
    arrays = random_arrays(3)
    batch = clip_batch(arrays)
    assert (batch.frames_BTCHW.dtype, batch.flow_BTCHW.dtype) == (torch.uint8, torch.float32)
    assert batch.frames_BTCHW.shape == (3, 4, 3, 32, 32)
    assert batch.flow_BTCHW.shape == (3, 4, 2, 8, 8)
    for channel in range(3):
        np.testing.assert_array_equal(batch.frames_BTCHW[:, :, channel], arrays.frames_BTHWC[..., channel])
    for component in range(2):
        flow_px = decode_flow(arrays.flow_q_BTHWC)[..., component]
        np.testing.assert_array_equal(batch.flow_BTCHW[:, :, component], flow_px)
    np.testing.assert_array_equal(batch.flow_valid_BT, arrays.flow_valid_BT)
    assert batch.frames_BTCHW.is_contiguous()
    assert batch.flow_BTCHW.is_contiguous()


def test_bytes_that_may_not_be_written_are_copied() -> None:
    arrays = random_arrays(1)
    locked = ClipArrays(
        np.frombuffer(arrays.frames_BTHWC.tobytes(), np.uint8).reshape(arrays.frames_BTHWC.shape),
        np.frombuffer(arrays.flow_q_BTHWC.tobytes(), np.int8).reshape(arrays.flow_q_BTHWC.shape),
        np.frombuffer(arrays.flow_valid_BT.tobytes(), np.bool_).reshape(arrays.flow_valid_BT.shape),
    )
    batch = clip_batch(locked)
    batch.frames_BTCHW.zero_()
    batch.flow_valid_BT.zero_()
    np.testing.assert_array_equal(locked.frames_BTHWC, arrays.frames_BTHWC)
    np.testing.assert_array_equal(locked.flow_valid_BT, arrays.flow_valid_BT)


def test_no_clips_are_a_batch_of_none() -> None:
    assert len(clip_batch(ClipArrays.from_clips([], SPEC))) == 0


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    arrays = random_arrays(2)
    with pytest.raises(ValueError, match=r"flow: got \[1, 4\] clips and frames, must be \[2, 4\]"):
        clip_batch(ClipArrays(arrays.frames_BTHWC, arrays.flow_q_BTHWC[:1], arrays.flow_valid_BT))
