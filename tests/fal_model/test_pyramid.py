from dataclasses import replace

import torch
from torch import Tensor

from fal_model.pyramid import FeaturePyramid, double
from tests.helpers.micro import MICRO


def features() -> list[Tensor]:
    return [torch.randn(2, 3, grid**2, 16) for grid in MICRO.grids]


def test_every_scale_changes_the_description_of_its_frame_only() -> None:
    pyramid, maps = FeaturePyramid(MICRO), features()
    base = pyramid(maps)
    assert base.shape == (2, 3, 16)
    for scale in range(3):
        changed = [m.clone() for m in maps]
        changed[scale][1, 2, 0, 5] += 3
        difference = (pyramid(changed) - base).abs().amax(dim=-1)
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
    torch.testing.assert_close(pyramid(maps), pyramid.top_norm(maps[-1]).mean(dim=2))
