from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.spec import ClipSpec
from pipelines import pixels
from pipelines.limits import DecodeLimits
from pipelines.optical_flow import FlowEstimator, is_cut
from pipelines.pictures import PictureReader
from tests.helpers.video import panning_frames, texture

Gray = npt.NDArray[np.uint8]
SPEC = ClipSpec(size_px=128, flow_size_px=32, flow_step_s=0.1)


@pytest.mark.parametrize(("right_px", "down_px"), [(3, 0), (0, 3), (-4, 2), (5, -5), (0, 0)])
def test_a_moving_picture_gives_its_motion(right_px: int, down_px: int) -> None:
    first_HWC, second_HWC = panning_frames(2, right_px, down_px)
    flow_HWC = FlowEstimator(SPEC)(first_HWC, second_HWC, 0.1)
    assert flow_HWC is not None
    assert flow_HWC.shape == (32, 32, 2)
    error_px = np.linalg.norm(flow_HWC - np.array([right_px, down_px]), axis=2)
    assert error_px[2:-2, 2:-2].mean() <= 0.5
    assert np.median(error_px) <= 0.25


def test_flow_is_per_step_whatever_the_gap() -> None:
    first_HWC, second_HWC, third_HWC = panning_frames(3, 3, 0)
    estimator = FlowEstimator(SPEC)
    near_HWC, far_HWC = estimator(first_HWC, second_HWC, 0.1), estimator(first_HWC, third_HWC, 0.2)
    assert near_HWC is not None
    assert far_HWC is not None
    assert np.median(near_HWC[..., 0]) == pytest.approx(3, abs=0.3)
    assert np.median(far_HWC[..., 0]) == pytest.approx(3, abs=0.3)


def test_a_neighbour_from_before_gives_motion_forward_in_time() -> None:
    first_HWC, second_HWC = panning_frames(2, 3, -2)
    flow_HWC = FlowEstimator(SPEC)(second_HWC, first_HWC, -0.1)
    assert flow_HWC is not None
    assert np.median(flow_HWC[..., 0]) == pytest.approx(3, abs=0.3)
    assert np.median(flow_HWC[..., 1]) == pytest.approx(-2, abs=0.3)


def called_a_cut(from_HW: Gray, to_HW: Gray) -> bool:
    return is_cut(from_HW, to_HW, pixels.DenseFlow()(from_HW, to_HW))


def scene(seed: int, size_px: int = 128) -> Gray:
    return pixels.gray(texture(size_px, size_px, seed))


def test_no_flow_across_a_cut() -> None:
    first_HWC, second_HWC = texture(128, 128, seed=1), texture(128, 128, seed=2)
    estimator = FlowEstimator(SPEC)
    assert estimator(first_HWC, second_HWC, 0.1) is None
    assert estimator(first_HWC, first_HWC, 0.1) is not None


@given(st.integers(0, 10_000), st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_a_cut_is_seen_whatever_the_scenes(first: int, second: int) -> None:
    assert called_a_cut(scene(first), scene(second)) == (first != second)


@pytest.mark.parametrize("size_px", [16, 48, 224])
def test_cuts_at_any_size(size_px: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, size_px, size_px)).astype(np.uint8)
    assert called_a_cut(noise[0], noise[1])
    assert not called_a_cut(noise[0], noise[0])


@pytest.mark.parametrize(("right_px", "down_px"), [(6, 6), (12, 0), (-2, 9)])
def test_motion_is_no_cut(right_px: int, down_px: int) -> None:
    first_HW, second_HW = (pixels.gray(frame) for frame in panning_frames(2, right_px, down_px))
    assert not called_a_cut(first_HW, second_HW)


@pytest.mark.parametrize("gain", [0.2, 0.5, 1.3])
def test_a_change_of_light_is_no_cut(gain: float) -> None:
    first_HW, second_HW = (pixels.gray(frame) for frame in panning_frames(2, 3, 2))
    lit_HW = np.clip(second_HW * gain, 0, 255).astype(np.uint8)
    assert not called_a_cut(first_HW, lit_HW)
    assert not called_a_cut(lit_HW, first_HW)


def test_a_flash_is_no_cut() -> None:
    first_HW = scene(1)
    assert not called_a_cut(first_HW, (first_HW * 0.3 + 178).astype(np.uint8))


def test_a_step_of_a_dissolve_is_no_cut() -> None:
    first, second = scene(1).astype(np.float64), scene(2).astype(np.float64)
    mixed = [(first * (1 - share) + second * share).astype(np.uint8) for share in (0.5, 0.57)]
    assert not called_a_cut(mixed[0], mixed[1])


def test_black_is_another_scene_but_not_from_black() -> None:
    black_HW, gray_HW = np.zeros((128, 128), np.uint8), np.full((128, 128), 90, np.uint8)
    assert called_a_cut(black_HW, scene(1))
    assert called_a_cut(scene(1), gray_HW)
    assert not called_a_cut(black_HW, gray_HW)


def test_a_wrong_flow_makes_a_cut() -> None:
    still_HW = scene(1)
    wrong_HWC = np.random.default_rng(0).normal(0, 20, (128, 128, 2)).astype(np.float32)
    wrong_HWC = pixels.area_average(pixels.area_average(wrong_HWC, 8), 128) * 8
    assert not is_cut(still_HW, still_HW, np.zeros_like(wrong_HWC))
    assert is_cut(still_HW, still_HW, wrong_HWC)


def recording(folder: Path, name: str, times_s: list[float]) -> list[Gray]:
    with (folder / name).open("rb") as file:
        reader = PictureReader(file, DecodeLimits())
        frames = [int(np.argmin(np.abs(reader.table.times_s - time_s))) for time_s in times_s]
        found = reader.pictures(frames, 224)
        reader.close()
    return [pixels.gray(found[frame].rgb_HWC) for frame in frames]


@pytest.mark.real
def test_cuts_of_a_broadcast(real_videos: Path) -> None:
    times_s = [4.9, 5.0, 5.1, 22.1, 22.2, 22.3]
    pictures = recording(real_videos, "activitynet/women_long_jump.mp4", times_s)
    found = [called_a_cut(a, b) for a, b in itertools.pairwise(pictures)]
    assert found == [False, True, True, False, True]
