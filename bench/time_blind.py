"""Models that cannot tell the order of time: each frame alone, and frames in random order."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fal_model.batch import ModelOutput
from fal_model.model import FALModel


class FrameByFrame(nn.Module):
    """A model of single frames, applied to each frame of a clip; the clip's logits are the mean of its frames'.

    Args:
        model: Of one frame per clip, without a flow stream.
    """

    def __init__(self, model: FALModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames_BTCHW: Tensor, flow_BTCHW: Tensor, flow_valid_BT: Tensor) -> ModelOutput:
        """Take and return what :class:`FALModel` does."""
        batch, num_frames = frames_BTCHW.shape[:2]
        # Frames become clips of one frame each.
        each = (x.flatten(0, 1).unsqueeze(1) for x in (frames_BTCHW, flow_BTCHW, flow_valid_BT))
        output: ModelOutput = self.model(*each)
        embedding_BE = output.embedding_BE.view(batch, num_frames, -1).mean(dim=1)
        return ModelOutput(
            logits_BK=output.logits_BK.view(batch, num_frames, -1).mean(dim=1),
            frame_logits_BTK=output.frame_logits_BTK.view(batch, num_frames, -1),
            embedding_BE=F.normalize(embedding_BE, dim=-1),
            offsets_BTL2=output.offsets_BTL2.view(batch, num_frames, -1, 2),
        )


class Shuffled(nn.Module):
    """A model whose frames come in random order, each with its own flow; what is said of frames goes back to them.

    Args:
        model: Any model of clips.
        seed: Seed of the orders.
    """

    def __init__(self, model: nn.Module, seed: int = 0) -> None:
        super().__init__()
        self.model = model
        self.dice = torch.Generator().manual_seed(seed)

    def forward(self, frames_BTCHW: Tensor, flow_BTCHW: Tensor, flow_valid_BT: Tensor) -> ModelOutput:
        """Take and return what :class:`FALModel` does."""
        batch, num_frames = frames_BTCHW.shape[:2]
        order_BT = torch.rand(batch, num_frames, generator=self.dice).argsort(dim=1)
        rows_B1 = torch.arange(batch)[:, None]
        shuffled = (x[rows_B1, order_BT] for x in (frames_BTCHW, flow_BTCHW, flow_valid_BT))
        output: ModelOutput = self.model(*shuffled)
        back_BT = order_BT.argsort(dim=1)
        return output._replace(
            frame_logits_BTK=output.frame_logits_BTK[rows_B1, back_BT],
            offsets_BTL2=output.offsets_BTL2[rows_B1, back_BT],
        )
