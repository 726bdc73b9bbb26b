"""Put the performers of a stand-in video in their places: in view, apart from each other, in colours that stand out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pipelines.standin_classes import APPEARANCES, Color, Program
from pipelines.standin_difficulty import DifficultyNumbers
from pipelines.standin_programs import FloatArray, Part, Take
from pipelines.standin_shapes import PARTNERS, STAMP_REACH

LUMA_RANGE = (15.0, 240.0)
MARK_LUMA = 32.0
"""By how much the two halves of an object differ, grey values."""
LEAST_MARK = 24.0
SMALLEST_REACH = 0.9
BOX_REACH = 1.1
"""Furthest that any shape goes from its middle, radii."""
PLACES_TRIED = 6
LEAST_PARTNER_LUMA = 25.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sprite:
    """A shape and where it is in every frame.

    Attributes:
        shape: See ``standin_shapes.distance``.
        piece: 0 for the whole shape, 1 to 4 for a quarter.
        radius_px: Half of its diameter, pixels.
        color: Colour of one half, red, green, blue, 0 to 255.
        mark: Colour of the other half.
        mark_rad: Where the other half lies.
        xy_T2: Middle in the world per frame, pixels.
        scale_T: Size against ``radius_px``.
        angle_T: Turn, radians.
        opacity_T: 0 is not there, 1 is solid.
        depth: Higher is nearer.
    """

    shape: str
    piece: int
    radius_px: float
    color: Color
    mark: Color
    mark_rad: float
    xy_T2: FloatArray
    scale_T: FloatArray
    angle_T: FloatArray
    opacity_T: FloatArray
    depth: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stage:
    """What all performers of a video share: the clock, the numbers, the light, and the room that is always in view."""

    times_T: FloatArray
    numbers: DifficultyNumbers
    side_px: int
    base_luma: float
    room_2: FloatArray
    exit_2: FloatArray
    """How far from the world's middle something must be to be surely out of the picture, along each axis."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cue:
    """What is to be performed.

    Attributes:
        program: The program.
        shape: Shape of the object.
        radius_px: Its radius, pixels; made smaller where the program needs more room than there is.
        progress_T: Share of the event that is over, per frame.
        is_seen_T: 1 where it may be seen, else 0, per frame.
        follow: How far the camera goes along, share of the object's way.
    """

    program: Program
    shape: str
    radius_px: float
    progress_T: FloatArray
    is_seen_T: FloatArray
    follow: float = 0.0


class Performance(NamedTuple):
    """A cue that has its place: a sprite per part of the program, and how the camera goes along, pixels."""

    sprites: tuple[Sprite, ...]
    camera_xy_T2: FloatArray


def perform(rng: np.random.Generator, stage: Stage, cue: Cue, others: list[Performance]) -> Performance:
    """Place a performance so that all of it stays in view, as far from the others as a few tries allow.

    Args:
        rng: Source of chance.
        stage: What all performers share.
        cue: What is performed.
        others: Performances that have their places.
    """
    take = Take(
        reach=rng.uniform(*stage.numbers.reach), heading_rad=rng.uniform(0, 2 * np.pi), hand=int(rng.choice((-1, 1)))
    )
    fit = _fitted(cue, take, stage.room_2)
    parts = cue.program.parts(cue.progress_T, fit.take)
    follow_T2 = cue.follow * fit.radius_px * (_middle(parts) - _halfway_2(cue, fit.take))
    free_2 = stage.room_2 - (fit.high_2 - fit.low_2) / 2
    tried_K2 = rng.uniform(-1, 1, (PLACES_TRIED, 2)) * free_2 - (fit.low_2 + fit.high_2) / 2
    place_2 = max(tried_K2, key=lambda place_2: _clearance(fit.radius_px * _middle(parts) + place_2, others))
    colors, tilt_rad = _colors(rng, stage, cue.shape), rng.uniform(0, 2 * np.pi)
    looks = {
        "object": Look(cue.shape, *colors["object"], rng.uniform(0, 2 * np.pi), tilt_rad),
        "partner": Look(PARTNERS[rng.integers(len(PARTNERS))], *colors["partner"], 0.0, 0.0),
    }
    sprites = tuple(_sprite(part, looks[part.role], fit.radius_px, place_2, stage.exit_2) for part in parts)
    return Performance(tuple(replace(s, opacity_T=s.opacity_T * cue.is_seen_T) for s in sprites), follow_T2)


class Look(NamedTuple):
    """How a performer looks: shape, both colours, where the second one lies, and how the shape is turned, radians."""

    shape: str
    color: Color
    mark: Color
    mark_rad: float
    tilt_rad: float


def _sprite(part: Part, look: Look, radius_px: float, place_2: FloatArray, exit_2: FloatArray) -> Sprite:
    num_frames = len(part.xy_T2)
    xy_T2 = radius_px * part.xy_T2
    if part.piece:  # pieces lie around the middle as the tilted whole does
        cos, sin = np.cos(look.tilt_rad), np.sin(look.tilt_rad)
        xy_T2 = xy_T2 @ np.array([[cos, sin], [-sin, cos]])
    # A way out is as long as it is from here, with the whole shape beyond the border.
    out_T2 = part.way_out_T2 * (exit_2 + STAMP_REACH * radius_px) - np.abs(part.way_out_T2) * place_2
    return Sprite(
        shape=look.shape,
        piece=part.piece,
        radius_px=radius_px,
        color=look.color,
        mark=look.mark,
        mark_rad=look.mark_rad,
        xy_T2=place_2 + xy_T2 + out_T2,
        scale_T=np.broadcast_to(part.scale_T, num_frames),
        angle_T=np.broadcast_to(part.angle_T + look.tilt_rad, num_frames),
        opacity_T=np.broadcast_to(part.opacity_T, num_frames),
        depth=part.depth,
    )


class Fit(NamedTuple):
    """A take that has room: its radius, and its box in the picture around the place, all in pixels."""

    take: Take
    radius_px: float
    low_2: FloatArray
    high_2: FloatArray


def _fitted(cue: Cue, take: Take, room_2: FloatArray) -> Fit:
    """Shorten the reach, then the radius, until the program has room."""
    progress_T, radius_px = np.linspace(0, 1, 49), cue.radius_px
    while True:
        parts = cue.program.parts(progress_T, take)
        follow_T2 = cue.follow * (_middle(parts) - _halfway_2(cue, take))
        around = [_box(part, follow_T2) for part in parts]
        low_2 = radius_px * np.min([(xy_T2 - reach_T1).min(axis=0) for xy_T2, reach_T1 in around], axis=0)
        high_2 = radius_px * np.max([(xy_T2 + reach_T1).max(axis=0) for xy_T2, reach_T1 in around], axis=0)
        if (high_2 - low_2 <= 2 * room_2).all():
            return Fit(take, radius_px, low_2, high_2)
        if take.reach > SMALLEST_REACH:
            take = replace(take, reach=0.93 * take.reach)
        else:
            radius_px *= 0.95


def _box(part: Part, follow_T2: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the middle of a part in the picture, and how far it reaches from there, per moment, radii."""
    reach_T1 = BOX_REACH * np.reshape(part.scale_T, (-1, 1))
    if part.piece:  # in which direction it lies depends on how the whole is turned
        return -follow_T2, reach_T1 + np.hypot(*part.xy_T2.T)[:, None]
    return part.xy_T2 - follow_T2, reach_T1


def _halfway_2(cue: Cue, take: Take) -> FloatArray:
    middle_2: FloatArray = _middle(cue.program.parts(np.array([0.5]), take))[0]
    return middle_2


def _middle(parts: tuple[Part, ...]) -> FloatArray:
    """Return the middle of the object, which may be in pieces."""
    return np.asarray(np.mean([part.xy_T2 for part in parts if part.role == "object"], axis=0))


def _clearance(xy_T2: FloatArray, others: list[Performance]) -> float:
    """Return the smallest distance to any other performance, pixels."""
    gaps = [np.hypot(*(xy_T2 - s.xy_T2).T).min() for other in others for s in other.sprites]
    return float(min(gaps, default=0.0))


def _colors(rng: np.random.Generator, stage: Stage, shape: str) -> dict[str, tuple[Color, Color]]:
    """Choose both colours of the object and of its partner; each stands out from the background and from the other."""
    base, contrast = stage.base_luma, rng.uniform(*stage.numbers.contrast)
    sides = [s for s in (-1, 1) if LUMA_RANGE[0] <= base + s * stage.numbers.contrast[0] <= LUMA_RANGE[1]]
    side = int(rng.choice(sides))
    luma = float(np.clip(base + side * contrast, *LUMA_RANGE))
    hue = next((a.hue for a in APPEARANCES if a.id == shape), None) if stage.numbers.is_hue_bound else None
    partner_luma = base - side * contrast
    if not LUMA_RANGE[0] <= partner_luma <= LUMA_RANGE[1]:
        partner_luma = base + side * max(0.45 * contrast, LEAST_PARTNER_LUMA)
    is_pale = stage.numbers.is_hue_bound
    return {
        "object": _two_tone(rng, hue, luma, base, is_pale=is_pale),
        "partner": _two_tone(rng, None, partner_luma, base, is_pale=is_pale),
    }


def _two_tone(
    rng: np.random.Generator, hue: Color | None, luma: float, base_luma: float, *, is_pale: bool
) -> tuple[Color, Color]:
    """Return a colour and, further from the background where there is room, the one of its marked half."""
    strength = 0.8 if hue else 0.15 if is_pale else rng.uniform(0.2, 0.8)
    chosen = hue or (float(rng.uniform(0, 255)), float(rng.uniform(0, 255)), float(rng.uniform(0, 255)))
    color = _tinted(chosen, luma, strength)
    away = MARK_LUMA if luma >= base_luma else -MARK_LUMA
    # The marked half is paler, too. Near black and white there may be no room on the far side.
    marks = [_tinted(chosen, luma + shift, 0.5 * strength) for shift in (away, -away)]
    differences = [np.abs(np.subtract(mark, color)).max() for mark in marks]
    return color, marks[0] if differences[0] >= min(LEAST_MARK, differences[1]) else marks[1]


def _tinted(hue: Color, luma: float, strength: float) -> Color:
    """Return the hue at another brightness."""
    own_luma = np.dot(hue, (0.299, 0.587, 0.114))
    red, green, blue = (min(max(luma + strength * (value - own_luma), 0.0), 255.0) for value in hue)
    return float(red), float(green), float(blue)


def faint_color(rng: np.random.Generator, luma: float, strength: float) -> Color:
    """Draw a colour of any hue whose brightness is about ``luma``; strength 0 is gray, 1 is vivid."""
    red, green, blue = (float(value) for value in rng.uniform(0, 255, 3))
    return _tinted((red, green, blue), luma, strength)
