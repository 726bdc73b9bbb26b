"""Run the model on clips: the one predictor behind corpus labelling, evaluation and HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Self

import numpy as np
import torch

from fal_model.localization import quantise_offsets
from fal_model.model import FALModel
from pipelines.clip_batches import ClipArrays, ClipOutputs
from pipelines.model_files import load_model
from pipelines.tensors import clip_batch


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: several share a batch out among them, and what a clip gives depends on its share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class ClipPredictor:
    """A loaded model that takes prepared clips.

    Args:
        model: The model; put into evaluation mode.
        device: ``cpu``, ``cuda`` or ``cuda:N``; on CUDA it computes in 16 bit.
    """

    def __init__(self, model: FALModel, device: str = "cpu") -> None:
        self.model = model.eval().to(device)
        self.device = torch.device(device)

    @classmethod
    def load(cls, model_dir: str, device: str | None = None) -> Self:
        """Load a model directory, which may be in S3, onto a device; by default the GPU if there is one.

        Raises:
            ModelLoadError: the directory is missing something, damaged, or from a newer version.
        """
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(load_model(model_dir), chosen)

    def predict(self, clips: ClipArrays, batch_clips: int = 0) -> ClipOutputs:
        """Run one batch, which may be empty.

        Args:
            clips: The clips.
            batch_clips: Fill up with empty clips to so many. In batches of one size a clip gives the same numbers to
                the last bit on the same machine, whatever clips share its batch and at whichever place in it; on the
                CPU that takes a single thread. 0 computes no more than is asked, on all threads.
        """
        num_clips = len(clips.frames_BTHWC)
        if not num_clips:
            return self._no_outputs()
        batch = clip_batch(clips.filled_up(batch_clips)).to(self.device)
        on_gpu = self.device.type == "cuda"
        threads = nullcontext() if on_gpu or not batch_clips else _one_thread()
        with threads, torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=on_gpu):
            out = self.model(batch.frames_BTCHW, batch.flow_BTCHW, batch.flow_valid_BT)
        return ClipOutputs(
            out.logits_BK[:num_clips].float().cpu().numpy(),
            out.frame_logits_BTK[:num_clips].float().clamp(-60, 60).cpu().numpy().astype(np.float16),
            quantise_offsets(out.offsets_BTL2[:num_clips].float().cpu().numpy()),
            out.embedding_BE[:num_clips].float().cpu().numpy(),
        )

    def versions(self) -> dict[str, str]:
        """Return what has a say in the numbers besides the model: torch, the device, the number format."""
        is_on_gpu = self.device.type == "cuda"
        device = torch.cuda.get_device_name(self.device) if is_on_gpu else torch.backends.cpu.get_cpu_capability()
        return {"torch": torch.__version__, "device": device, "format": "bfloat16" if is_on_gpu else "float32"}

    def _no_outputs(self) -> ClipOutputs:
        config, taxonomy = self.model.config, self.model.taxonomy
        num_classes = len(taxonomy)
        return ClipOutputs(
            np.zeros((0, num_classes), np.float32),
            np.zeros((0, config.clip.num_frames, num_classes), np.float16),
            np.zeros((0, config.clip.num_frames, len(taxonomy.leaves), 2), np.uint8),
            np.zeros((0, config.embedding_dim), np.float32),
        )
