"""Augmentation moves picture and flow together, and does what a plain gather would do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.augmentation import Augmentation


def changed(frames: Any, flow_q: Any, seed: int, *, can_mirror: bool = False) -> tuple[Any, Any]:
    """Apply one drawn change to frames and flow."""
    change = Augmentation.draw(np.random.default_rng(seed), flow_q.shape[1], can_mirror=can_mirror)
    new_frames, new_flow_q = np.empty_like(frames), np.empty_like(flow_q)
    for image, out in zip(frames, new_frames, strict=True):
        change.picture(image, out, flow_q.shape[1])
    change.flow(flow_q, new_flow_q)
    return new_frames, new_flow_q


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from([(32, 8), (96, 24), (100, 40), (30, 30)]), st.booleans(), st.booleans())
def test_a_change_is_what_a_plain_gather_gives(
    seed: int, sizes: tuple[int, int], can_mirror: bool, is_contiguous: bool
) -> None:
    size, grid = sizes
    dice = np.random.default_rng(seed)
    image = dice.integers(0, 256, (size, size, 3), np.uint8)
    flow_q = dice.integers(-127, 128, (2, grid, grid, 2), np.int8)
    change = Augmentation.draw(dice, grid, can_mirror=can_mirror)

    def gathered(array: Any, unit: float) -> Any:
        rows, columns = (
            np.clip(np.arange(array.shape[-2]) + round(shift * unit), 0, array.shape[-2] - 1)
            for shift in (change.down, change.right)
        )
        moved = array[..., rows, :, :][..., columns, :]
        return moved[..., ::-1, :] if change.is_mirrored else moved

    out = np.zeros((size, size, 3), np.uint8) if is_contiguous else np.zeros((size, size + 7, 3), np.uint8)[:, :size]
    change.picture(image, out, grid)
    np.testing.assert_array_equal(out, change.table[gathered(image, size / grid)])
    new_flow_q = np.zeros_like(flow_q)
    change.flow(flow_q, new_flow_q)
    signs = [-1, 1] if change.is_mirrored else [1, 1]
    np.testing.assert_array_equal(new_flow_q, gathered(flow_q, 1) * np.array(signs, np.int8))


def test_changes_never_change() -> None:
    """What a seed gives is fixed: a run that goes on sees what it would have seen."""
    found = [Augmentation.draw(np.random.default_rng([1, 2, i]), 56, can_mirror=True) for i in range(4)]
    assert [(c.down, c.right, c.is_mirrored, int(c.table[0]), int(c.table[128])) for c in found] == FOR_EVER


FOR_EVER = [(2, -1, True, 0, 121), (1, 5, True, 9, 115), (3, 4, True, 16, 141), (5, 2, True, 0, 108)]


def augmented(seed: int, size: int, grid: int, *, can_mirror: bool) -> tuple[Any, Any, Any, Any]:
    """Augment a clip whose frame and flow show the same picture, at their own sizes."""
    coarse = np.random.default_rng(seed).integers(1, 100, (2, grid, grid), np.int64)
    frames = np.repeat(np.repeat(coarse, size // grid, 1), size // grid, 2)[..., None].repeat(3, 3).astype(np.uint8)
    flow_q = np.stack([coarse, coarse], axis=-1).astype(np.int8)
    return frames, flow_q, *changed(frames, flow_q, seed, can_mirror=can_mirror)


@pytest.mark.parametrize("can_mirror", [False, True])
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_picture_and_flow_are_moved_together(can_mirror: bool, seed: int) -> None:
    frames, flow_q, new_frames, new_flow_q = augmented(seed, 80, 20, can_mirror=can_mirror)
    assert (new_frames.shape, new_frames.dtype) == (frames.shape, frames.dtype)
    assert (new_flow_q.shape, new_flow_q.dtype) == (flow_q.shape, flow_q.dtype)
    brightness: dict[int, int] = {}
    for cell, pixel in zip(new_flow_q[..., 1].ravel(), new_frames[:, 2::4, 2::4, 0].ravel(), strict=True):
        assert brightness.setdefault(int(cell), int(pixel)) == int(pixel)  # a cell's own pixel, wherever it went
    known = [brightness[cell] for cell in sorted(brightness)]
    assert known == sorted(known)
    signs = np.sign(new_flow_q[..., 0] * new_flow_q[..., 1].astype(int))
    assert len(np.unique(signs)) == 1  # mirrored or not, as a whole
    if not can_mirror:
        assert signs.flat[0] == 1


def test_half_of_the_clips_are_mirrored_where_that_is_allowed() -> None:
    mirrored = [augmented(seed, 40, 20, can_mirror=True)[3][0, 0, 0, 0] < 0 for seed in range(200)]
    assert 70 < sum(mirrored) < 130


def test_frames_that_are_no_multiple_of_the_flow_grid_move_as_far_as_it() -> None:
    # 100 pixels over 40 cells: a shift of 4 cells is one of 10 pixels.
    size, grid = 100, 40
    frames = np.zeros((1, size, size, 3), np.uint8)
    frames[:, 50:] = 200
    flow_q = np.zeros((1, grid, grid, 2), np.int8)
    flow_q[:, 20:] = 100
    for seed in range(20):
        new_frames, new_flow_q = changed(frames, flow_q, seed)
        edge_px = int(np.argmax(new_frames[0, :, 0, 0] > 100))
        edge_cell = int(np.argmax(new_flow_q[0, :, 0, 0] > 50))
        assert edge_px == pytest.approx(edge_cell * size / grid, abs=1)
