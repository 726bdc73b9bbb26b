"""Shapes of the stand-in corpus: all different, of one size, and drawn as they are."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.standin_classes import APPEARANCES
from pipelines.standin_shapes import OUTSIDERS, PARTNERS, STAMP_REACH, distance, stamp

SHAPES = [*(a.id for a in APPEARANCES), *OUTSIDERS]
GRID = np.linspace(-1.2, 1.2, 97)
X, Y = np.broadcast_arrays(GRID[None, :], GRID[:, None])
RED, BLUE = (200.0, 0.0, 0.0), (0.0, 0.0, 200.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_fill_their_radius(shape: str) -> None:
    inside = distance(shape, X, Y) < 0

    assert 0.93 <= np.hypot(X, Y)[inside].max() <= 1.11 < STAMP_REACH
    assert 0.1 < inside.mean() < 0.6


def test_shapes_are_all_different_at_any_angle() -> None:
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    masks = {shape: distance(shape, X, Y) < 0 for shape in SHAPES}
    turned = {
        shape: [distance(shape, X * np.cos(a) + Y * np.sin(a), Y * np.cos(a) - X * np.sin(a)) < 0 for a in turns]
        for shape in SHAPES
    }

    for one in SHAPES:
        for other in SHAPES:
            if one != other:
                most = max((masks[one] & m).sum() / (masks[one] | m).sum() for m in turned[other])
                assert most < 0.87, (one, other)


def test_partners_are_outside_the_taxonomy() -> None:
    assert set(PARTNERS) < set(OUTSIDERS)
    assert not set(OUTSIDERS) & {a.id for a in APPEARANCES}


def test_an_unknown_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape: got 'cube', must be one of disc, square, ring, cross"):
        distance("cube", X, Y)


def test_a_stamp_has_premultiplied_colours_and_two_halves() -> None:
    picture = stamp("disc", 10.0, RED, BLUE, 0.0).astype(float)

    middle = picture.shape[0] // 2
    assert picture.shape == (2 * middle + 1, 2 * middle + 1, 4)
    assert picture[middle, middle - 6].tolist() == [200, 0, 0, 255]
    assert picture[middle, middle + 6].tolist() == [0, 0, 200, 255]
    assert (picture[..., :3].sum(axis=-1) <= picture[..., 3] * 200 / 255 + 2).all()
    assert picture[0].max() == picture[:, 0].max() == 0
    assert picture[..., 3].sum() / 255 == pytest.approx(np.pi * 100, rel=0.01)


@pytest.mark.parametrize("shape", SHAPES)
def test_four_pieces_make_the_whole(shape: str) -> None:
    whole = stamp(shape, 12.0, RED, BLUE, 0.4)[..., 3].astype(int)
    pieces = [stamp(shape, 12.0, RED, BLUE, 0.4, piece)[..., 3].astype(int) for piece in (1, 2, 3, 4)]

    np.testing.assert_allclose(np.sum(pieces, axis=0), whole, atol=3)
    inner = [piece[:-1, :-1] > 200 for piece in pieces]
    assert all(piece.any() for piece in inner)
    assert np.sum(inner, axis=0).max() == 1
