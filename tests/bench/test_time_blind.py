from __future__ import annotations

from dataclasses import replace

import torch

from bench.time_blind import FrameByFrame, Shuffled
from fal_model.batch import ModelOutput
from fal_model.model import FALModel
from tests.helpers.micro import MICRO, small_tree


def test_a_model_of_single_frames_does_not_see_their_order() -> None:
    config = MICRO
    inputs = FALModel(config, small_tree()).example_inputs(2)
    order = torch.randperm(config.clip.num_frames, generator=torch.Generator().manual_seed(1))
    alone = replace(config, clip=replace(config.clip, num_frames=1), motion_depth=0)
    model = FrameByFrame(FALModel(alone, small_tree())).eval()

    first = model(*inputs.values())
    again = model(*(x[:, order] for x in inputs.values()))

    torch.testing.assert_close(again.logits_BK, first.logits_BK)
    torch.testing.assert_close(again.frame_logits_BTK, first.frame_logits_BTK[:, order])
    torch.testing.assert_close(again.offsets_BTL2, first.offsets_BTL2[:, order])
    assert first.frame_logits_BTK.shape[1] == config.clip.num_frames


class FirstPixels(torch.nn.Module):
    """Says of each frame what its first pixel is, and of the clip what the first frame's is."""

    def forward(self, frames: torch.Tensor, flow: torch.Tensor, flow_valid: torch.Tensor) -> ModelOutput:
        pixel_BT1 = frames[:, :, 0, 0, :1].float()
        assert torch.equal(flow[:, :, 0, 0, :1], pixel_BT1), "a frame has lost its flow"
        assert flow_valid.all()
        return ModelOutput(pixel_BT1[:, 0], pixel_BT1, pixel_BT1[:, 0], pixel_BT1[..., None].expand(-1, -1, 1, 2))


def test_shuffled_frames_keep_their_flow_and_get_their_logits_back() -> None:
    pixel_BT = torch.arange(24, dtype=torch.uint8).view(3, 8)
    frames = pixel_BT[:, :, None, None, None].expand(-1, -1, 3, 16, 16)
    flow = pixel_BT.float()[:, :, None, None, None].expand(-1, -1, 2, 4, 4)

    output = Shuffled(FirstPixels())(frames, flow, torch.ones(3, 8, dtype=torch.bool))

    assert torch.equal(output.frame_logits_BTK[:, :, 0], pixel_BT.float())
    assert torch.equal(output.offsets_BTL2[:, :, 0, 1], pixel_BT.float())
    # Which frame came first differs from clip to clip.
    assert len(set((output.logits_BK[:, 0] % 8).tolist())) > 1
