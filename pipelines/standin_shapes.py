"""The shapes of the stand-in corpus as signed distances, and stamps of them: small pictures ready to be placed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pipelines.standin_classes import Color

Values = npt.NDArray[np.floating]
Stamp = npt.NDArray[np.uint8]

PARTNERS = ("oval", "cloud", "block")
OUTSIDERS = (*PARTNERS, "kite", "bar")
"""Shapes outside the taxonomy; partners are among them, so that no shape alone tells that there is a partner."""
STAMP_REACH = 1.2
"""Half of a stamp's side, radii; a square's corners lie 1.1 radii from its middle."""
_POINT_RAD = np.pi / 5


def distance(shape: str, x: Values, y: Values) -> Values:
    """Return the signed distance to the border of a shape of radius 1, negative inside.

    Args:
        shape: An appearance's id or one of ``OUTSIDERS``.
        x: Coordinates to the right of the middle.
        y: Coordinates below the middle, of the same shape.

    Raises:
        ValueError: the shape is not known.
    """
    if shape not in _DISTANCES:
        raise ValueError(f"shape: got {shape!r}, must be one of {', '.join(_DISTANCES)}")
    return _DISTANCES[shape](x, y)


def stamp(shape: str, radius_px: float, color: Color, mark: Color, mark_rad: float, piece: int = 0) -> Stamp:
    """Draw a shape as red, green, blue and cover, the colours already multiplied by the cover.

    Half of the shape has a second colour, so that a turn of a round one can be seen.

    Args:
        shape: An appearance's id or one of ``OUTSIDERS``.
        radius_px: Its radius in the picture, pixels.
        color: Colour of one half, 0 to 255.
        mark: Colour of the other half.
        mark_rad: Direction in which the other half lies.
        piece: 0 for the whole shape, 1 to 4 for a quarter of it.

    Returns:
        A square picture of 4 channels; its middle is the shape's.
    """
    side_px = 2 * int(np.ceil(STAMP_REACH * radius_px + 1)) + 1
    at = (np.arange(side_px, dtype=np.float32) - side_px // 2) / np.float32(radius_px)
    x, y = np.broadcast_arrays(at[None, :], at[:, None])
    cover = _cover(-distance(shape, x, y), radius_px)[..., None]
    if piece:
        cos, sin = _quarter(piece)
        # Two borders through the middle, at right angles: the quarter lies on the inner side of both.
        cover = cover * (_cover(x * cos + y * sin, radius_px) * _cover(y * cos - x * sin, radius_px))[..., None]
    aside = x * np.float32(np.cos(mark_rad)) + y * np.float32(np.sin(mark_rad)) - np.float32(0.1)
    share = _cover(aside, radius_px)[..., None]
    first, second = np.asarray(color, np.float32), np.asarray(mark, np.float32)
    rgba = np.concatenate([cover * (first + share * (second - first)), 255 * cover], axis=-1)
    return np.asarray(np.rint(rgba), np.uint8)


def _cover(inside: Values, radius_px: float) -> Values:
    """Return the share of a pixel that lies inside of a border so many radii away."""
    return np.asarray(np.clip(0.5 + inside * np.float32(radius_px), 0, 1))


def _quarter(piece: int) -> tuple[np.float32, np.float32]:
    angle_rad = (piece - 1) * np.pi / 2
    return np.float32(np.cos(angle_rad)), np.float32(np.sin(angle_rad))


def _box(x: Values, y: Values, half_width: float, half_height: float) -> Values:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _star(x: Values, y: Values) -> Values:
    """Return the distance to the nearest edge, a line from a point of radius 1 to a notch of radius 0.42."""
    radius, angle = np.hypot(x, y), np.arctan2(x, -y)
    fold = np.abs(np.mod(angle + _POINT_RAD, 2 * _POINT_RAD) - _POINT_RAD)
    along, across = radius * np.cos(fold), radius * np.sin(fold)
    notch_x, notch_y = 0.42 * np.cos(_POINT_RAD), 0.42 * np.sin(_POINT_RAD)
    length = np.hypot(1 - notch_x, notch_y)
    away: Values = ((along - 1) * notch_y + across * (1 - notch_x)) / length
    return away


def _arrow(x: Values, y: Values) -> Values:
    head = np.maximum(0.62 * (x - 1) + 0.785 * np.abs(y), 0.05 - x)
    return np.asarray(np.minimum(head, _box(x + 0.45, y, 0.55, 0.24)))


def _hourglass(x: Values, y: Values) -> Values:
    return np.asarray(np.maximum(np.abs(y) - 0.85, (np.abs(x) - 0.75 * np.abs(y) - 0.06) * 0.8))


def _cloud(x: Values, y: Values) -> Values:
    low = np.minimum(np.hypot(x - 0.5, y - 0.2), np.hypot(x + 0.5, y - 0.2)) - 0.5
    return np.asarray(np.minimum(low, np.hypot(x, y + 0.25) - 0.6))


def _block(x: Values, y: Values) -> Values:
    return np.asarray(np.hypot(np.maximum(np.abs(x) - 0.65, 0), np.maximum(np.abs(y) - 0.42, 0)) - 0.28)


_DISTANCES: dict[str, Callable[[Values, Values], Values]] = {
    "disc": lambda x, y: np.hypot(x, y) - 1,
    "square": lambda x, y: _box(x, y, 0.78, 0.78),
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.75) - 0.25,
    "cross": lambda x, y: np.minimum(_box(x, y, 1, 0.27), _box(x, y, 0.27, 1)),
    "triangle": lambda x, y: np.maximum(0.866 * np.abs(x) + 0.5 * y, -y) - 0.5,
    "star": _star,
    "crescent": lambda x, y: np.maximum(np.hypot(x, y) - 1, 0.85 - np.hypot(x - 0.5, y)),
    "arrow": _arrow,
    "hourglass": _hourglass,
    "ladder": lambda x, y: np.minimum(_box(np.abs(x) - 0.53, y, 0.22, 0.78), _box(x, y, 0.5, 0.18)),
    "oval": lambda x, y: 0.75 * (np.hypot(x, y / 0.75) - 1),
    "cloud": _cloud,
    "block": _block,
    "kite": lambda x, y: 0.51 * (np.abs(x) + np.abs(y) / 0.55 - 1),
    "bar": lambda x, y: np.hypot(np.maximum(np.abs(x) - 0.75, 0), y) - 0.25,
}
