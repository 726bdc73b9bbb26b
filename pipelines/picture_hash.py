"""A number of 64 bits that stays nearly the same when a picture is encoded again, scaled, or made brighter.

The luma is averaged to 32 × 32 and its cosine transform taken; each of the 63 lowest frequencies beside the mean gives
a bit: whether it is above their median. How many bits differ (the Hamming distance) says how unlike two pictures are;
two pictures that have nothing to do with each other differ in about 31. A mirrored picture has another hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from pipelines import pixels

SIZE_PX = 32
LOW = 8
"""Rows and columns of the transform that are used: the coarse structure of the picture."""
SMOOTH = 4
"""The lowest frequencies, which a picture without content has too: a gradient, a vignette."""
MIN_DETAIL = 2.0
"""Root mean square, in levels of 255, of what is beside the smooth part. Less is black, fog or a single colour."""


def hash_picture(rgb_HWC: npt.NDArray[np.uint8]) -> int | None:
    """Hash a picture.

    Args:
        rgb_HWC: RGB picture of any size.

    Returns:
        64 bits; None for a picture that shows nothing, which would be like every other that shows nothing.
    """
    turn = _cosines()
    transform = turn @ pixels.thumbnail(rgb_HWC, SIZE_PX).astype(np.float64) @ turn.T
    energy = float(np.square(transform).sum() - np.square(transform[:SMOOTH, :SMOOTH]).sum())
    if energy < (MIN_DETAIL * SIZE_PX) ** 2:
        return None
    lowest = transform[:LOW, :LOW].ravel()[1:]
    bits = lowest > np.median(lowest)
    return int.from_bytes(np.packbits(np.concatenate([[False], bits])).tobytes(), "big")


def hash_pictures(pictures: Sequence[npt.NDArray[np.uint8]]) -> list[int | None]:
    """Hash pictures, in order."""
    return [hash_picture(picture) for picture in pictures]


@cache
def _cosines() -> npt.NDArray[np.float64]:
    """Return the matrix of the orthonormal cosine transform."""
    place = np.arange(SIZE_PX)
    waves = np.cos(np.pi * (2 * place[None, :] + 1) * place[:, None] / (2 * SIZE_PX)) * np.sqrt(2 / SIZE_PX)
    waves[0] /= np.sqrt(2)
    matrix: npt.NDArray[np.float64] = waves
    return matrix
