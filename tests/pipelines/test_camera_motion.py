from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.spec import ClipSpec
from pipelines import pixels
from pipelines.camera_motion import camera_flow, estimate_camera, share_explained
from tests.helpers.video import panning_frames

Floats = npt.NDArray[np.float32]
PAN = np.array([[0, 0, 5], [0, 0, -3]], np.float32)
ZOOM = np.array([[4, 0, 0], [0, 4, 0]], np.float32)
TURN = np.array([[0, -3, 1], [3, 0, 0]], np.float32)


def with_object(camera_23: Floats, share: float, size: int = 56, x: float = 0.0, y: float = 0.0) -> Floats:
    """Return the flow of a camera, and of a disc over a share of the picture that moves by itself."""
    flow_HWC = camera_flow(camera_23, size, size)
    places = (np.arange(size) + 0.5) / size * 2 - 1
    distance_HW = np.hypot(places[None, :] - x, places[:, None] - y)
    flow_HWC[distance_HW < np.quantile(distance_HW, share)] += np.array([-9, 6], np.float32)
    return flow_HWC


def test_the_flow_of_a_camera_is_as_documented() -> None:
    flow_HWC = camera_flow(np.array([[1, 2, 3], [4, 5, 6]], np.float32), 4, 4)
    assert flow_HWC.shape == (4, 4, 2)
    assert flow_HWC.dtype == np.float32
    np.testing.assert_allclose(flow_HWC[0, 3], [0.75 - 1.5 + 3, 3 - 3.75 + 6])  # x = 3/4, y = -3/4: right, above
    np.testing.assert_allclose(flow_HWC.mean(axis=(0, 1)), [3, 6])


@pytest.mark.parametrize("camera_23", [PAN, ZOOM, TURN, PAN + ZOOM + TURN, np.zeros((2, 3), np.float32)])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.4])
def test_the_camera_is_found_behind_an_object(camera_23: Floats, share: float) -> None:
    estimate_23 = estimate_camera(with_object(camera_23, share, x=0.2, y=-0.1))
    assert estimate_23.shape == (2, 3)
    assert estimate_23.dtype == np.float32
    np.testing.assert_allclose(estimate_23, camera_23, atol=0.1)


def test_an_object_at_one_edge_does_not_look_like_a_zoom() -> None:
    flow_HWC = camera_flow(PAN, 56, 56)
    flow_HWC[:, :20] = (-8, 4)
    np.testing.assert_allclose(estimate_camera(flow_HWC), PAN, atol=0.1)


def test_noise_does_not_matter_much() -> None:
    flow_HWC = with_object(PAN + ZOOM, 0.3)
    noise_HWC = np.random.default_rng(3).normal(0, 0.5, flow_HWC.shape).astype(np.float32)
    np.testing.assert_allclose(estimate_camera(flow_HWC + noise_HWC), PAN + ZOOM, atol=0.3)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 9), (8, 8), (27, 31), (112, 64)])
def test_any_grid(height: int, width: int) -> None:
    np.testing.assert_allclose(estimate_camera(camera_flow(TURN, height, width)), TURN, atol=0.01)


def test_what_is_explained() -> None:
    flow_HWC = with_object(PAN, 0.25)
    assert share_explained(flow_HWC, estimate_camera(flow_HWC)) == pytest.approx(0.75, abs=0.01)
    assert share_explained(flow_HWC, PAN + PAN) == 0
    assert share_explained(flow_HWC, PAN + PAN, within_px=6) == pytest.approx(0.75, abs=0.01)


@given(
    st.lists(st.floats(-20, 20), min_size=6, max_size=6),
    st.floats(0, 1e30),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=60)
def test_the_answer_is_finite_and_repeatable(values: list[float], noise: float, seed: int) -> None:
    flow_HWC = camera_flow(np.array(values, np.float32).reshape(2, 3), 8, 8)
    flow_HWC += (np.random.default_rng(seed).normal(0, 1, flow_HWC.shape) * noise).astype(np.float32)
    estimate_23 = estimate_camera(flow_HWC)
    assert np.isfinite(estimate_23).all()
    np.testing.assert_array_equal(estimate_23, estimate_camera(flow_HWC.copy()))


def test_a_hole_in_the_flow_counts_as_rest() -> None:
    flow_HWC = np.zeros((8, 8, 2), np.float32)
    flow_HWC[0, 0], flow_HWC[5, 5] = np.nan, np.inf
    np.testing.assert_allclose(estimate_camera(flow_HWC), 0, atol=1e-6)


def test_measured_flow_of_a_pan_gives_the_pan() -> None:
    spec = ClipSpec(size_px=128, flow_size_px=32)
    first_HW, second_HW = (pixels.gray(frame) for frame in panning_frames(2, 4, -2))
    grid_HWC = pixels.area_average(pixels.DenseFlow()(first_HW, second_HW), spec.flow_size_px)
    camera_23 = estimate_camera(grid_HWC)
    np.testing.assert_allclose(camera_23[:, 2], [4, -2], atol=0.2)
    np.testing.assert_allclose(camera_23[:, :2], 0, atol=0.3)
