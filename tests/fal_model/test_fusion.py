"""Fusion hears of every frame and of motion in any frame, and leaves one vector for each."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from fal_model.fusion import TemporalFusion
from tests.helpers.micro import MICRO


def test_every_frame_hears_of_motion_in_any_frame() -> None:
    fusion = TemporalFusion(MICRO)
    x, motion = torch.randn(1, 3, 4, 16), torch.randn(1, 3, 4, 16)
    changed = motion.clone()
    changed[0, 2, 1, 5] += 3
    difference = (fusion(x, None, changed) - fusion(x, None, motion)).abs().amax(dim=-1)
    assert difference.shape == (1, 3)
    assert (difference > 1e-5).all()


def test_every_frame_hears_of_every_frame() -> None:
    fusion = TemporalFusion(replace(MICRO, motion_depth=0))
    x = torch.randn(1, 3, 4, 16)
    changed = x.clone()
    changed[0, 0, 0, 5] += 3
    assert ((fusion(changed, None, None) - fusion(x, None, None)).abs().amax(dim=-1) > 1e-5).all()


def test_without_blocks_a_frame_is_the_mean_of_its_tokens_its_token_and_its_motion() -> None:
    fusion = TemporalFusion(replace(MICRO, fusion_depth=0))
    x, token, motion = torch.randn(2, 3, 4, 16), torch.randn(2, 3, 16), torch.randn(2, 3, 9, 16)
    mean = F.layer_norm(x, (16,), eps=1e-6).mean(dim=2)
    torch.testing.assert_close(fusion(x, None, None), mean)
    torch.testing.assert_close(fusion(x, token, None), mean + F.layer_norm(token, (16,), eps=1e-6))
    moved = F.layer_norm(x + motion.mean(dim=2, keepdim=True), (16,), eps=1e-6).mean(dim=2)
    torch.testing.assert_close(fusion(x, None, motion), moved + motion.mean(dim=2))


@pytest.mark.parametrize("depth", [0, 1])
def test_a_frame_token_speaks_for_its_frame_only(depth: int) -> None:
    fusion = TemporalFusion(replace(MICRO, fusion_depth=depth))
    x, token = torch.randn(2, 3, 4, 16), torch.randn(2, 3, 16)
    changed = token.clone()
    changed[1, 2, 5] += 3
    motion = torch.randn(2, 3, 9, 16)
    difference = (fusion(x, changed, motion) - fusion(x, token, motion)).abs().amax(dim=-1)
    assert difference[1, 2] > 1e-2
    assert difference.sum() == difference[1, 2]


def test_a_model_without_frame_tokens_has_no_weights_for_them() -> None:
    assert TemporalFusion(replace(MICRO, has_frame_token=False)).token_norm is None
