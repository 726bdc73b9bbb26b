"""The stand-in corpus: which videos there are, what happens in each and when, and how each is encoded.

A corpus is described by five settings; every video of it follows from them, its split and its number alone, so that
any worker can plan any video. ``standin_scene`` decides what is drawn, ``standin_files`` writes the files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import NamedTuple, get_args

import numpy as np

from fal_model.errors import ConfigError
from pipelines.standin_classes import MAX_CLASSES, MIN_CLASSES, choose_classes
from pipelines.standin_difficulty import (
    Difficulty,
    DifficultyNumbers,
    Picture,
    Span,
    difficulty_numbers,
    picture_numbers,
)
from pipelines.standin_programs import FloatArray

GENERATOR_VERSION = 3
"""Raised whenever the same settings, split and number give another video; it is hashed into every video's seed."""

SPLITS = ("train", "val", "test")
HELD_OUT_SHARE = 0.1
"""Share of each class's videos that go to val, and to test."""
KEYFRAME_INTERVALS = (8, 15, 30, 60, 250)
ENCODINGS = (
    ("libx264", "mp4"),
    ("libx264", "mkv"),
    ("libx264", "mov"),
    ("libvpx-vp9", "webm"),
    ("mpeg4", "avi"),
    ("libx265", "mp4"),
    ("libsvtav1", "mp4"),
    ("mjpeg", "avi"),
)
ENCODING_SHARES = (0.55, 0.10, 0.05, 0.09, 0.09, 0.06, 0.03, 0.03)
VARIABLE_RATE_CODEC = "libx264"
FURTHER_EVENT = 0.8
"""A video is longer by this share of a single event's length for each further event."""
DROPPED_SHARE = 0.2
"""Share of the frames that a video of variable rate drops."""


class Event(NamedTuple):
    """One labelled occurrence, ``[start_s, end_s)`` in seconds from the start of the video."""

    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StandinVideo:
    """The plan of one video: its truth, its format, and the seed of everything that is random in it.

    Attributes:
        video_id: Unique over splits, corpora and generator versions.
        split: Split it belongs to.
        difficulty: How hard it is.
        events: What happens, by its beginning; the classes of one video differ.
        width_px: Width, pixels.
        height_px: Height, pixels.
        fps: Frames per second where none is dropped.
        num_frames: Length in frames.
        is_variable_rate: Whether some frames are shown for twice the time.
        codec: Encoder name.
        suffix: File suffix, which names the container.
        keyframe_interval: Longest distance of keyframes, frames.
        crf: How hard it is compressed, on the scale of x264.
        seed: Seed of the scene.
    """

    video_id: str
    split: str
    difficulty: Difficulty
    events: tuple[Event, ...]
    width_px: int
    height_px: int
    fps: int
    num_frames: int
    is_variable_rate: bool
    codec: str
    suffix: str
    keyframe_interval: int
    crf: int
    seed: int

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the leaf classes that occur, by their beginning."""
        return tuple(event.label for event in self.events)

    @property
    def times_s(self) -> FloatArray:
        """Return when each frame is shown, seconds."""
        return np.concatenate([[0.0], self._ends_s[:-1]])

    @property
    def duration_s(self) -> float:
        """Return the length, seconds."""
        return float(self._ends_s[-1])

    @property
    def filename(self) -> str:
        """Return the name of the video's file."""
        return f"{self.video_id}.{self.suffix}"

    @property
    def _ends_s(self) -> FloatArray:
        slots = np.ones(self.num_frames, int)
        if self.is_variable_rate:
            slots[:-1] += rng_of(self.seed, "times").random(self.num_frames - 1) < DROPPED_SHARE
        return np.cumsum(slots) / self.fps


@dataclass(frozen=True, kw_only=True, slots=True)
class StandinCorpus:
    """A corpus before it is made.

    Attributes:
        classes: Number of classes, 2 to 500; see ``standin_classes.choose_classes``.
        videos_per_class: Videos in which a class is what the video is made for, ≥ 1; some videos show further classes.
        seed: Seed of the corpus, ≥ 0.
        difficulty: How hard it is.
        picture: How large its pictures are.

    Raises:
        ConfigError: every value out of range.
    """

    classes: int
    videos_per_class: int
    seed: int = 0
    difficulty: Difficulty = "standard"
    picture: Picture = "small"

    def __post_init__(self) -> None:
        problems = []
        if not MIN_CLASSES <= self.classes <= MAX_CLASSES:
            problems.append(f"classes: got {self.classes}, must be {MIN_CLASSES} to {MAX_CLASSES}")
        if self.videos_per_class < 1:
            problems.append(f"videos_per_class: got {self.videos_per_class}, must be ≥ 1")
        if self.seed < 0:
            problems.append(f"seed: got {self.seed}, must be ≥ 0")
        for name, choices in (("difficulty", Difficulty), ("picture", Picture)):
            if getattr(self, name) not in get_args(choices):
                problems.append(f"{name}: got {getattr(self, name)!r}, must be one of {', '.join(get_args(choices))}")
        if problems:
            raise ConfigError(problems)

    def count(self, split: str) -> int:
        """Return how many videos a split has: a tenth of each class in val and in test, at least one from 3 on."""
        held_out = max(1, int(HELD_OUT_SHARE * self.videos_per_class + 0.5))
        shares = {"test": min(held_out, self.videos_per_class - 1)}
        shares["val"] = max(0, min(held_out, self.videos_per_class - 1 - shares["test"]))
        return self.classes * (shares[split] if split in shares else self.videos_per_class - sum(shares.values()))

    def video(self, split: str, index: int) -> StandinVideo:
        """Plan one video.

        Every run of as many videos as there are classes is made for each class once, so any beginning of a split is
        balanced; a corpus of more videos per class begins with the smaller one.

        Args:
            split: train, val or test; no two share a video, a seed or a texture.
            index: Its number in the split, ≥ 0.
        """
        seed = int.from_bytes(self._digest(split, index)[:8], "little")
        return _plan(self, split, index, self.video_id(split, index), seed)

    def video_id(self, split: str, index: int) -> str:
        """Name one video; all settings but the number of videos are in its last part."""
        return f"{split}-{index:06d}-{self._digest(split, index)[:4].hex()}"

    def _digest(self, split: str, index: int) -> bytes:
        key = (GENERATOR_VERSION, self.classes, self.seed, self.difficulty, self.picture, split, index)
        return hashlib.sha256("/".join(map(str, key)).encode()).digest()

    def videos(self, split: str) -> list[StandinVideo]:
        """Plan all videos of a split, in order."""
        return [self.video(split, index) for index in range(self.count(split))]


def rng_of(*key: object) -> np.random.Generator:
    """Make a generator from a key: the same key gives the same numbers on any machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def _plan(corpus: StandinCorpus, split: str, index: int, video_id: str, seed: int) -> StandinVideo:
    numbers, picture = difficulty_numbers(corpus.difficulty), picture_numbers(corpus.picture)
    rng = rng_of(seed, "plan")
    labels = _labels(corpus, split, index, numbers, rng)
    fps = picture.rates_fps[rng.integers(len(picture.rates_fps))]
    length_s = rng.uniform(*picture.length_s) * (1 + FURTHER_EVENT * (len(labels) - 1))
    codec, suffix = ENCODINGS[rng.choice(len(ENCODINGS), p=ENCODING_SHARES)]
    is_variable = codec == VARIABLE_RATE_CODEC and rng.random() < numbers.variable_rate_share
    width_px, height_px = picture.sizes_px[rng.integers(len(picture.sizes_px))]
    is_overlapping = rng.random() < numbers.overlap_share
    video = StandinVideo(
        video_id=video_id,
        split=split,
        difficulty=corpus.difficulty,
        events=(),
        width_px=width_px,
        height_px=height_px,
        fps=fps,
        num_frames=round(length_s * fps),
        is_variable_rate=is_variable,
        codec=codec,
        suffix=suffix,
        keyframe_interval=KEYFRAME_INTERVALS[rng.integers(len(KEYFRAME_INTERVALS))],
        crf=int(rng.integers(numbers.crf[0], numbers.crf[1] + 1)),
        seed=seed,
    )
    place = _overlapping if is_overlapping else _one_by_one
    return replace(video, events=place(labels, video.duration_s, numbers.event_share, rng))


def _labels(
    corpus: StandinCorpus, split: str, index: int, numbers: DifficultyNumbers, rng: np.random.Generator
) -> list[str]:
    """Choose what happens: the class that the video is made for, then any others."""
    classes = choose_classes(corpus.classes)
    block, place = divmod(index, len(classes))
    order = rng_of(GENERATOR_VERSION, corpus.classes, corpus.seed, split, "order", block).permutation(len(classes))
    chosen = [classes[order[place]]]
    num_events = min(numbers.num_events[index % len(numbers.num_events)], len(classes))
    while len(chosen) < num_events:
        further = classes[rng.integers(len(classes))]
        if further not in chosen:
            chosen.append(further)
    return [chosen[i] for i in rng.permutation(len(chosen))]


def _one_by_one(labels: list[str], duration_s: float, share: Span, rng: np.random.Generator) -> tuple[Event, ...]:
    """Give every event a random place in an equal part of the video."""
    part_s = duration_s / len(labels)
    events = []
    for i, label in enumerate(labels):
        length_s = part_s * rng.uniform(*share)
        start_s = i * part_s + rng.uniform(0, part_s - length_s)
        events.append(_event(label, start_s, length_s))
    return tuple(events)


def _overlapping(labels: list[str], duration_s: float, share: Span, rng: np.random.Generator) -> tuple[Event, ...]:
    """Let every event begin when it likes; it is a little longer than when it has a part to itself."""
    events = []
    for label in labels:
        length_s = min(1.3 / len(labels), 1.0) * duration_s * rng.uniform(*share)
        events.append(_event(label, rng.uniform(0, duration_s - length_s), length_s))
    return tuple(sorted(events, key=lambda event: event.start_s))


def _event(label: str, start_s: float, length_s: float) -> Event:
    """Give the times to the millisecond; rounded down, the end stays inside the video."""
    return Event(label, int(start_s * 1000) / 1000, int((start_s + length_s) * 1000) / 1000)
