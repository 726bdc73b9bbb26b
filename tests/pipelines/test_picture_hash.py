"""Hashes of pictures survive what copies go through, and pictures that show nothing have none."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.near_duplicates import MAX_DISTANCE
from pipelines.picture_hash import hash_picture, hash_pictures
from pipelines.pixels import decode_jpeg, encode_jpeg, resize
from tests.helpers.video import Frame, texture


def distance(one: Frame, other: Frame) -> int:
    first, second = hash_picture(one), hash_picture(other)
    assert first is not None
    assert second is not None
    return (first ^ second).bit_count()


CHANGES: dict[str, Callable[[Frame], Frame]] = {
    "scaled": lambda frame: resize(frame, 60, 200),
    "brighter": lambda frame: np.clip(frame * 1.1 + 20, 0, 255).astype(np.uint8),
    "darker": lambda frame: np.asarray(frame * 0.6, np.uint8),
    "coded": lambda frame: decode_jpeg(encode_jpeg(frame, 30)),
    "noisy": lambda frame: np.clip(frame + np.random.default_rng(0).normal(0, 12, frame.shape), 0, 255).astype(
        np.uint8
    ),
    "cropped": lambda frame: frame[2:-2, 3:-3],
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_picture_keeps_its_hash_nearly(name: str) -> None:
    distances = [distance(frame, CHANGES[name](frame)) for frame in (texture(120, 160, seed) for seed in range(12))]
    assert np.median(distances) <= MAX_DISTANCE


def test_different_pictures_differ_in_about_half_of_their_bits() -> None:
    pictures = [texture(120, 160, seed) for seed in range(12)]
    distances = [distance(a, b) for a, b in combinations(pictures, 2)]
    assert min(distances) > 2 * MAX_DISTANCE
    assert 28 < np.mean(distances) < 34


def test_a_mirrored_picture_is_another_one() -> None:
    frame = texture(120, 160)
    assert distance(frame, frame[:, ::-1]) > 2 * MAX_DISTANCE


@pytest.mark.parametrize("level", [0, 16, 128, 255])
def test_a_single_colour_has_no_hash(level: int) -> None:
    flat = np.full((96, 96, 3), level, np.uint8)
    grain = np.clip(flat + np.random.default_rng(1).normal(0, 6, flat.shape), 0, 255).astype(np.uint8)
    assert hash_pictures([flat, grain]) == [None, None]


def test_a_gradient_has_no_hash() -> None:
    across = np.linspace(0, 60, 96)[None, :, None] + np.zeros((96, 96, 3))
    assert hash_picture(across.astype(np.uint8)) is None


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
@settings(deadline=None, max_examples=40)
def test_a_hash_has_63_bits_whatever_the_picture(seed: int, height: int, width: int) -> None:
    frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = hash_picture(frame)
    assert found is None or 0 <= found < 2**63
