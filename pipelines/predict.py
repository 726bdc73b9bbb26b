"""Run the model on clips: the one predictor behind corpus labelling, evaluation and HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from fal_model.localization import quantise_offsets
from fal_model.model import FALModel
from pipelines.clip_batches import ClipArrays
from pipelines.tensors import clip_batch


@dataclass(frozen=True, slots=True)
class ClipOutputs:
    """Raw outputs for B clips.

    Attributes:
        logits_BK: Uncalibrated logits.
        frame_logits_BTK: The same at each frame.
        offsets_BTL2: Distances from each frame to the borders of each leaf class, in 255ths of a stratum.
        embedding_BD: Embedding of unit length.
    """

    logits_BK: npt.NDArray[np.float32]
    frame_logits_BTK: npt.NDArray[np.float16]
    offsets_BTL2: npt.NDArray[np.uint8]
    embedding_BD: npt.NDArray[np.float32]


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
        """Load a model directory onto a device; by default the GPU if there is one.

        Raises:
            ModelLoadError: the directory is missing something, damaged, or from a newer version.
        """
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(FALModel.from_pretrained(model_dir), chosen)

    def predict(self, clips: ClipArrays) -> ClipOutputs:
        """Run one batch, which may be empty. The same batch gives the same numbers on the same machine."""
        if not len(clips.frames_BTHWC):
            return self._no_outputs()
        batch = clip_batch(clips).to(self.device)
        on_gpu = self.device.type == "cuda"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=on_gpu):
            out = self.model(batch.frames_BTCHW, batch.flow_BTCHW, batch.flow_valid_BT)
        return ClipOutputs(
            out.logits_BK.float().cpu().numpy(),
            out.frame_logits_BTK.float().clamp(-60, 60).cpu().numpy().astype(np.float16),
            quantise_offsets(out.offsets_BTL2.float().cpu().numpy()),
            out.embedding_BE.float().cpu().numpy(),
        )

    def _no_outputs(self) -> ClipOutputs:
        config, taxonomy = self.model.config, self.model.taxonomy
        num_classes = len(taxonomy)
        return ClipOutputs(
            np.zeros((0, num_classes), np.float32),
            np.zeros((0, config.clip.num_frames, num_classes), np.float16),
            np.zeros((0, config.clip.num_frames, len(taxonomy.leaves), 2), np.uint8),
            np.zeros((0, config.embedding_dim), np.float32),
        )
