"""Make the videos that bench/decode.py measures on: moving, noisy, cut scenes at the bitrates of web video.

A base of BASE_S seconds is drawn and encoded once per codec, size and keyframe interval; shorter and longer files are
cut and repeated from it without encoding again. The same arguments give the same pictures; files stay in the folder.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
from av import VideoStream

from pipelines.video_writer import write_video

FPS = 25
BASE_S = 30
CUTS_S = (0.0, 7.3, 13.1, 22.7)
"""Where a new shot begins in the base. The encoder is told to set keyframes by the clock alone, as for streaming."""
NOISE_SIGMA = 2.0
NUM_OBJECTS = 7
FINEST = 60
"""Cells of the finest detail over the height. With HAZE and SHAKE (a second picture that moves differently and shines
through; a camera held by hand, in heights) it brings keyframes to 0.5–0.9 bit per pixel and 5–6 times the size of other
frames, as in real web video; scenes that only slide give keyframes 20 to 30 times as large."""
HAZE = 0.4
SHAKE = 0.004

Frame = npt.NDArray[np.uint8]

WIDTHS_PX = {360: 640, 720: 1280, 1080: 1920}
BITRATES = {360: 1_000_000, 720: 3_000_000, 1080: 5_000_000}
ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1"}
OPTIONS = {
    "h264": {"preset": "veryfast", "bf": "3", "sc_threshold": "0"},
    "hevc": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1:bframes=3:scenecut=0"},
    "vp9": {"deadline": "realtime", "cpu-used": "8", "row-mt": "0"},
    "av1": {"preset": "12", "svtav1-params": "lp=1:scd=0"},
}
EFFICIENCY = {"h264": 1.0, "hevc": 0.6, "vp9": 0.7, "av1": 0.5}
"""Share of H.264's bitrate at which a codec is used on the web."""


@dataclass(frozen=True, slots=True)
class Made:
    """One file to make: codec, height, keyframe interval and length."""

    codec: str
    height_px: int
    gop_s: float
    length_s: int

    @property
    def name(self) -> str:
        """Return the file's name, which says all about it."""
        return f"{self.codec}-{self.height_px}p-gop{self.gop_s:g}s-{self.length_s}s.mp4"


def base_frames(height_px: int) -> Iterator[Frame]:
    """Draw the base: textured background under a moving camera, textured objects, sensor noise, cuts.

    Args:
        height_px: Height of the picture; 360, 720 or 1080.

    Yields:
        ``BASE_S * FPS`` RGB pictures.
    """
    cv2.setNumThreads(1)
    width_px = WIDTHS_PX[height_px]
    rng = np.random.Generator(np.random.PCG64(7))
    noise = rng.normal(0, NOISE_SIGMA, (height_px + 64, width_px + 64, 3)).astype(np.int16)
    brighter, darker = np.maximum(noise, 0).astype(np.uint8), np.maximum(-noise, 0).astype(np.uint8)
    edges = [*(round(cut_s * FPS) for cut_s in CUTS_S), BASE_S * FPS]
    for shot, (start, end) in enumerate(itertools.pairwise(edges)):
        scene = _Shot(shot, height_px, width_px)
        for t in range(end - start):
            picture = scene.draw(t / FPS)
            y, x = rng.integers(0, 64, 2)
            picture = cv2.add(picture, brighter[y : y + height_px, x : x + width_px])
            yield np.asarray(cv2.subtract(picture, darker[y : y + height_px, x : x + width_px]), np.uint8)


class _Shot:
    """One camera setting: a canvas larger than the picture, and objects that cross it."""

    def __init__(self, seed: int, height_px: int, width_px: int) -> None:
        rng = np.random.Generator(np.random.PCG64(100 + seed))
        self._size = (width_px, height_px)
        finest_px = height_px / FINEST
        self._canvas = _texture(rng, int(height_px * 1.4), int(width_px * 1.4), finest_px)
        self._speed = rng.uniform(-0.01, 0.01, 2) * width_px
        self._zoom = rng.uniform(-0.01, 0.01)
        self._haze = _texture(rng, int(height_px * 1.4), int(width_px * 1.4), finest_px)
        self._haze_turns = rng.uniform(-0.06, 0.06, 2)
        self._shake_px = rng.normal(0, SHAKE * height_px, (BASE_S * FPS, 2))
        self._objects = []
        for _ in range(NUM_OBJECTS):
            side = int(rng.uniform(0.08, 0.3) * height_px)
            mask = np.zeros((side, side, 1), np.uint8)
            cv2.circle(mask, (side // 2, side // 2), side // 2 - 1, 1, -1)
            place, speed = rng.uniform(0, 1, 2), rng.uniform(-0.25, 0.25, 2)
            self._objects.append((_texture(rng, side, side, finest_px), mask.astype(bool), place, speed))

    def draw(self, t_s: float) -> Frame:
        width_px, height_px = self._size
        shift = 0.2 * np.array([width_px, height_px]) + self._shake_px[round(t_s * FPS)]
        far = _moved(self._canvas, shift + self._speed * t_s, 1 + self._zoom * t_s, self._size)
        sway = 0.15 * width_px * np.sin(2 * np.pi * self._haze_turns * t_s)
        near = _moved(self._haze, shift + sway, 1, self._size)
        picture = np.asarray(cv2.addWeighted(far, 1 - HAZE, near, HAZE, 0), np.uint8)
        for texture, mask, place, speed in self._objects:
            side = texture.shape[0]
            across, down = 1 - np.abs((place + speed * t_s) % 2 - 1)  # turn round at the borders
            x, y = int(across * (width_px - side)), int(down * (height_px - side))
            np.copyto(picture[y : y + side, x : x + side], texture, where=mask)
        return picture


def _moved(canvas: Frame, shift_px: npt.NDArray[np.float64], zoom: float, size: tuple[int, int]) -> Frame:
    matrix = np.array([[zoom, 0, -shift_px[0]], [0, zoom, -shift_px[1]]])
    return np.asarray(cv2.warpAffine(canvas, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))


def _texture(rng: np.random.Generator, height_px: int, width_px: int, cells_px: float) -> Frame:
    """Return coloured detail at every scale from the given one up, as much at each."""
    total = np.full((height_px, width_px, 3), rng.uniform(70, 180, 3), np.float32)
    while cells_px < height_px:
        shape = (max(2, int(height_px / cells_px)), max(2, int(width_px / cells_px)), 3)
        grid = rng.normal(0, 9, shape).astype(np.float32)
        total += cv2.resize(grid, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
        cells_px *= 2
    return np.clip(total, 0, 255).astype(np.uint8)


def make(folder: Path, made: Made) -> Path:
    """Make one file, unless it is there.

    Args:
        folder: Where files and their bases are kept.
        made: Which.

    Returns:
        Path of the file.
    """
    path = folder / made.name
    if not path.exists():
        base = _make_base(folder, made)
        partly = path.with_suffix(".part.mp4")
        _cut_or_repeat(base, partly, made.length_s)
        partly.replace(path)
    return path


def _make_base(folder: Path, made: Made) -> Path:
    base = folder / f"base-{made.codec}-{made.height_px}p-gop{made.gop_s:g}s.mp4"
    if base.exists():
        return base
    bitrate = round(BITRATES[made.height_px] * EFFICIENCY[made.codec])
    options = OPTIONS[made.codec] | {"b": str(bitrate), "maxrate": str(2 * bitrate), "bufsize": str(4 * bitrate)}
    if made.codec == "av1":
        options.pop("maxrate")  # SVT-AV1 takes one only with a constant quality
        options.pop("bufsize")
    partly = base.with_suffix(".part.mp4")
    write_video(
        partly,
        base_frames(made.height_px),
        fps=FPS,
        codec=ENCODERS[made.codec],
        options=options,
        keyframe_interval=round(made.gop_s * FPS),
    )
    partly.replace(base)
    return base


def _cut_or_repeat(base: Path, path: Path, length_s: int) -> None:
    """Copy packets of the base, from its start and over again, until the length is reached."""
    with av.open(str(path), "w", container_options={"fflags": "+bitexact", "movflags": "+faststart"}) as output:
        stream: VideoStream | None = None
        left = length_s * FPS
        for turn in range(-(-length_s // BASE_S)):
            with av.open(str(base)) as source:
                origin = source.streams.video[0]
                stream = stream or output.add_stream_from_template(origin, opaque=True)
                shift = round(turn * BASE_S / (origin.time_base or 1))
                for packet in source.demux(origin):
                    if packet.size == 0 or packet.pts is None or packet.dts is None or left == 0:
                        continue
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    output.mux(packet)
                    left -= 1


def make_all(folder: Path, wanted: Iterable[Made], num_workers: int) -> dict[str, Path | str]:
    """Make files side by side, the bases of several files once.

    Args:
        folder: Where to.
        wanted: Which.
        num_workers: How many at a time.

    Returns:
        Path of each file by name, or why it could not be made (an encoder that this FFmpeg does not have).
    """
    folder.mkdir(parents=True, exist_ok=True)
    groups: dict[tuple[str, int, float], list[Made]] = {}
    for made in wanted:
        groups.setdefault((made.codec, made.height_px, made.gop_s), []).append(made)
    result: dict[str, Path | str] = {}

    def make_group(group: list[Made]) -> None:
        start_s = time.monotonic()
        for made in group:
            try:
                result[made.name] = make(folder, made)
            except (av.FFmpegError, ValueError) as error:
                result[made.name] = f"{type(error).__name__}: {error}"
        spent_s = time.monotonic() - start_s
        if spent_s > 1:
            print(f"  made {', '.join(m.name for m in group)} in {spent_s:.0f} s", flush=True)

    with ThreadPoolExecutor(num_workers) as pool:
        list(pool.map(make_group, groups.values()))
    return result


def main() -> None:
    """Make some files by hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="out/bench-decode/made", help="where files go")
    parser.add_argument("--codec", default="h264", choices=sorted(ENCODERS))
    parser.add_argument("--height", type=int, default=360, choices=sorted(WIDTHS_PX))
    parser.add_argument("--gop-s", type=float, default=2.0, help="seconds between keyframes")
    parser.add_argument("--length-s", type=int, default=60, help="length, seconds")
    chosen = parser.parse_args()
    made = Made(chosen.codec, chosen.height, chosen.gop_s, chosen.length_s)
    print(make_all(Path(chosen.output), [made], os.cpu_count() or 1))


if __name__ == "__main__":
    main()
