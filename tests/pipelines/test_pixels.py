from __future__ import annotations

import numpy as np
import pytest

from pipelines import pixels
from tests.helpers.video import panning_frames, texture


def test_a_constant_picture_stays_constant_at_any_size() -> None:
    image_HWC = np.full((30, 50, 3), 77, np.uint8)
    for height_px, width_px in ((10, 10), (100, 80)):
        resized_HWC = pixels.resize(image_HWC, height_px, width_px)
        assert resized_HWC.shape == (height_px, width_px, 3)
        assert (resized_HWC == 77).all()


def test_shrinking_averages() -> None:
    checks_HWC = np.indices((8, 8)).sum(axis=0)[:, :, None].repeat(3, axis=2) % 2 * 200
    assert (pixels.resize(checks_HWC.astype(np.uint8), 4, 4) == 100).all()


def test_area_average_keeps_the_mean() -> None:
    field_HWC = np.random.default_rng(0).normal(size=(24, 24, 2)).astype(np.float32)
    small_HWC = pixels.area_average(field_HWC, 6)
    assert small_HWC.shape == (6, 6, 2)
    assert np.allclose(small_HWC[0, 0], field_HWC[:4, :4].mean(axis=(0, 1)), atol=1e-5)


def test_gray_weighs_green_most() -> None:
    grays = [int(pixels.gray(np.full((2, 2, 3), colour, np.uint8))[0, 0]) for colour in np.eye(3) * 255]
    assert grays[1] > grays[0] > grays[2]


CORNERS = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 0, 1), [[0, 1, 2], [3, 4, 5]]),
        ((0, 1, 0, -1, 0), [[3, 0], [4, 1], [5, 2]]),  # right goes down: a quarter turn clockwise
        ((-1, 0, 0, 0, -1), [[5, 4, 3], [2, 1, 0]]),
        ((0, -1, 0, 1, 0), [[2, 5], [1, 4], [0, 3]]),
        ((-1, 0, 0, 0, 1), [[2, 1, 0], [5, 4, 3]]),
        ((1, 0, 0, 0, -1), [[3, 4, 5], [0, 1, 2]]),
        ((0, 1, 0, 1, 0), [[0, 3], [1, 4], [2, 5]]),  # right and down change places
        ((0, -1, 0, -1, 0), [[5, 2], [4, 1], [3, 0]]),
    ],
)
def test_each_of_the_eight_orientations(matrix: tuple[int, ...], expected: list[list[int]]) -> None:
    turns, mirrored = pixels.turn_of_matrix([65536 * value for value in matrix])
    oriented_HWC = pixels.orient(CORNERS, turns, mirrored=mirrored)
    assert oriented_HWC[:, :, 0].tolist() == expected
    assert oriented_HWC.flags.c_contiguous


@pytest.mark.parametrize("matrix", [(0, 0, 0, 0, 0), (1, 1, 0, -1, 1), (0.7, 0.7, 0, -0.7, 0.7)])
def test_a_matrix_without_right_angles_is_no_turn(matrix: tuple[float, ...]) -> None:
    assert pixels.turn_of_matrix(matrix) == (0, False)


def test_jpeg_there_and_back() -> None:
    image_HWC = texture(48, 64)
    fine, coarse = pixels.encode_jpeg(image_HWC, 95), pixels.encode_jpeg(image_HWC, 20)
    assert len(coarse) < len(fine)
    back_HWC = pixels.decode_jpeg(fine)
    assert back_HWC.shape == image_HWC.shape
    assert np.abs(back_HWC.astype(int) - image_HWC).mean() < 3  # red is still red: a swap would be far off


def test_only_rgb_pictures_become_jpeg() -> None:
    with pytest.raises(ValueError, match=r"encode_jpeg: got shape \(4, 4\), need H x W x 3"):
        pixels.encode_jpeg(np.zeros((4, 4), np.uint8), 90)


@pytest.mark.parametrize("data", [b"", b"not a picture"])
def test_what_is_no_jpeg_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=f"decode_jpeg: {len(data)} bytes are not a readable JPEG"):
        pixels.decode_jpeg(data)


def test_warping_back_undoes_a_shift() -> None:
    picture_HW = pixels.gray(texture(32, 40))
    flow_HWC = np.zeros((32, 40, 2), np.float32)
    np.testing.assert_allclose(pixels.warp(picture_HW, flow_HWC), picture_HW)
    flow_HWC[..., 0], flow_HWC[..., 1] = 3, -2
    moved_HW = np.roll(picture_HW, (-2, 3), axis=(0, 1))  # right and up
    np.testing.assert_allclose(pixels.warp(moved_HW, flow_HWC)[2:, :-3], picture_HW[2:, :-3])
    flow_HWC[...] = (0.5, 0)
    between_HW = (picture_HW[:, :-1].astype(float) + picture_HW[:, 1:]) / 2
    np.testing.assert_allclose(pixels.warp(picture_HW, flow_HWC)[:, :-1], between_HW, atol=0.6)


def test_detail_is_what_the_surroundings_do_not_have() -> None:
    flat_HW = np.full((20, 20), 70, np.float32)
    np.testing.assert_allclose(pixels.detail(flat_HW, 9), 0, atol=1e-4)
    flat_HW[10, 10] += 81
    detail_HW = pixels.detail(flat_HW, 9)
    assert detail_HW[10, 10] == pytest.approx(80)
    assert detail_HW[6, 6] == pytest.approx(-1)
    assert detail_HW[5, 5] == pytest.approx(0, abs=1e-4)


def test_light_is_matched() -> None:
    picture_HW = pixels.gray(texture(48, 48))
    darker_HW = (picture_HW * 0.4 + 10).astype(np.uint8)
    matched_HW = pixels.match_light(darker_HW, picture_HW)
    assert np.abs(matched_HW.astype(int) - picture_HW).mean() < 2
    slightly_HW = (picture_HW * 0.95).astype(np.uint8)
    assert pixels.match_light(slightly_HW, picture_HW) is slightly_HW


def test_light_is_not_matched_without_contrast() -> None:
    picture_HW, flat_HW = pixels.gray(texture(48, 48)), np.full((48, 48), 9, np.uint8)
    assert pixels.match_light(picture_HW, flat_HW) is picture_HW
    assert pixels.match_light(flat_HW, picture_HW) is flat_HW


def test_flow_does_not_mind_a_change_of_light() -> None:
    first_HW, second_HW = (pixels.gray(frame) for frame in panning_frames(2, 4, -3))
    flow_HWC = pixels.DenseFlow()(first_HW, second_HW // 2)
    off_HW = np.linalg.norm(flow_HWC - np.array([4, -3]), axis=2)
    assert off_HW[8:-8, 8:-8].mean() < 0.1


@pytest.mark.parametrize("size_px", [16, 17, 40, 224])
def test_flow_at_any_size(size_px: int) -> None:
    noise_HW = np.random.default_rng(0).integers(0, 256, (size_px, size_px)).astype(np.uint8)
    flow_HWC = pixels.DenseFlow()(noise_HW, noise_HW)
    assert flow_HWC.shape == (size_px, size_px, 2)
    np.testing.assert_allclose(flow_HWC, 0, atol=0.01)


def test_one_thread() -> None:
    import cv2

    pixels.use_one_thread()
    assert cv2.getNumThreads() == 1


def test_a_picture_is_mirrored_left_to_right() -> None:
    image_HWC = np.random.default_rng(3).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(pixels.mirror(image_HWC), image_HWC[:, ::-1])


def test_values_are_looked_up_into_a_part_of_another_picture() -> None:
    dice = np.random.default_rng(4)
    image_HWC, table = dice.integers(0, 256, (9, 8, 3), np.uint8), dice.permutation(256).astype(np.uint8)
    whole_HWC = np.zeros((20, 20, 3), np.uint8)
    pixels.look_up(image_HWC[2:7, 1:], table, whole_HWC[3:8, 4:11])
    np.testing.assert_array_equal(whole_HWC[3:8, 4:11], table[image_HWC[2:7, 1:]])
    assert whole_HWC.sum() == whole_HWC[3:8, 4:11].sum(dtype=int)
    with pytest.raises(ValueError, match=r"^look_up: got shapes \(9, 8, 3\) and \(9, 9, 3\), must be the same$"):
        pixels.look_up(image_HWC, table, whole_HWC[:9, :9])


def test_a_picture_is_placed_by_its_matrix_with_nothing_around_it() -> None:
    image_HWC = np.random.default_rng(5).integers(1, 256, (6, 8, 4), np.uint8)
    moved_HWC = pixels.place(image_HWC, np.array([[1.0, 0.0, -3.0], [0.0, 1.0, -2.0]]), 12, 14)
    np.testing.assert_array_equal(moved_HWC[2:8, 3:11], image_HWC)
    assert moved_HWC.sum(dtype=int) == image_HWC.sum(dtype=int)

    half_HWC = pixels.place(image_HWC, np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]), 6, 7)
    between_HWC = (image_HWC[:, :-1].astype(int) + image_HWC[:, 1:]) / 2
    np.testing.assert_allclose(half_HWC, between_HWC, atol=1)


def test_a_blur_spreads_light_and_keeps_its_amount() -> None:
    image_HWC = np.zeros((21, 21, 3), np.uint8)
    image_HWC[10, 10] = 255
    blurred_HWC = pixels.blur(image_HWC, 1.0)
    assert 30 < blurred_HWC[10, 10, 0] < 60
    assert blurred_HWC[10, 9, 0] == blurred_HWC[10, 11, 0] == blurred_HWC[9, 10, 0] > 15
    assert blurred_HWC[..., 0].sum(dtype=int) == pytest.approx(255, rel=0.1)
    flat_HWC = np.full((9, 9, 3), 80, np.uint8)
    assert (pixels.blur(flat_HWC, 2.0) == 80).all()
