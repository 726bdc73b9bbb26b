"""Copies of videos as people make them: for ``bench/scan.py``, which measures how many of them a scan finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from pipelines.pixels import resize
from pipelines.video_writer import write_video

Frame = npt.NDArray[np.uint8]
MAX_FRAMES = 300
"""Longer videos are copied no further than this."""
MAX_HEIGHT_PX = 480


@dataclass(frozen=True)
class Recipe:
    """How one copy is made.

    Attributes:
        name: What it is called in the table.
        change: What becomes of each frame.
        suffix: Container.
        codec: Encoder.
        options: Encoder's options.
        keep: Part of the frames that stays, as shares of the video.
        every: Which frames stay: each, every second …
    """

    name: str
    change: Callable[[Frame], Frame] = lambda frame: frame
    suffix: str = ".mp4"
    codec: str = "libx264"
    options: tuple[tuple[str, str], ...] = (("preset", "veryfast"), ("crf", "28"))
    keep: tuple[float, float] = (0.0, 1.0)
    every: int = 1


def half_size(frame: Frame) -> Frame:
    """Shrink to half."""
    return even(resize(frame, max(2, frame.shape[0] // 2), max(2, frame.shape[1] // 2)))


def brighter(frame: Frame) -> Frame:
    """Raise brightness and contrast."""
    lit: Frame = np.clip(frame.astype(np.float32) * 1.15 + 20, 0, 255).astype(np.uint8)
    return lit


def watermarked(frame: Frame) -> Frame:
    """Put a sign into a corner: stripes, white and black, a quarter of the width."""
    marked = frame.copy()
    height, width = frame.shape[0] // 10, frame.shape[1] // 4
    stripes = (np.arange(width) // max(1, width // 12) % 2 * 255).astype(np.uint8)
    top, left = frame.shape[0] - height - frame.shape[0] // 30, frame.shape[1] - width - frame.shape[1] // 30
    marked[top : top + height, left : left + width] = stripes[None, :, None]
    return marked


def cropped(frame: Frame) -> Frame:
    """Cut off 4 % at each side."""
    rows, columns = frame.shape[0] // 25, frame.shape[1] // 25
    return even(frame[rows : frame.shape[0] - rows, columns : frame.shape[1] - columns])


def mirrored(frame: Frame) -> Frame:
    """Turn left to right."""
    return frame[:, ::-1]


def even(frame: Frame) -> Frame:
    """Cut off an odd row or column: encoders want even sizes."""
    return frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]


RECIPES = (
    Recipe("encoded again, crf 34", options=(("preset", "veryfast"), ("crf", "34"))),
    Recipe("MPEG-4 in AVI", suffix=".avi", codec="mpeg4", options=(("qscale", "8"),)),
    Recipe("half the size", half_size),
    Recipe("brighter", brighter),
    Recipe("watermark", watermarked),
    Recipe("4 % cropped", cropped),
    Recipe("every second frame", every=2),
    Recipe("first fifth cut off", keep=(0.2, 1.0)),
    Recipe("middle half", keep=(0.25, 0.75)),
    Recipe("mirrored", mirrored),
)


def frames_of(path: Path) -> tuple[list[Frame], Fraction]:
    """Decode the first frames of a video, made smaller if need be; and their rate."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate or Fraction(25)
        frames: list[Frame] = []
        for frame in container.decode(stream):
            if len(frames) == MAX_FRAMES:
                break
            frames.append(_smaller(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)))
    return frames, rate


def _smaller(frame: Frame) -> Frame:
    if frame.shape[0] <= MAX_HEIGHT_PX:
        return even(frame)
    return even(resize(frame, MAX_HEIGHT_PX, round(frame.shape[1] * MAX_HEIGHT_PX / frame.shape[0])))


def write_copy(path: Path, frames: list[Frame], rate: Fraction, recipe: Recipe) -> Path:
    """Write one copy; its suffix follows from the recipe."""
    first, last = (round(share * len(frames)) for share in recipe.keep)
    kept = frames[first : max(last, first + 1) : recipe.every]
    target = path.with_suffix(recipe.suffix)
    rate = min(rate / recipe.every, Fraction(60)).limit_denominator(1001)
    write_video(target, map(recipe.change, kept), fps=rate, codec=recipe.codec, options=dict(recipe.options))
    return target


def write_copies(folder: Path, bases: Iterable[Path]) -> Iterator[tuple[Path, Path, Recipe | None]]:
    """Write every kind of copy of every video.

    Yields:
        The video, a file, and how that was made; None for the video as it is, encoded once more at high quality.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, base in enumerate(bases):
        frames, rate = frames_of(base)
        original = Recipe("original", options=(("preset", "veryfast"), ("crf", "18")))
        yield base, write_copy(folder / f"{number:03d}-original", frames, rate, original), None
        for index, recipe in enumerate(RECIPES):
            yield base, write_copy(folder / f"{number:03d}-{index:02d}", frames, rate, recipe), recipe
