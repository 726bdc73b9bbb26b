from dataclasses import replace

import pytest
import torch

from fal_model.encoder import COLOURS_FROM_RGB, PIXEL_MEAN, PIXEL_STD, PatchEmbedding, TokenMerge, VideoEncoder
from tests.helpers.micro import MICRO, micro_batch
from tests.helpers.stages import stage_features


def test_a_patch_is_a_square_of_the_normalised_frame() -> None:
    embed = PatchEmbedding(MICRO)
    frames = micro_batch(1)[0].frames_BTCHW
    x_BTPD = embed(frames)
    assert x_BTPD.shape == (1, 3, 26, 16)
    pixels = (frames[0, 1, :, 8:16, 16:24].float() / 255 - PIXEL_MEAN) / PIXEL_STD  # second row, third column
    colours = torch.tensor(COLOURS_FROM_RGB) @ pixels.flatten(1)
    torch.testing.assert_close(x_BTPD[0, 1, 1 + 7], embed.proj(colours.flatten()))


def test_grey_has_brightness_and_no_colour() -> None:
    assert (torch.tensor(COLOURS_FROM_RGB) @ torch.ones(3)).tolist() == pytest.approx([1, 0, 0])


def test_positions_tell_where_and_when() -> None:
    embed = PatchEmbedding(replace(MICRO, has_frame_token=False))
    with torch.no_grad():
        embed.space_PD[3] += 1
        embed.time_TD[2] += 10
    x_BTPD = embed(torch.zeros(1, 3, 3, 40, 40, dtype=torch.uint8))
    x_BTPD = x_BTPD - x_BTPD[0, 0, 0]
    assert x_BTPD[0, :, 3].mean(dim=-1).round().tolist() == [1, 1, 11]
    assert x_BTPD[0, :, 4].mean(dim=-1).round().tolist() == [0, 0, 10]


def test_the_frame_token_comes_first_and_is_the_same_everywhere() -> None:
    embed = PatchEmbedding(MICRO)
    assert embed.frame_D is not None
    with torch.no_grad():
        embed.frame_D.normal_()
        embed.time_TD.normal_()
    x_BTPD = embed(micro_batch(2)[0].frames_BTCHW)
    torch.testing.assert_close(x_BTPD[:, :, 0], embed.frame_D.expand(2, 3, 16))


def test_tokens_can_be_normalised_before_the_first_block() -> None:
    frames = micro_batch(1)[0].frames_BTCHW
    embed = PatchEmbedding(replace(MICRO, has_input_norm=True))
    x_BTPD = embed(frames)
    assert x_BTPD.shape == (1, 3, 26, 16)
    torch.testing.assert_close(x_BTPD[:, :, 1:].mean(dim=-1), torch.zeros(1, 3, 25), atol=1e-5, rtol=0)
    torch.testing.assert_close(x_BTPD[:, :, 1:].square().mean(dim=-1), torch.ones(1, 3, 25), atol=1e-3, rtol=0)


def test_merging_joins_neighbours_and_repeats_the_far_edge() -> None:
    merge = TokenMerge(4, grid=3)
    x_BTPD = torch.randn(1, 1, 9, 4)
    merged = merge(x_BTPD)
    assert merged.shape == (1, 1, 4, 4)
    grid = x_BTPD.view(3, 3, 4)
    first = torch.cat((grid[0, 0], grid[0, 1], grid[1, 0], grid[1, 1]))
    torch.testing.assert_close(merged[0, 0, 0], first.view(4, 4).mean(dim=0) + merge.out(merge.norm(first)))
    last = torch.cat((grid[2, 2],) * 4)
    torch.testing.assert_close(merged[0, 0, 3], grid[2, 2] + merge.out(merge.norm(last)))


@pytest.mark.parametrize("edge", [3, 4])
def test_merging_is_average_pooling_while_its_layer_is_zero(edge: int) -> None:
    merge = TokenMerge(4, grid=edge)
    torch.nn.init.zeros_(merge.out.weight)
    torch.nn.init.zeros_(merge.out.bias)
    x_BTPD = torch.randn(2, 3, edge**2, 4)
    picture = x_BTPD.flatten(0, 1).transpose(1, 2).unflatten(2, (edge, edge))  # type: ignore[no-untyped-call]  # torch's own
    pooled = torch.nn.functional.avg_pool2d(picture, 2, ceil_mode=True, count_include_pad=False)
    torch.testing.assert_close(merge(x_BTPD).flatten(0, 1).transpose(1, 2), pooled.flatten(2))


@pytest.mark.parametrize("has_frame_token", [True, False])
def test_features_of_every_stage_keep_all_frames(has_frame_token: bool) -> None:
    config = replace(MICRO, has_frame_token=has_frame_token)
    features, token_BTD = stage_features(VideoEncoder(config), micro_batch(2)[0].frames_BTCHW)
    assert [tuple(f.shape) for f in features] == [(2, 3, 25, 16), (2, 3, 9, 16), (2, 3, 4, 16)]
    assert (None if token_BTD is None else tuple(token_BTD.shape)) == ((2, 3, 16) if has_frame_token else None)


def test_frame_tokens_see_their_frame_and_through_its_patches_the_others() -> None:
    encoder, frames = VideoEncoder(MICRO), micro_batch(1)[0].frames_BTCHW
    changed = frames.clone()
    changed[0, 1] = 255 - changed[0, 1]
    before, after = encoder(frames)[1], encoder(changed)[1]
    assert before is not None
    assert after is not None
    assert ((after - before).abs().amax(dim=-1)[0] > 1e-5).all()


def test_merging_leaves_the_frame_token_alone() -> None:
    encoder, frames = VideoEncoder(MICRO), micro_batch(1)[0].frames_BTCHW
    for parameter in encoder.merges.parameters():
        torch.nn.init.zeros_(parameter)
    encoder.stages = torch.nn.ModuleList(torch.nn.Sequential(torch.nn.Identity()) for _ in range(3))
    features, token_BTD = stage_features(encoder, frames)
    torch.testing.assert_close(token_BTD, encoder.embed(frames)[:, :, 0])
    torch.testing.assert_close(features[1][:, :, 0], features[0].view(1, 3, 5, 5, 16)[:, :, :2, :2].mean(dim=(2, 3)))
