from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.ablation_peers import (
    ALONE,
    CNN_STAGES,
    CONVOLUTIONS,
    PEERS,
    TIMESFORMER,
    VIDEOMAE,
    ConvolvedFrames,
    TimesformerFrames,
    VideoMaeFrames,
    build,
    fitted,
    gflop,
)
from fal_model.model import FALModel
from fal_model.presets import fal_nano
from fal_model.spec import ClipSpec
from tests.helpers.model import MICRO, TREE

SMALL = replace(fal_nano(), clip=replace(fal_nano().clip, size_px=64, flow_size_px=16))
"""Wide enough for its width to be fitted finely."""


@pytest.mark.parametrize("peer", ["", *PEERS])
def test_every_model_answers_in_the_same_shapes(peer: str) -> None:
    torch.manual_seed(0)
    inputs = FALModel(MICRO, TREE).example_inputs(2)
    model, module = build(peer, MICRO, TREE)
    output = module.eval()(*inputs.values())
    num_classes, num_frames = len(TREE), MICRO.clip.num_frames
    assert output.logits_BK.shape == (2, num_classes)
    assert output.frame_logits_BTK.shape == (2, num_frames, num_classes)
    assert output.offsets_BTL2.shape == (2, num_frames, len(TREE.leaves), 2)
    torch.testing.assert_close(output.embedding_BE.norm(dim=1), torch.ones(2))
    assert model.taxonomy is TREE
    assert {id(p) for p in module.parameters()} == {id(p) for p in model.parameters()}


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_sees_no_flow(peer: str) -> None:
    torch.manual_seed(0)
    inputs = FALModel(MICRO, TREE).example_inputs(2)
    _, module = build(peer, MICRO, TREE)
    module.eval()
    before = module(*inputs.values()).logits_BK
    after = module(inputs["frames"], inputs["flow"] + 5, inputs["flow_valid"]).logits_BK
    assert torch.equal(before, after)
    assert not torch.equal(before, module(255 - inputs["frames"], *list(inputs.values())[1:]).logits_BK)


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_computes_as_much_as_the_full_model(peer: str) -> None:
    goal = gflop("", SMALL, TREE)
    sizes = fitted(peer, SMALL, TREE)
    assert gflop(peer, sizes, TREE) == pytest.approx(goal, rel=0.1)
    assert replace(sizes, width=SMALL.width) == SMALL


def test_a_wrong_clip_is_refused_by_a_peer_too() -> None:
    inputs = FALModel(MICRO, TREE).example_inputs(1)
    _, module = build(CONVOLUTIONS, MICRO, TREE)
    with pytest.raises(
        ValueError, match=r"frames: got \[1, 4, 3, 32, 16\], must be \[B, 4, 3, 32, 32\] for this model"
    ):
        module(inputs["frames"][..., :16], inputs["flow"], inputs["flow_valid"])


def frames_with_change_at(place: int, clip: ClipSpec) -> tuple[Tensor, Tensor]:
    """Return normalised clips that differ in one frame only."""
    dice = torch.Generator().manual_seed(3)
    first = torch.randn(1, clip.num_frames, 3, clip.size_px, clip.size_px, generator=dice)
    second = first.clone()
    second[:, place] = torch.randn(3, clip.size_px, clip.size_px, generator=dice)
    return first, second


def changed_frames(encoder: nn.Module, place: int, clip: ClipSpec = MICRO.clip) -> list[float]:
    """Return how far the features of each frame move when one frame changes, relative to the farthest."""
    first, second = frames_with_change_at(place, clip)
    with torch.no_grad():
        moved_T = (encoder.eval()(first) - encoder(second)).norm(dim=-1)[0]
    shares: list[float] = (moved_T / moved_T.max()).tolist()
    return shares


def test_the_frames_of_a_peer_are_in_order() -> None:
    torch.manual_seed(0)
    place = MICRO.clip.num_frames - 1
    timesformer = changed_frames(TimesformerFrames(MICRO), place)
    assert max(range(place + 1), key=timesformer.__getitem__) == place
    tubelets = changed_frames(VideoMaeFrames(MICRO), place)
    assert tubelets[place] == tubelets[place - 1] == 1.0
    assert tubelets[0] < 1.0


def test_convolutions_keep_time_and_reach_so_far() -> None:
    torch.manual_seed(0)
    long = replace(MICRO, clip=replace(MICRO.clip, num_frames=12))
    reach = 2 * CNN_STAGES  # two convolutions over three frames in each stage's only block
    moved = changed_frames(ConvolvedFrames(long), place=0, clip=long.clip)
    assert [share > 0 for share in moved] == [t <= reach for t in range(12)]


def test_peers_are_told_apart_by_name() -> None:
    assert len({TIMESFORMER, VIDEOMAE, CONVOLUTIONS, ALONE, ""}) == 1 + len(PEERS)
