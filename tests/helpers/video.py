"""Small videos for tests, whose every frame can be told by its pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.video_writer import write_video

Frame = npt.NDArray[np.uint8]
NUM_BITS = 12


def numbered_frame(number: int, height_px: int = 64, width_px: int = 96) -> Frame:
    """Draw a number as twelve black or white cells, three rows of four; it survives coding and scaling."""
    bits = [(number >> bit) & 1 for bit in range(NUM_BITS)]
    cells = np.array(bits, np.uint8).reshape(3, 4) * 160 + 48
    rows = np.arange(height_px) * 3 // height_px
    columns = np.arange(width_px) * 4 // width_px
    return np.repeat(cells[rows][:, columns, None], 3, axis=2)


def read_number(picture: Frame) -> int:
    """Read what :func:`numbered_frame` drew, at any size."""
    height_px, width_px = picture.shape[:2]
    rows = [(2 * row + 1) * height_px // 6 for row in range(3)]
    columns = [(2 * column + 1) * width_px // 8 for column in range(4)]
    cells = picture[rows][:, columns].mean(axis=2) > 128
    return int(sum(1 << bit for bit, is_set in enumerate(cells.ravel()) if is_set))


def numbered_frames(count: int, height_px: int = 64, width_px: int = 96) -> Iterator[Frame]:
    """Yield the frames 0, 1, 2 …"""
    return (numbered_frame(number, height_px, width_px) for number in range(count))


def texture(height_px: int, width_px: int, seed: int = 0) -> Frame:
    """Make smooth coloured noise: something that optical flow can hold on to."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height_px // 8 + 2, width_px // 8 + 2, 3)).astype(np.float64)
    rows = np.linspace(0, coarse.shape[0] - 1.001, height_px)
    columns = np.linspace(0, coarse.shape[1] - 1.001, width_px)
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = coarse[top][:, left] * (1 - right) + coarse[top][:, left + 1] * right
    lower = coarse[top + 1][:, left] * (1 - right) + coarse[top + 1][:, left + 1] * right
    smooth: Frame = np.rint(upper * (1 - down) + lower * down).astype(np.uint8)
    return smooth


def panning_frames(
    count: int, right_px: int, down_px: int, height_px: int = 128, width_px: int = 128
) -> Iterator[Frame]:
    """Yield a texture whose content moves right and down by so many pixels a frame."""
    margin_y, margin_x = abs(down_px) * count, abs(right_px) * count
    scene = texture(height_px + 2 * margin_y, width_px + 2 * margin_x)
    for number in range(count):
        top, left = margin_y - down_px * number, margin_x - right_px * number
        yield scene[top : top + height_px, left : left + width_px]


def numbered_video(
    path: Path,
    count: int,
    *,
    fps: int | Fraction = 10,
    codec: str = "libx264",
    times_s: Sequence[float] | None = None,
    keyframe_interval: int | None = 10,
    rotation_deg: int = 0,
) -> Path:
    """Write the frames 0, 1, 2 … and return the path."""
    write_video(
        path,
        numbered_frames(count),
        fps=fps,
        codec=codec,
        times_s=times_s,
        options={"preset": "veryfast"} if codec == "libx264" else None,
        keyframe_interval=keyframe_interval,
        rotation_deg=rotation_deg,
    )
    return path
