"""The dials of the stand-in corpus: how hard its videos are, and how large. Every number of either is here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Difficulty = Literal["easy", "crowded", "standard", "hard"]
Picture = Literal["tiny", "small", "medium"]
Span = tuple[float, float]
Counts = tuple[int, int]
"""Fewest and most; any number between them is as likely."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DifficultyNumbers:
    """How a corpus is made hard. Lengths are shares of the picture's shorter side unless said otherwise.

    Attributes:
        is_hue_bound: Each appearance has its own vivid hue, and nothing else is vivid.
        num_events: How many things happen in a video; taken in turn.
        overlap_share: Share of videos with several events in which these may go on at the same time.
        event_share: Length of an event against its part of the video.
        radius: Radius of the object.
        reach: Half of the way that it goes, radii; shortened where it would leave the picture.
        contrast: Difference of the object's brightness from the background's mean, grey values.
        texture: Strength of the background's texture, grey values.
        clutter: Still things in the background.
        movers: Things outside the taxonomy that perform a program of a class.
        mover_radius: Their size against the object's.
        idlers: Things of a class's shape that do nothing.
        occluders: Posts in front of everything.
        camera: Furthest that the camera goes from its middle, along each axis.
        camera_s: Time in which it goes from one place to the next, seconds.
        follow: How far the camera goes along with an object that is alone, share of the object's way: at 1 the object
            stands still in the picture while the background moves, beyond 1 it goes backwards there.
        shake: Standard deviation of the camera's shake.
        zoom: Smallest and largest magnification; it changes on the way.
        shutter: Share of a frame's time that the shutter is open: motion blur.
        defocus_px: Standard deviation of the lens's blur, pixels; drawn for each video.
        noise: Standard deviation of the sensor's noise, grey values; drawn for each video.
        crf: How hard it is compressed, on the scale of x264.
        variable_rate_share: Share of the videos that drop frames irregularly, where the container can say so.
    """

    is_hue_bound: bool
    num_events: tuple[int, ...]
    overlap_share: float
    event_share: Span
    radius: Span
    reach: Span
    contrast: Span
    texture: Span
    clutter: Counts
    movers: Counts
    mover_radius: Span
    idlers: Counts
    occluders: Counts
    camera: float
    camera_s: Span
    follow: Span
    shake: float
    zoom: Span
    shutter: float
    defocus_px: Span
    noise: Span
    crf: Counts
    variable_rate_share: float


EASY = DifficultyNumbers(
    is_hue_bound=True,
    num_events=(1, 1, 1, 1, 1, 1, 1, 2),
    overlap_share=0.0,
    event_share=(0.65, 0.9),
    radius=(0.14, 0.175),
    reach=(1.9, 2.7),
    contrast=(80, 110),
    texture=(3, 7),
    clutter=(0, 0),
    movers=(0, 1),
    mover_radius=(0.3, 0.4),
    idlers=(0, 0),
    occluders=(0, 0),
    camera=0.03,
    camera_s=(2, 4),
    follow=(0.0, 0.0),
    shake=0.0,
    zoom=(1.0, 1.0),
    shutter=0.0,
    defocus_px=(0.0, 0.0),
    noise=(1, 4),
    crf=(20, 32),
    variable_rate_share=0.0,
)
CROWDED = replace(EASY, num_events=(2, 1, 2), overlap_share=1.0)
"""As easy to see, but in two of three videos two things happen at once. Which of them does what must be seen where both
the appearances and the programs differ, which is so in about 43 % of the videos."""
STANDARD = DifficultyNumbers(
    is_hue_bound=False,
    num_events=(1, 1, 1, 2),
    overlap_share=0.5,
    event_share=(0.55, 0.85),
    radius=(0.11, 0.15),
    reach=(1.9, 3.0),
    contrast=(60, 105),
    texture=(10, 20),
    clutter=(3, 7),
    movers=(0, 2),
    mover_radius=(0.35, 0.6),
    idlers=(0, 0),
    occluders=(0, 0),
    camera=0.11,
    camera_s=(0.8, 2.0),
    follow=(0.0, 1.0),
    shake=0.004,
    zoom=(1.0, 1.0),
    shutter=0.5,
    defocus_px=(0.0, 0.5),
    noise=(2, 7),
    crf=(24, 34),
    variable_rate_share=0.1,
)
HARD = DifficultyNumbers(
    is_hue_bound=False,
    num_events=(1, 2, 1, 3),
    overlap_share=0.7,
    event_share=(0.35, 0.65),
    radius=(0.085, 0.12),
    reach=(1.7, 3.2),
    contrast=(36, 75),
    texture=(14, 26),
    clutter=(4, 10),
    movers=(1, 3),
    mover_radius=(0.5, 0.9),
    idlers=(1, 2),
    occluders=(0, 2),
    camera=0.13,
    camera_s=(0.6, 1.6),
    follow=(-0.3, 1.5),
    shake=0.008,
    zoom=(0.88, 1.15),
    shutter=0.8,
    defocus_px=(0.0, 0.9),
    noise=(3, 10),
    crf=(28, 38),
    variable_rate_share=0.2,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureNumbers:
    """How large the videos are.

    Attributes:
        sizes_px: Width and height, pixels, even; any is as likely.
        rates_fps: Frame rates; any is as likely.
        length_s: Length of a video in which one thing happens, seconds.
    """

    sizes_px: tuple[tuple[int, int], ...]
    rates_fps: tuple[int, ...]
    length_s: Span


TINY = PictureNumbers(
    sizes_px=((96, 72), (104, 80), (112, 80), (96, 96), (80, 104)), rates_fps=(10, 12, 15), length_s=(2, 4)
)
SMALL = PictureNumbers(
    sizes_px=((128, 96), (144, 108), (160, 120), (176, 144), (192, 144)), rates_fps=(15, 24, 25, 30), length_s=(2, 6)
)
MEDIUM = PictureNumbers(
    sizes_px=((320, 240), (426, 240), (480, 270), (352, 288), (240, 426)), rates_fps=(24, 25, 30, 50), length_s=(2, 8)
)


def difficulty_numbers(name: Difficulty) -> DifficultyNumbers:
    """Return the numbers of a difficulty."""
    match name:
        case "easy":
            return EASY
        case "crowded":
            return CROWDED
        case "standard":
            return STANDARD
        case "hard":
            return HARD


def picture_numbers(name: Picture) -> PictureNumbers:
    """Return the numbers of a picture size."""
    match name:
        case "tiny":
            return TINY
        case "small":
            return SMALL
        case "medium":
            return MEDIUM
