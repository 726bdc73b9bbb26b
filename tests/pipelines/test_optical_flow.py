from __future__ import annotations

import numpy as np
import pytest

from fal_model.spec import ClipSpec
from pipelines import pixels
from pipelines.optical_flow import FlowEstimator, is_cut
from tests.helpers.video import panning_frames, texture

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


def test_no_flow_across_a_cut() -> None:
    dark_HWC, light_HWC = texture(128, 128, seed=1) // 3, 160 + texture(128, 128, seed=2) // 3
    assert FlowEstimator(SPEC)(dark_HWC, light_HWC, 0.1) is None


def test_motion_and_a_change_of_light_are_no_cut() -> None:
    first_HWC, second_HWC = panning_frames(2, 6, 6)
    first_HW, second_HW = pixels.gray(first_HWC), pixels.gray(second_HWC)
    assert not is_cut(first_HW, second_HW)
    assert not is_cut(first_HW, (first_HW // 2).astype(np.uint8))


def test_pictures_without_contrast_are_no_cut() -> None:
    black_HW, gray_HW = np.zeros((128, 128), np.uint8), np.full((128, 128), 90, np.uint8)
    assert not is_cut(black_HW, gray_HW)
    assert not is_cut(black_HW, pixels.gray(texture(128, 128)))
