"""Write videos with PyAV: stand-in data and test files. Reading is in ``pipelines.video``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av import VideoFrame, VideoStream

from pipelines.scheduling import ordinary_scheduling

WRITE_TIME_BASE = Fraction(1, 60_000)
"""Ticks of written times; MPEG-4 allows no finer clock than 1/65535."""


def write_video(
    path: str | Path,
    frames: Iterable[npt.NDArray[np.uint8]],
    *,
    fps: Fraction | int,
    codec: str = "libx264",
    times_s: Sequence[float] | None = None,
    options: Mapping[str, str] | None = None,
    keyframe_interval: int | None = None,
    rotation_deg: int = 0,
) -> None:
    """Encode frames to a file; the same frames and arguments give the same bytes (x264 only with ``mbtree=0``).

    Args:
        path: Output; its suffix chooses the container (``.mp4``, ``.mkv``, ``.webm``, ``.avi``, ``.ts`` …).
        frames: RGB pictures ``H x W x 3`` of one size; read one at a time.
        fps: Frames per second, > 0.
        codec: Encoder name of FFmpeg, such as ``libx264``, ``mpeg4``, ``libvpx-vp9``.
        times_s: Presentation time of each frame, seconds, rising; None means ``i / fps``.
        options: Encoder options, such as ``{"crf": "23", "preset": "veryfast", "pix_fmt": "yuv420p10le"}``.
        keyframe_interval: Most frames between keyframes; None leaves it to the encoder.
        rotation_deg: Clockwise turn a player must apply; written as metadata, pixels are left alone.

    Raises:
        ValueError: no frames, fewer times than frames, or an encoder that makes no video.
    """
    encoder_options = dict(options or {})
    pix_fmt = encoder_options.pop("pix_fmt", "yuv420p")
    if keyframe_interval is not None:
        encoder_options["g"] = str(keyframe_interval)
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError("write_video: got no frames, need at least one")
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=fps, options=encoder_options)
        if not isinstance(stream, VideoStream):
            raise ValueError(f"write_video: codec {codec!r} is not a video encoder")  # noqa: TRY004 - the name of a codec is a value
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = pix_fmt
        context = stream.codec_context
        context.thread_count = 1
        context.flags |= int(av.codec.context.Flags.bitexact)
        context.time_base = WRITE_TIME_BASE if times_s is not None else 1 / Fraction(fps)
        if rotation_deg % 360:
            stream.set_display_rotation(-rotation_deg)  # PyAV counts counter-clockwise
        with ordinary_scheduling():
            stream.codec_context.open(strict=False)
        for index, picture in enumerate(chain([first], pictures)):
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.time_base = context.time_base
            frame.pts = index if times_s is None else _pts_at(times_s, index)
            container.mux(stream.encode(frame.reformat(format=pix_fmt, threads=1)))
        container.mux(stream.encode(None))


def _pts_at(times_s: Sequence[float], index: int) -> int:
    if index >= len(times_s):
        raise ValueError(f"write_video: got {len(times_s)} times, need one for frame {index}")
    return round(times_s[index] / WRITE_TIME_BASE)
