"""Made videos with one short event at a known time, for ``bench/sampling.py``: backgrounds × events × encoders."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.limits import DecodeLimits
from pipelines.pictures import PictureReader
from pipelines.video_writer import write_video

SIZE_PX = 256
FPS = 25
MIN_EVENT_S, MAX_EVENT_S = 0.3, 1.0
MIN_VIDEO_S, MAX_VIDEO_S = 20.0, 60.0
LOOP_FRAMES = 60
"""Frames of a recording played forth and back: what they show happens all the time, only the event does not."""

MADE_BACKGROUNDS = ("still", "pan", "traffic", "shake", "drift of light")
EVENTS = ("object crosses", "object appears", "picture inserted", "flash", "camera jolts", "object fades in and out")
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Encoder = tuple[str, str, dict[str, str], int | None]

WEB_ENCODERS: dict[str, Encoder] = {
    "x264, keyframe ≤ 10 s": (".mp4", "libx264", {"preset": "veryfast"}, 250),
    "x264, keyframe each 2 s": (".mp4", "libx264", {"preset": "veryfast", "sc_threshold": "0"}, 50),
    "x264, no B-frames": (".mp4", "libx264", {"preset": "ultrafast", "tune": "zerolatency"}, 125),
    "x265": (".mp4", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}, 125),
    "VP9": (".webm", "libvpx-vp9", {"deadline": "good", "cpu-used": "5", "crf": "33", "b": "0"}, 125),
    "MPEG-4": (".avi", "mpeg4", {"qmin": "5", "qmax": "5"}, 125),
}
"""Encoders that hold the quality, as most video on the web is made: suffix, encoder, options, most frames between
keyframes."""
BLIND_ENCODERS: dict[str, Encoder] = {
    "x264, constant rate": (".mp4", "libx264", {"preset": "veryfast", "x264-params": "nal-hrd=cbr", "b": "250k",
                            "maxrate": "250k", "bufsize": "250k"}, 125),
    "VP9, average rate": (".webm", "libvpx-vp9", {"deadline": "good", "cpu-used": "5", "b": "250k"}, 125),
    "MPEG-4, average rate": (".avi", "mpeg4", {"b": "400k"}, 125),
    "Motion JPEG": (".avi", "mjpeg", {"pix_fmt": "yuvj420p", "q": "5"}, None),
}  # fmt: skip
"""Encoders whose packets say little of what happens: they hold the rate, or know no prediction from other frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One video of the benchmark: all that decides its bytes.

    Attributes:
        seed: Decides the textures, the length and when and where the event happens.
        background: One of ``MADE_BACKGROUNDS``, or the path of a recording that is played forth and back.
        event: One of ``EVENTS``.
        encoder: One of ``ENCODERS``.
    """

    seed: int
    background: str
    event: str
    encoder: str

    @property
    def duration_s(self) -> float:
        """Return the length of the video, seconds."""
        return float(np.random.default_rng([self.seed, 1]).uniform(MIN_VIDEO_S, MAX_VIDEO_S))

    @property
    def event_s(self) -> tuple[float, float]:
        """Return start and end of the event on the video's clock, seconds, whole frames, half-open."""
        rng = np.random.default_rng([self.seed, 2])
        num_frames = round(float(rng.uniform(MIN_EVENT_S, MAX_EVENT_S)) * FPS)
        start = round(float(rng.uniform(1.0, self.duration_s - 2.0)) * FPS)
        return start / FPS, (start + num_frames) / FPS


def write_scene(scene: Scene, folder: Path) -> Path:
    """Encode a scene unless it is there already; return its path."""
    words = (Path(scene.background).stem, scene.event, scene.encoder, str(scene.seed))
    return write_once(folder, words, (WEB_ENCODERS | BLIND_ENCODERS)[scene.encoder], _frames(scene))


def write_once(folder: Path, words: Iterable[str], encoder: Encoder, frames: Iterator[Bytes]) -> Path:
    """Encode frames unless a whole file of this name is there already; return its path.

    Args:
        folder: Where to.
        words: What tells the file from others; they make its name.
        encoder: One of the values of the tables above.
        frames: Taken only if there is no such file.
    """
    suffix, codec, options, interval = encoder
    path = folder / ("-".join("".join(c if c.isalnum() else "_" for c in word) for word in words) + suffix)
    if not path.exists():
        partial = path.with_name("part-" + path.name)
        write_video(partial, frames, fps=Fraction(FPS), codec=codec, options=options, keyframe_interval=interval)
        partial.rename(path)
    return path


def _frames(scene: Scene) -> Iterator[Bytes]:
    rng = np.random.default_rng([scene.seed, 3])
    pictures = background(scene.background, rng)
    start_s, end_s = scene.event_s
    first, last = round(start_s * FPS), round(end_s * FPS)
    event = _Event(scene.event, last - first, rng)
    for index in range(round(scene.duration_s * FPS)):
        picture_HWC = next(pictures)
        yield event.onto(picture_HWC, index - first) if first <= index < last else picture_HWC


def texture(height_px: int, width_px: int, rng: np.random.Generator) -> Floats:
    """Return a picture with detail at all sizes, ``height_px x width_px x 3``, 0 to 255."""
    total_HWC = np.zeros((height_px, width_px, 3), np.float32)
    for cells in (3, 6, 12, 24, 48):
        grid = rng.normal(size=(cells + 1, cells + 1, 3)).astype(np.float32)
        rows, columns = np.linspace(0, cells, height_px), np.linspace(0, cells, width_px)
        total_HWC += _bilinear(grid, rows, columns) * (1.3 / cells**0.6)
    return np.asarray(np.clip(total_HWC / total_HWC.std() * 45 + 128, 0, 255), np.float32)


def _bilinear(grid: Floats, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> Floats:
    r, c = np.minimum(rows.astype(int), len(grid) - 2), np.minimum(columns.astype(int), grid.shape[1] - 2)
    fr, fc = (rows - r)[:, None, None].astype(np.float32), (columns - c)[None, :, None].astype(np.float32)
    top = grid[r][:, c] * (1 - fc) + grid[r][:, c + 1] * fc
    bottom = grid[r + 1][:, c] * (1 - fc) + grid[r + 1][:, c + 1] * fc
    return np.asarray(top * (1 - fr) + bottom * fr, np.float32)


def background(name: str, rng: np.random.Generator) -> Iterator[Bytes]:
    """Yield pictures of a background without end: one of ``MADE_BACKGROUNDS``, or the path of a recording."""
    if name not in MADE_BACKGROUNDS:
        return _recording(Path(name))
    return _made_background(name, rng)


def _recording(path: Path) -> Iterator[Bytes]:
    with path.open("rb") as file:
        reader = PictureReader(file, DecodeLimits())
        pictures = reader.pictures(range(min(LOOP_FRAMES, len(reader.table))), SIZE_PX)
        reader.close()
    forth = [pictures[i].rgb_HWC for i in sorted(pictures)]
    return itertools.cycle(forth + forth[-2:0:-1])


def _made_background(name: str, rng: np.random.Generator) -> Iterator[Bytes]:
    """Yield pictures without end; camera noise differs from one to the next."""
    room = 4 * SIZE_PX
    world_HWC = texture(room, room, rng)
    noise = rng.normal(0, rng.uniform(0.5, 3), (8, SIZE_PX + 64, SIZE_PX + 64, 3)).astype(np.float32)
    movers = [_Sprite(rng) for _ in range(4 if name == "traffic" else 0)]
    at, velocity = np.array([room / 3, room / 3]), rng.uniform(-1.5, 1.5, 2)
    for index in itertools.count():
        if name == "pan":
            velocity = np.where((at + velocity < 0) | (at + velocity > room - SIZE_PX - 1), -velocity, velocity)
            at = at + velocity
        shift = rng.normal(0, 1.5, 2) if name == "shake" else 0.0
        y, x = np.clip(np.round(at + shift), 0, room - SIZE_PX - 1).astype(int)
        picture_HWC = world_HWC[y : y + SIZE_PX, x : x + SIZE_PX].copy()
        if name == "drift of light":
            picture_HWC *= 0.8 + 0.2 * np.sin(index / FPS / 3)
        for mover in movers:
            mover.draw(picture_HWC, index)
        dy, dx, k = rng.integers(64), rng.integers(64), rng.integers(8)
        picture_HWC += noise[k, dy : dy + SIZE_PX, dx : dx + SIZE_PX]
        yield np.clip(picture_HWC, 0, 255).astype(np.uint8)


class _Sprite:
    """A textured disc that wanders about for as long as the video lasts."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._radius_px = int(rng.integers(10, 26))
        self._look_HWC = texture(2 * self._radius_px, 2 * self._radius_px, rng)
        self._phase, self._speed = rng.uniform(0, 6.28, 2), rng.uniform(0.2, 0.7, 2)

    def draw(self, picture_HWC: Floats, index: int) -> None:
        reach = (SIZE_PX - 2 * self._radius_px) / 2
        y, x = (reach + reach * np.sin(self._phase + self._speed * index / FPS)).astype(int)
        _paste(picture_HWC, self._look_HWC, int(y), int(x), 1.0)


def _paste(picture_HWC: Floats, look_HWC: Floats, y: int, x: int, opacity: float) -> None:
    size = len(look_HWC)
    rows, columns = np.ogrid[:size, :size]
    mask = ((rows - size / 2) ** 2 + (columns - size / 2) ** 2 < (size / 2) ** 2)[..., None] * np.float32(opacity)
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + size, len(picture_HWC)), min(x + size, picture_HWC.shape[1])
    if top >= bottom or left >= right:
        return
    part = (slice(top - y, bottom - y), slice(left - x, right - x))
    under_HWC = picture_HWC[top:bottom, left:right]
    under_HWC += (look_HWC[part] - under_HWC) * mask[part]


class _Event:
    """Something that happens for a few frames and leaves no trace."""

    def __init__(self, name: str, num_frames: int, rng: np.random.Generator) -> None:
        self._name, self._num_frames = name, num_frames
        size = int(rng.integers(SIZE_PX // 5, SIZE_PX // 2))
        self._look_HWC = texture(size, size, rng)
        self._other_HWC = texture(SIZE_PX, SIZE_PX, rng)
        self._at = rng.integers(0, SIZE_PX - size, 2)
        self._jolts_px = rng.integers(-12, 13, (num_frames, 2))

    def onto(self, picture_HWC: Bytes, index: int) -> Bytes:
        """Return the picture as it looks ``index`` frames after the start of the event."""
        share = (index + 0.5) / self._num_frames
        result_HWC = picture_HWC.astype(np.float32)
        y, x = self._at
        if self._name == "object crosses":
            _paste(result_HWC, self._look_HWC, int(y), round(-len(self._look_HWC) / 2 + share * SIZE_PX), 1.0)
        elif self._name == "object appears":
            _paste(result_HWC, self._look_HWC, int(y), int(x), 1.0)
        elif self._name == "object fades in and out":
            _paste(result_HWC, self._look_HWC, int(y), int(x), float(np.sin(np.pi * share)))
        elif self._name == "camera jolts":
            result_HWC = np.roll(result_HWC, self._jolts_px[index], axis=(0, 1))
        elif self._name == "picture inserted":
            result_HWC = np.roll(self._other_HWC, 2 * index, axis=1)
        else:  # flash
            result_HWC = result_HWC + 110 * np.float32(np.sin(np.pi * share))
        return np.clip(result_HWC, 0, 255).astype(np.uint8)


def scenes(count: int, names: Collection[str], recordings: list[Path], first: int = 0) -> list[Scene]:
    """Return ``count`` scenes from a seed on, over all backgrounds, events and encoders; half are over recordings."""
    backgrounds = [str(path) for path in recordings]
    encoders, chosen = list(names), []
    for seed in range(first, first + count):
        made = MADE_BACKGROUNDS[(seed // 2) % len(MADE_BACKGROUNDS)]
        real = backgrounds[(seed // 2) % len(backgrounds)] if backgrounds else made
        chosen.append(
            Scene(
                seed=seed,
                background=real if seed % 2 else made,
                event=EVENTS[(seed + seed // len(EVENTS)) % len(EVENTS)],
                encoder=encoders[(seed // 2 + seed // 12) % len(encoders)],
            )
        )
    return chosen
