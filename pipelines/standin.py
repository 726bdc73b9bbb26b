"""The stand-in corpus: which classes there are, which videos, and what happens in each.

A class is an appearance (shape and hue of the object) and a motion. Motions come in pairs that show the same pictures
in reversed order, so that no single frame can tell them apart. Brightness, size, speed, place, background, camera
drift and distractors are random and carry no class information. ``standin_render`` draws the scenes,
``standin_files`` writes the files. Everything follows from (corpus seed, split, index).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fal_model.errors import ConfigError
from fal_model.taxonomy import Node, Taxonomy

GENERATOR_VERSION = 2
"""Raised whenever the same (seed, split, index) gives another video; it is hashed into every video's seed."""

FloatArray = npt.NDArray[np.float64]
Color = tuple[float, float, float]


class Appearance(NamedTuple):
    """What the object looks like.

    Attributes:
        id: First part of the class id; also the name of its shape for the renderer.
        definition: One line for people.
        hue: Its colour at full strength, red, green and blue from 0 to 255; brightness is drawn for each video.
    """

    id: str
    definition: str
    hue: Color


class Motion(NamedTuple):
    """How the object moves.

    Attributes:
        id: Last part of the class id.
        definition: One line for people.
        waypoints: Corners of the path, travelled at constant speed; x right, y down, in units of the travel.
    """

    id: str
    definition: str
    waypoints: tuple[tuple[float, float], ...]


APPEARANCES = (
    Appearance("disc", "A filled round object, reddish.", (255.0, 40.0, 40.0)),
    Appearance("square", "A filled object with four equal sides, at any angle, greenish.", (40.0, 220.0, 40.0)),
    Appearance("ring", "A round object with a hole in its middle, bluish.", (50.0, 90.0, 255.0)),
    Appearance("cross", "Two crossed bars of equal length, at any angle, yellowish.", (240.0, 220.0, 0.0)),
)

MOTIONS = (
    Motion("moves_left", "moves from right to left", ((0.5, 0.0), (-0.5, 0.0))),
    Motion("moves_right", "moves from left to right", ((-0.5, 0.0), (0.5, 0.0))),
    Motion(
        "rises_then_falls",
        "rises, then falls below where it began, and comes back",
        ((0.0, 0.0), (0.0, -0.5), (0.0, 0.5), (0.0, 0.0)),
    ),
    Motion(
        "falls_then_rises",
        "falls, then rises above where it began, and comes back",
        ((0.0, 0.0), (0.0, 0.5), (0.0, -0.5), (0.0, 0.0)),
    ),
)

DISTRACTOR_SHAPES = ("triangle", "bar")

SIZES_PX = ((128, 96), (144, 108), (160, 120), (176, 144), (192, 144))
FRAME_RATES_FPS = (15, 24, 25, 30)
KEYFRAME_INTERVALS = (8, 15, 30, 60, 250)
ENCODINGS = (("libx264", "mp4"), ("libx264", "mkv"), ("mpeg4", "avi"), ("libvpx-vp9", "webm"))
ENCODING_SHARES = (0.70, 0.10, 0.13, 0.07)
LONG_EVERY = 4
"""Every fourth video is long and holds two events."""
CRF_RANGE = (20, 32)
DRIFT_SHARE = 0.035
"""Furthest that the camera drifts from its middle, as share of the picture's height."""
REST_SHARE = 0.7
"""Share of objects that stay in the picture, at rest, before and after their event; the others are absent."""
MIN_CONTRAST = 80
LUMA_RANGE = (15, 240)


class Event(NamedTuple):
    """One labelled occurrence, ``[start_s, end_s)`` in seconds from the start of the video."""

    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StandinVideo:
    """The plan of one video: its truth, its format, and the seed of everything that is random in it.

    Attributes:
        video_id: Unique over splits, corpus seeds and generator versions.
        split: Split it belongs to.
        events: What happens, in order of time; the classes of one video differ.
        width_px: Width, pixels.
        height_px: Height, pixels.
        fps: Frames per second, constant.
        num_frames: Length in frames.
        codec: Encoder name.
        suffix: File suffix, which names the container.
        keyframe_interval: Longest distance of keyframes, frames.
        crf: How hard it is compressed, on the scale of x264.
        seed: Seed of the scene.
    """

    video_id: str
    split: str
    events: tuple[Event, ...]
    width_px: int
    height_px: int
    fps: int
    num_frames: int
    codec: str
    suffix: str
    keyframe_interval: int
    crf: int
    seed: int

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the leaf classes that occur, in order of time."""
        return tuple(event.label for event in self.events)

    @property
    def duration_s(self) -> float:
        """Return the length, seconds."""
        return self.num_frames / self.fps

    @property
    def filename(self) -> str:
        """Return the name of the video's file."""
        return f"{self.video_id}.{self.suffix}"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sprite:
    """A shape and where it is in every frame.

    Attributes:
        shape: An appearance id or one of ``DISTRACTOR_SHAPES``.
        radius_px: Half of its diameter, pixels.
        angle_rad: Rotation, radians.
        color: Red, green, blue, 0 to 255.
        xy_T2: Centre in world pixels per frame (the camera is not yet applied).
        is_visible_T: Whether it is there, per frame.
    """

    shape: str
    radius_px: float
    angle_rad: float
    color: Color
    xy_T2: FloatArray
    is_visible_T: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scene:
    """Everything that is drawn.

    Attributes:
        objects: The labelled objects, one per event of the video.
        distractors: Small shapes outside the taxonomy, drawn below the objects.
        camera_xy_T2: World position of the picture's upper left corner per frame, pixels.
        background: Two colours between which the background runs.
        noise_sigma: Standard deviation of the sensor noise, grey values.
    """

    objects: tuple[Sprite, ...]
    distractors: tuple[Sprite, ...]
    camera_xy_T2: FloatArray
    background: tuple[Color, Color]
    noise_sigma: float


def leaf_labels() -> list[str]:
    """Return the ids of all leaf classes, in taxonomy order."""
    return [f"{a.id}.{m.id}" for a, m in product(APPEARANCES, MOTIONS)]


def standin_taxonomy() -> Taxonomy:
    """Return the label tree: appearances at level 0, appearance with motion at level 1."""
    nodes = [Node(a.id, a.id, None, a.definition) for a in APPEARANCES]
    for a, m in product(APPEARANCES, MOTIONS):
        nodes.append(Node(f"{a.id}.{m.id}", f"{a.id} {m.id.replace('_', ' ')}", a.id, f"A {a.id} {m.definition}."))
    return Taxonomy(nodes)


def plan_corpus(num_videos: int, seed: int, split: str) -> list[StandinVideo]:
    """Plan a split: which videos there are and what happens in each.

    Every run of as many videos as there are classes holds each class once as first event, so any prefix of the plan
    is balanced, and a longer plan begins with the shorter one.

    Args:
        num_videos: How many, ≥ 0.
        seed: Seed of the corpus.
        split: Name of the split; no two splits share a video.

    Returns:
        The plans, in order.

    Raises:
        ConfigError: ``num_videos`` is negative or ``split`` cannot be part of a file name.
    """
    problems = []
    if num_videos < 0:
        problems.append(f"num_videos: got {num_videos}, must be ≥ 0")
    if not split.isidentifier():
        problems.append(f"split: got {split!r}, must be letters, digits and underscores")
    if problems:
        raise ConfigError(problems)
    return [_plan_video(seed, split, index) for index in range(num_videos)]


def track(motion: Motion, progress_T: FloatArray) -> FloatArray:
    """Follow a motion's path at constant speed.

    Args:
        motion: The motion.
        progress_T: Share of the event that is over, 0 to 1; beyond that the object rests at the end.

    Returns:
        Positions ``T2`` in units of the travel, x right and y down.
    """
    corners_K2 = np.asarray(motion.waypoints)
    legs = np.hypot(*np.diff(corners_K2, axis=0).T)
    at_K = np.concatenate([[0.0], np.cumsum(legs)]) / legs.sum()
    return np.stack([np.interp(progress_T, at_K, corners_K2[:, axis]) for axis in (0, 1)], axis=-1)


def sample_scene(video: StandinVideo) -> Scene:
    """Decide everything that is drawn in a planned video.

    Args:
        video: The plan.

    Returns:
        The scene; the same plan always gives the same one.
    """
    rng = _rng(video.seed, "scene")
    times_T = np.arange(video.num_frames) / video.fps
    base_luma = rng.uniform(60, 195)
    background = (_color(rng, base_luma - rng.uniform(0, 18)), _color(rng, base_luma + rng.uniform(0, 18)))
    camera_xy_T2 = np.stack([_drift(rng, times_T, DRIFT_SHARE * video.height_px) for _ in range(2)], axis=-1)
    borders_s = _borders_s(video, rng)
    objects = [
        _event_sprite(rng, video, event, times_T, (borders_s[i], borders_s[i + 1]), base_luma)
        for i, event in enumerate(video.events)
    ]
    distractors = [_distractor(rng, video, times_T) for _ in range(int(rng.integers(1, 4)))]
    return Scene(
        objects=tuple(objects),
        distractors=tuple(distractors),
        camera_xy_T2=camera_xy_T2,
        background=background,
        noise_sigma=rng.uniform(1.0, 4.0),
    )


def _rng(*key: object) -> np.random.Generator:
    """Make a generator from a key: the same key gives the same numbers on any machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def _class_at(index: int, *key: object) -> int:
    """Return entry ``index`` of an endless sequence in which every block of all classes is a permutation."""
    num_classes = len(APPEARANCES) * len(MOTIONS)
    block, place = divmod(index, num_classes)
    return int(_rng(*key, block).permutation(num_classes)[place])


def _plan_video(corpus_seed: int, split: str, index: int) -> StandinVideo:
    key = (GENERATOR_VERSION, corpus_seed, split)
    digest = hashlib.sha256("/".join(map(str, (*key, index))).encode()).digest()
    seed = int.from_bytes(digest[:8], "little")
    rng = _rng(seed, "plan")
    labels = leaf_labels()
    classes = [_class_at(index, *key, "first")]
    is_long = index % LONG_EVERY == LONG_EVERY - 1
    if is_long:
        second = _class_at(index // LONG_EVERY, *key, "second")
        classes.append((second + 1) % len(labels) if second == classes[0] else second)
    width_px, height_px = SIZES_PX[rng.integers(len(SIZES_PX))]
    fps = FRAME_RATES_FPS[rng.integers(len(FRAME_RATES_FPS))]
    num_frames = round((rng.uniform(8, 16) if is_long else rng.uniform(2, 6)) * fps)
    codec, suffix = ENCODINGS[rng.choice(len(ENCODINGS), p=ENCODING_SHARES)]
    return StandinVideo(
        video_id=f"{split}-{index:05d}-{digest[:4].hex()}",
        split=split,
        events=tuple(_place_events([labels[c] for c in classes], num_frames / fps, rng)),
        width_px=width_px,
        height_px=height_px,
        fps=fps,
        num_frames=num_frames,
        codec=codec,
        suffix=suffix,
        keyframe_interval=KEYFRAME_INTERVALS[rng.integers(len(KEYFRAME_INTERVALS))],
        crf=int(rng.integers(CRF_RANGE[0], CRF_RANGE[1] + 1)),
        seed=seed,
    )


def _place_events(labels: list[str], duration_s: float, rng: np.random.Generator) -> Iterable[Event]:
    """Give every event an equal part of the video and a random 65–90 % of that part; times to the millisecond."""
    part_s = duration_s / len(labels)
    for i, label in enumerate(labels):
        length_s = part_s * rng.uniform(0.65, 0.9)
        start_s = i * part_s + rng.uniform(0, part_s - length_s)
        # Rounding down keeps the end inside the video.
        yield Event(label, int(start_s * 1000) / 1000, int((start_s + length_s) * 1000) / 1000)


def _borders_s(video: StandinVideo, rng: np.random.Generator) -> list[float]:
    """Return the times between which each event's object may be seen: one object at a time."""
    gaps = [(a.end_s, b.start_s) for a, b in zip(video.events, video.events[1:], strict=False)]
    return [0.0, *(float(rng.uniform(*gap)) for gap in gaps), video.duration_s]


def _event_sprite(
    rng: np.random.Generator,
    video: StandinVideo,
    event: Event,
    times_T: FloatArray,
    seen_s: tuple[float, float],
    base_luma: float,
) -> Sprite:
    """Place an object so that its whole path stays in the picture; outside its event it rests or is absent."""
    appearance_id, motion_id = event.label.split(".")
    motion = next(m for m in MOTIONS if m.id == motion_id)
    size_2 = np.array([video.width_px, video.height_px], float)
    radius_px = video.height_px * rng.uniform(0.14, 0.175)
    travel_2 = size_2 * rng.uniform(0.45, 0.58)
    path_T2 = track(motion, (times_T - event.start_s) / (event.end_s - event.start_s)) * travel_2
    # The largest size, travel and drift together just fit into the height.
    free_2 = size_2 / 2 - np.abs(path_T2).max(axis=0) - radius_px - DRIFT_SHARE * video.height_px
    begin_s, end_s = seen_s if rng.random() < REST_SHARE else (event.start_s, event.end_s)
    sides = [s for s in (-1, 1) if LUMA_RANGE[0] <= base_luma + s * MIN_CONTRAST <= LUMA_RANGE[1]]
    luma = float(np.clip(base_luma + rng.choice(sides) * rng.uniform(MIN_CONTRAST, 110), *LUMA_RANGE))
    return Sprite(
        shape=appearance_id,
        radius_px=radius_px,
        angle_rad=rng.uniform(0, 2 * np.pi),
        color=_tinted(next(a.hue for a in APPEARANCES if a.id == appearance_id), luma),
        xy_T2=size_2 / 2 + rng.uniform(-1, 1, 2) * free_2 + path_T2,
        is_visible_T=(times_T >= begin_s) & (times_T < end_s),
    )


def _distractor(rng: np.random.Generator, video: StandinVideo, times_T: FloatArray) -> Sprite:
    """Send a small shape along a straight line; it bounces off the borders of the picture."""
    size_2 = np.array([video.width_px, video.height_px], float)
    speed_2 = rng.uniform(-0.3, 0.3, 2) * size_2
    run_T2 = rng.uniform(0, 2, 2) * size_2 + times_T[:, None] * speed_2
    return Sprite(
        shape=DISTRACTOR_SHAPES[rng.integers(len(DISTRACTOR_SHAPES))],
        radius_px=video.height_px * rng.uniform(0.04, 0.06),
        angle_rad=rng.uniform(0, 2 * np.pi),
        color=_color(rng, rng.uniform(20, 235), strength=0.15),
        xy_T2=np.abs(np.mod(run_T2, 2 * size_2) - size_2),
        is_visible_T=np.ones(len(times_T), bool),
    )


def _drift(rng: np.random.Generator, times_T: FloatArray, amplitude_px: float) -> FloatArray:
    """Return a slow swing within ± ``amplitude_px``, pixels."""
    period_s, phase = rng.uniform(4, 12), rng.uniform(0, 2 * np.pi)
    return np.asarray(amplitude_px * rng.uniform(0.2, 1) * np.sin(2 * np.pi * times_T / period_s + phase))


def _color(rng: np.random.Generator, luma: float, strength: float = 0.2) -> Color:
    """Draw a pale colour of any hue whose brightness is about ``luma``: only the objects of the classes are vivid."""
    return _tinted(tuple(rng.uniform(0, 255, 3)), luma, strength)


def _tinted(hue: Color, luma: float, strength: float = 0.8) -> Color:
    """Return the hue at another brightness."""
    own_luma = np.dot(hue, (0.299, 0.587, 0.114))
    red, green, blue = (min(max(luma + strength * (value - own_luma), 0.0), 255.0) for value in hue)
    return float(red), float(green), float(blue)
