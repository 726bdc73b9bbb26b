"""What the objects of the stand-in corpus do: positions, sizes, turns and fading as functions of an event's progress.

A program is a function of progress alone, 0 to 1. Its partner is the same function run backwards, so that both show
the same pictures in reversed order. Lengths are in radii of the object, x right and y down, angles clockwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Corner = tuple[float, float]

CONTACT = 2.05
"""Distance of two touching things, middle to middle: radii differ with the angle, and a hair stays between them."""
NUM_PIECES = 4
TURN = 2 * np.pi


@dataclass(frozen=True, kw_only=True, slots=True)
class Take:
    """What differs from one performance of a program to the next; its reversed partner draws it from the same range.

    Attributes:
        reach: Half of the way that a mover goes, radii.
        heading_rad: Direction where the program leaves it open.
        hand: 1 or -1: which way round where the program leaves it open.
    """

    reach: float
    heading_rad: float
    hand: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Part:
    """One drawn thing of a program, per moment.

    Attributes:
        role: The object of the class, or the partner that it meets.
        xy_T2: Middle, radii.
        piece: 0 is the whole shape, 1 to 4 a quarter of it.
        scale_T: Size against the object's.
        angle_T: Turn, radians.
        opacity_T: 0 is not there, 1 is solid.
        depth: Higher is nearer.
        way_out_T2: How much of the way out of the picture it has gone, by direction; it begins at its place.
    """

    role: Literal["object", "partner"]
    xy_T2: FloatArray
    piece: int = 0
    scale_T: FloatArray = field(default_factory=lambda: np.ones(1))
    angle_T: FloatArray = field(default_factory=lambda: np.zeros(1))
    opacity_T: FloatArray = field(default_factory=lambda: np.ones(1))
    depth: int = 1
    way_out_T2: FloatArray = field(default_factory=lambda: np.zeros((1, 2)))


Track = Callable[[FloatArray, Take], tuple[Part, ...]]


def path(*corners: Corner) -> Track:
    """Return the track of an object that goes from corner to corner, in units of its reach, at constant speed."""

    def follow(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
        return (Part(role="object", xy_T2=take.reach * along(corners, p_T)),)

    return follow


def along(corners: tuple[Corner, ...], p_T: FloatArray) -> FloatArray:
    """Follow a line of corners at constant speed.

    Args:
        corners: At least two places.
        p_T: Share of the way, 0 to 1; beyond that it rests at the end.

    Returns:
        Places ``T2``.
    """
    corners_K2 = np.asarray(corners, float)
    at_K = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(corners_K2, axis=0).T))])
    at_K /= at_K[-1]
    return np.stack([np.interp(p_T, at_K, corners_K2[:, axis]) for axis in (0, 1)], axis=-1)


def circles(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Go once round a circle, clockwise."""
    return (Part(role="object", xy_T2=_polar(0.9 * take.reach, take.heading_rad + TURN * p_T)),)


def spins(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Turn once on the spot, clockwise."""
    del take
    return (Part(role="object", xy_T2=_still(p_T), angle_T=0.9 * TURN * p_T),)


def spirals_in(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Wind inwards around a point, one and a half times."""
    angle_T = take.heading_rad + take.hand * 1.5 * TURN * p_T
    return (Part(role="object", xy_T2=_polar(take.reach * (1.15 - 1.05 * p_T), angle_T)),)


def spins_then_goes(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Turn on the spot, then go straight."""
    way_T = 1.5 * take.reach * (np.clip(2 * p_T - 1, 0, 1) - 0.5)
    angle_T = take.hand * 0.8 * TURN * np.clip(2 * p_T, 0, 1)
    return (Part(role="object", xy_T2=_ahead(way_T, take), angle_T=angle_T),)


def grows(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Become almost three times as large."""
    del take
    return (Part(role="object", xy_T2=_still(p_T), scale_T=0.6 + 1.0 * p_T),)


def fades_in(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Appear slowly on the spot."""
    del take
    return (Part(role="object", xy_T2=_still(p_T), opacity_T=p_T),)


def breaks_apart(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Fall into four quarters that drift away from each other, turning a little."""
    parts = []
    for piece in range(1, NUM_PIECES + 1):
        away_T2 = _polar(1.3 * p_T, np.full(len(p_T), TURN * (piece - 0.5) / NUM_PIECES))
        parts.append(Part(role="object", piece=piece, xy_T2=away_T2, angle_T=take.hand * 0.5 * p_T))
    return tuple(parts)


def comes_in(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Come into the picture from outside, along one of the picture's sides."""
    heading_rad = np.round(take.heading_rad / (TURN / 4)) * (TURN / 4)
    way_out_T2 = _polar(1 - p_T, np.full(len(p_T), heading_rad))
    return (Part(role="object", xy_T2=_still(p_T), way_out_T2=way_out_T2),)


def accelerates(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Start almost at rest, and become faster and faster."""
    return (Part(role="object", xy_T2=_ahead(take.reach * (2 * p_T**3 - 1), take)),)


def hops_then_slides(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Go to one side, the first half in two high hops, the second half on the ground."""
    hop_T = np.abs(np.sin(TURN * 2 * np.minimum(p_T, 0.5)))
    return (Part(role="object", xy_T2=np.stack([take.hand * take.reach * (2 * p_T - 1), 0.7 - 1.5 * hop_T], axis=-1)),)


def approaches(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Go up to a partner that stands still, until both touch."""
    way = 1.6 * take.reach
    return _pair(take, (way + CONTACT) / 2 - CONTACT - way * (1 - p_T), np.full(len(p_T), (way + CONTACT) / 2))


def pushes(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Run up to a partner and push it along."""
    way, contact = 1.8 * take.reach, 0.4
    object_T = way * p_T
    partner_T = way * np.maximum(p_T, contact) + CONTACT
    middle = (way + CONTACT) / 2
    return _pair(take, object_T - middle, partner_T - middle)


def hits(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Run into a partner and stop dead; the partner flies off with the motion."""
    way, contact = 1.8 * take.reach, 0.5
    object_T = way * np.minimum(p_T, contact)
    partner_T = way * np.maximum(p_T, contact) + CONTACT
    middle = (way + CONTACT) / 2
    return _pair(take, object_T - middle, partner_T - middle)


def chases(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Follow a partner along a winding way, never reaching it."""
    way, gap = 1.5 * take.reach, CONTACT + 0.5
    lead_T = way * (p_T - 0.5) + gap / 2
    return _pair(take, lead_T - gap, lead_T, sideways=lambda at_T: 0.5 * take.hand * np.sin(1.6 * at_T))


def covers(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Slide onto a smaller partner, in front of it, and stay there."""
    return _pair(take, -(1.3 + take.reach) * (1 - p_T) + 0.5, np.full(len(p_T), 0.5), partner_scale=0.75)


def hides(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Go behind a larger partner and stay there, mostly hidden."""
    way_T = -(1.6 + take.reach) * (1 - p_T) + 0.5
    return _pair(take, way_T, np.full(len(p_T), 0.5), partner_scale=1.45, partner_depth=2)


def orbits(p_T: FloatArray, take: Take) -> tuple[Part, ...]:
    """Go once round a smaller partner, clockwise."""
    round_T2 = _polar(1.95, take.heading_rad + TURN * p_T)
    return (Part(role="object", xy_T2=round_T2), Part(role="partner", xy_T2=_still(p_T), scale_T=np.full(1, 0.75)))


def _pair(
    take: Take,
    object_T: FloatArray,
    partner_T: FloatArray,
    *,
    sideways: Callable[[FloatArray], FloatArray] = np.zeros_like,
    partner_scale: float = 1.0,
    partner_depth: int = 0,
) -> tuple[Part, ...]:
    """Place object and partner on a line: left or right, at most a little aslant."""
    aslant_rad = 0.3 * np.sin(take.heading_rad)
    angle_rad = aslant_rad if take.hand > 0 else np.pi - aslant_rad
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)

    def place(at_T: FloatArray) -> FloatArray:
        off_T = sideways(at_T)
        return np.stack([at_T * cos - off_T * sin, at_T * sin + off_T * cos], axis=-1)

    partner = Part(role="partner", xy_T2=place(partner_T), scale_T=np.full(1, partner_scale), depth=partner_depth)
    return (Part(role="object", xy_T2=place(object_T)), partner)


def _ahead(way_T: FloatArray, take: Take) -> FloatArray:
    return _polar(way_T, np.full(len(way_T), take.heading_rad))


def _polar(radius: FloatArray | float, angle_T: FloatArray) -> FloatArray:
    return np.stack([radius * np.cos(angle_T), radius * np.sin(angle_T)], axis=-1)


def _still(p_T: FloatArray) -> FloatArray:
    return np.zeros((len(p_T), 2))
