"""Places are local, each is asked for classes, and all three scales describe the frame."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fal_model.config import ModelConfig
from fal_model.motion import flow_channels
from fal_model.pyramid import FeaturePyramid, PlaceConv
from fal_model.spec import ClipSpec
from tests.helpers.micro import MICRO, micro_model

NUM_CLASSES = 7
LARGE = replace(MICRO, clip=ClipSpec(num_frames=7, size_px=320, flow_size_px=80))
"""Its maps have edges of 20, 10 and 5."""


def pyramid_of(config: ModelConfig = MICRO) -> FeaturePyramid:
    torch.manual_seed(0)
    return FeaturePyramid(config, NUM_CLASSES)


def inputs(config: ModelConfig = MICRO, size: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    found = micro_model(config=config).example_inputs(size)
    return found["frames"], found["flow"], found["flow_valid"]


def test_there_are_three_scales_of_every_frame() -> None:
    assert [tuple(x.shape) for x in pyramid_of().maps(*inputs())] == [(2, 8, 3, 3, 3), (2, 8, 3, 2, 2), (2, 8, 3, 1, 1)]


def test_it_says_something_of_every_frame_and_class() -> None:
    places = pyramid_of()(*inputs())
    assert places.frame_BTD.shape == (2, 3, MICRO.width)
    assert places.frame_logits_BTK.shape == (2, 3, NUM_CLASSES)
    assert places.logits_BK.shape == (2, NUM_CLASSES)


@pytest.mark.parametrize("stream", ["frames", "flow"])
def test_a_place_hears_of_its_surroundings_alone(stream: str) -> None:
    pyramid = pyramid_of(LARGE).double()
    for part in pyramid.modules():
        if isinstance(part, PlaceConv):
            part.norm = nn.Identity()  # type: ignore[assignment]  # it lets all places know how bright the clip is
    frames, flow, valid = inputs(LARGE, 1)
    flow = torch.zeros_like(flow)  # a few pixels that move are then no motion of the camera, which all places hear of
    changed_frames, changed_flow = frames.clone(), flow.clone()
    if stream == "frames":
        changed_frames[0, 3, :, 160:176, 160:176] = 255 - frames[0, 3, :, 160:176, 160:176]
    else:
        changed_flow[0, 3, :, 40:44, 40:44] += 5
    before, after = (pyramid.maps(*given, valid)[0] for given in ((frames, flow), (changed_frames, changed_flow)))
    heard_THW = ((after - before).abs().amax(dim=1) > 1e-12)[0]
    assert heard_THW[2:5, 10, 10].all()
    assert heard_THW.any(dim=2).any(dim=1).tolist() == [False, False, True, True, True, False, False]
    assert heard_THW.nonzero()[:, 1:].min() >= 7
    assert heard_THW.nonzero()[:, 1:].max() <= 13


def test_classes_are_the_mean_of_the_exponentials_of_all_places() -> None:
    pyramid, given = pyramid_of(), inputs()
    places = pyramid(*given)
    each_BTPK = pyramid.classes(
        nn.functional.gelu(pyramid.up(pyramid.place_norm(pyramid.maps(*given)[0].flatten(3).permute(0, 2, 3, 1))))
    )
    torch.testing.assert_close(places.frame_logits_BTK, each_BTPK.exp().mean(dim=2).log())
    torch.testing.assert_close(places.logits_BK, each_BTPK.exp().mean(dim=(1, 2)).log())


def test_every_scale_describes_the_frame() -> None:
    pyramid = pyramid_of()
    pyramid(*inputs()).frame_BTD.square().sum().backward()
    for part in (*pyramid.coarser, *pyramid.over_time):
        assert isinstance(part, PlaceConv)
        assert part.conv.weight.grad is not None
        assert part.conv.weight.grad.abs().max() > 0


@pytest.mark.parametrize("without", [{"motion_depth": 0}, {"fusion_depth": 0}])
def test_without_fusion_or_motion_it_sees_frames_alone(without: dict[str, int]) -> None:
    pyramid, (frames, flow, valid) = pyramid_of(replace(MICRO, **without)), inputs()  # type: ignore[arg-type]
    one, other = pyramid(frames, flow, valid), pyramid(frames, 2 * flow, valid)
    assert torch.equal(one.logits_BK, other.logits_BK)
    assert not any("motion" in name for name, _ in pyramid.named_parameters())


def test_flow_that_is_not_known_is_not_looked_at() -> None:
    pyramid, (frames, flow, valid) = pyramid_of(), inputs()
    valid[0, 1] = False
    other = flow.clone()
    other[0, 1] = torch.nan
    assert torch.equal(pyramid(frames, flow, valid).logits_BK, pyramid(frames, other, valid).logits_BK)
    assert not flow_channels(other, valid)[0, 1].any()


@pytest.mark.parametrize("flow_size_px", [6, 10, 33])
def test_flow_of_any_size_meets_the_frames(flow_size_px: int) -> None:
    config = replace(MICRO, clip=replace(MICRO.clip, flow_size_px=flow_size_px))
    frames, flow, valid = inputs(config)
    pyramid = pyramid_of(config)
    assert not torch.equal(pyramid(frames, flow, valid).logits_BK, pyramid(frames, -flow, valid).logits_BK)
