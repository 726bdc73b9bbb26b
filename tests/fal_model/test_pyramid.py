from dataclasses import replace

import torch
from torch import Tensor

from fal_model.pyramid import FeaturePyramid, double
from tests.helpers.micro import MICRO


def features() -> list[Tensor]:
    return [torch.randn(2, 3, grid**2, 16) for grid in MICRO.grids]


def tokens() -> Tensor:
    return torch.randn(2, 3, 16)


def test_every_scale_changes_the_description_of_its_frame_only() -> None:
    pyramid, maps, token = FeaturePyramid(MICRO), features(), tokens()
    base = pyramid(maps, token)
    assert base.shape == (2, 3, 16)
    for scale in range(3):
        changed = [m.clone() for m in maps]
        changed[scale][1, 2, 0, 5] += 3
        difference = (pyramid(changed, token) - base).abs().amax(dim=-1)
        assert difference[1, 2] > 1e-4
        assert difference.sum() == difference[1, 2]


def test_coarse_features_reach_the_fine_map() -> None:
    pyramid, maps = FeaturePyramid(MICRO), features()
    changed = [*maps[:2], maps[2] + torch.randn(16)]
    fine, before = pyramid._top_down(changed)[0], pyramid._top_down(maps)[0]
    assert fine.shape == (6, 8, 5, 5)
    assert ((fine - before).abs().amax(dim=1) > 1e-4).all()


def test_doubling_repeats_every_cell() -> None:
    doubled = double(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert doubled[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


def test_without_scales_the_coarsest_stage_describes_the_frame() -> None:
    pyramid, maps = FeaturePyramid(replace(MICRO, pyramid_width=0)), features()
    mean, token = pyramid.top_norm(maps[-1]).mean(dim=2), tokens()
    torch.testing.assert_close(pyramid(maps, token), mean + torch.nn.functional.layer_norm(token, (16,), eps=1e-6))


def test_a_frame_token_speaks_for_its_frame_only() -> None:
    pyramid, maps, token = FeaturePyramid(MICRO), features(), tokens()
    changed = token.clone()
    changed[1, 2, 5] += 3
    difference = (pyramid(maps, changed) - pyramid(maps, token)).abs().amax(dim=-1)
    assert difference[1, 2] > 1e-2
    assert difference.sum() == difference[1, 2]


def test_a_model_without_frame_tokens_has_no_weights_for_them() -> None:
    pyramid, maps = FeaturePyramid(replace(MICRO, has_frame_token=False)), features()
    assert pyramid.token_norm is None
    assert pyramid(maps, None).shape == (2, 3, 16)
