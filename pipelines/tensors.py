"""Prepared clips as the tensors a model takes. Training, labelling and HTTP go through here alike."""

from __future__ import annotations

import numpy as np
import torch

from fal_model.batch import ClipBatch
from fal_model.flow_codec import decode_flow
from pipelines.clip_batches import ClipArrays


def clip_batch(arrays: ClipArrays) -> ClipBatch:
    """Put channels first and decode the flow: frames [B, T, 3, H, W] uint8, flow [B, T, 2, h, w] float32."""
    return ClipBatch(
        torch.from_numpy(np.ascontiguousarray(arrays.frames_BTHWC.transpose(0, 1, 4, 2, 3))),
        torch.from_numpy(np.ascontiguousarray(decode_flow(arrays.flow_q_BTHWC).transpose(0, 1, 4, 2, 3))),
        torch.from_numpy(arrays.flow_valid_BT.copy()),
    )
