import pytest
import torch

from fal_model.encoder import COLOURS_FROM_RGB, PIXEL_MEAN, PIXEL_STD, PatchEmbedding, TokenMerge, VideoEncoder
from tests.helpers.micro import MICRO, micro_batch


def test_a_patch_is_a_square_of_the_normalised_frame() -> None:
    embed = PatchEmbedding(MICRO)
    frames = micro_batch(1)[0].frames_BTCHW
    x_BTPD = embed(frames)
    assert x_BTPD.shape == (1, 3, 25, 16)
    pixels = (frames[0, 1, :, 8:16, 16:24].float() / 255 - PIXEL_MEAN) / PIXEL_STD  # second row, third column
    colours = torch.tensor(COLOURS_FROM_RGB) @ pixels.flatten(1)
    torch.testing.assert_close(x_BTPD[0, 1, 7], embed.proj(colours.flatten()))


def test_grey_has_brightness_and_no_colour() -> None:
    assert (torch.tensor(COLOURS_FROM_RGB) @ torch.ones(3)).tolist() == pytest.approx([1, 0, 0])


def test_positions_tell_where_and_when() -> None:
    embed = PatchEmbedding(MICRO)
    with torch.no_grad():
        embed.space_PD[3] += 1
        embed.time_TD[2] += 10
    x_BTPD = embed(torch.zeros(1, 3, 3, 40, 40, dtype=torch.uint8))
    x_BTPD = x_BTPD - x_BTPD[0, 0, 0]
    assert x_BTPD[0, :, 3].mean(dim=-1).round().tolist() == [1, 1, 11]
    assert x_BTPD[0, :, 4].mean(dim=-1).round().tolist() == [0, 0, 10]


def test_merging_joins_neighbours_and_pads_the_far_edge() -> None:
    merge = TokenMerge(4, grid=3)
    x_BTPD = torch.randn(1, 1, 9, 4)
    merged = merge(x_BTPD)
    assert merged.shape == (1, 1, 4, 4)
    grid = x_BTPD.view(3, 3, 4)
    first = torch.cat((grid[0, 0], grid[0, 1], grid[1, 0], grid[1, 1]))
    torch.testing.assert_close(merged[0, 0, 0], merge.proj(merge.norm(first)))
    last = torch.cat((grid[2, 2], torch.zeros(12)))
    torch.testing.assert_close(merged[0, 0, 3], merge.proj(merge.norm(last)))


def test_features_of_every_stage_keep_all_frames() -> None:
    features = VideoEncoder(MICRO)(micro_batch(2)[0].frames_BTCHW)
    assert [tuple(f.shape) for f in features] == [(2, 3, 25, 16), (2, 3, 9, 16), (2, 3, 4, 16)]
