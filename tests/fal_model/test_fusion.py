from dataclasses import replace

import torch

from fal_model.fusion import TemporalFusion
from tests.helpers.micro import MICRO


def test_every_token_hears_of_motion_in_any_frame() -> None:
    fusion = TemporalFusion(MICRO)
    x, motion = torch.randn(1, 3, 4, 16), torch.randn(1, 3, 4, 16)
    changed = motion.clone()
    changed[0, 2, 1, 5] += 3
    difference = (fusion(x, changed) - fusion(x, motion)).abs().amax(dim=-1)
    assert difference.shape == (1, 3, 4)
    assert (difference > 1e-5).all()


def test_every_token_hears_of_every_frame() -> None:
    fusion = TemporalFusion(replace(MICRO, motion_depth=0))
    x = torch.randn(1, 3, 4, 16)
    changed = x.clone()
    changed[0, 0, 0, 5] += 3
    assert ((fusion(changed, None) - fusion(x, None)).abs().amax(dim=-1) > 1e-5).all()


def test_without_blocks_the_mean_motion_of_the_frame_is_added() -> None:
    fusion = TemporalFusion(replace(MICRO, fusion_depth=0))
    x, motion = torch.randn(2, 3, 4, 16), torch.randn(2, 3, 9, 16)
    torch.testing.assert_close(fusion(x, motion), x + motion.mean(dim=2, keepdim=True))
    assert torch.equal(fusion(x, None), x)
