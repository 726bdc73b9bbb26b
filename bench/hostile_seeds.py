"""Small files to damage: one per container and codec that this build of FFmpeg can write, and small real ones."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av import AudioStream, VideoFrame, VideoStream

from pipelines.video_writer import write_video

NUM_FRAMES = 8
SMALL_BYTES = 200_000
REAL_FOLDERS = ("odd", "broken")

# Suffix, encoder, pixel format, height and width, frames per second.
MADE: tuple[tuple[str, str, str, tuple[int, int], int], ...] = (
    ("mp4", "libx264", "yuv420p", (48, 64), 10),
    ("mp4", "libx265", "yuv420p", (64, 64), 10),
    ("mp4", "libx264", "yuv420p10le", (48, 64), 10),
    ("mov", "mpeg4", "yuv420p", (48, 64), 10),
    ("mov", "prores_ks", "yuv422p10le", (32, 32), 10),
    ("mov", "qtrle", "rgb24", (32, 32), 10),
    ("mkv", "libx264", "yuv420p", (48, 64), 10),
    ("mkv", "ffv1", "yuv420p", (32, 32), 10),
    ("mkv", "mjpeg", "yuvj420p", (32, 32), 10),
    ("webm", "libvpx", "yuv420p", (48, 64), 10),
    ("webm", "libvpx-vp9", "yuv420p", (48, 64), 10),
    ("webm", "libsvtav1", "yuv420p", (64, 64), 10),
    ("avi", "mpeg4", "yuv420p", (48, 64), 10),
    ("avi", "mjpeg", "yuvj420p", (32, 32), 10),
    ("avi", "msvideo1", "rgb555le", (32, 32), 10),
    ("avi", "huffyuv", "rgb24", (32, 32), 10),
    ("avi", "ffvhuff", "yuv420p", (32, 32), 10),
    ("mov", "png", "rgba", (32, 32), 10),
    ("avi", "rawvideo", "yuv420p", (16, 16), 10),
    ("ts", "libx264", "yuv420p", (48, 64), 10),
    ("ts", "mpeg2video", "yuv420p", (48, 64), 25),
    ("flv", "flv", "yuv420p", (48, 64), 10),
    ("flv", "libx264", "yuv420p", (48, 64), 10),
    ("ogv", "libvpx", "yuv420p", (48, 64), 10),
    ("mpg", "mpeg1video", "yuv420p", (48, 64), 25),
    ("vob", "mpeg2video", "yuv420p", (48, 64), 25),
    ("h264", "libx264", "yuv420p", (48, 64), 10),
    ("hevc", "libx265", "yuv420p", (64, 64), 10),
    ("m4v", "mpeg4", "yuv420p", (48, 64), 10),
    ("m1v", "mpeg1video", "yuv420p", (48, 64), 25),
    ("h263", "h263", "yuv420p", (96, 128), 10),
    ("3gp", "h263", "yuv420p", (96, 128), 10),
    ("gif", "gif", "rgb8", (32, 32), 10),
    ("asf", "wmv2", "yuv420p", (48, 64), 10),
    ("wmv", "msmpeg4", "yuv420p", (48, 64), 10),
    ("rm", "rv20", "yuv420p", (96, 128), 10),
    ("mxf", "mpeg2video", "yuv420p", (48, 64), 25),
    ("swf", "flv", "yuv420p", (48, 64), 10),
    ("ivf", "libvpx", "yuv420p", (48, 64), 10),
)
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "fflags": "+bitexact"}


def seeds(folder: Path | None) -> dict[str, bytes]:
    """Make the files, and read the small real ones.

    Args:
        folder: Of the real recordings; None for none.

    Returns:
        Contents by name, always in the same order. What this build cannot write is left out.
    """
    found: dict[str, bytes] = {}
    os.environ.setdefault("SVT_LOG", "1")  # this encoder reports to the terminal otherwise
    with tempfile.TemporaryDirectory() as place:
        for suffix, codec, pix_fmt, size_px, fps in MADE:
            path = Path(place) / f"{codec}-{pix_fmt}.{suffix}"
            try:
                write_video(
                    path,
                    _moving(size_px),
                    fps=fps,
                    codec=codec,
                    options={"pix_fmt": pix_fmt, **_quiet(codec)},
                    keyframe_interval=4,
                    rotation_deg=90 if suffix == "mov" else 0,
                )
            except (av.FFmpegError, ValueError):
                continue  # another build, without this encoder
            found[path.name] = path.read_bytes()
        fragments = Path(place) / "fragments.mp4"
        _write_with_sound(fragments, FRAGMENTED)
        found[fragments.name] = fragments.read_bytes()
        with_sound = Path(place) / "sound.mp4"
        _write_with_sound(with_sound, {"fflags": "+bitexact"})
        found[with_sound.name] = with_sound.read_bytes()
    for name in REAL_FOLDERS if folder is not None else ():
        for path in sorted((folder or Path()).joinpath(name).rglob("*")):
            if path.is_file() and 0 < path.stat().st_size <= SMALL_BYTES:
                found[f"{name}/{path.name}"] = path.read_bytes()
    return found


def real_folder() -> Path | None:
    """Find the real recordings, if they are there."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "videos"
    folder = Path(os.environ.get("FAL_REAL_VIDEOS") or beside)
    return folder if folder.is_dir() else None


def _moving(size_px: tuple[int, int]) -> Iterator[npt.NDArray[np.uint8]]:
    height_px, width_px = size_px
    ramp = np.arange(height_px * width_px * 3, dtype=np.int64).reshape(height_px, width_px, 3)
    for number in range(NUM_FRAMES):
        yield ((ramp * 7 + number * 31) % 251).astype(np.uint8) // (1 + number // 4)


def _quiet(codec: str) -> dict[str, str]:
    """Return what keeps an encoder quick, silent and the same from run to run."""
    one_thread = {
        "libx264": {"preset": "veryfast", "bf": "2"},
        "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1"},
        "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    }
    return one_thread.get(codec, {})


def _write_with_sound(path: Path, container_options: dict[str, str]) -> None:
    """Write a video with B-frames and a sound track, times from -0.2 s on."""
    with av.open(str(path), "w", container_options=container_options) as container:
        video = container.add_stream("libx264", rate=10, options={"preset": "veryfast", "bf": "2", "g": "4"})
        sound = container.add_stream("aac", rate=8000)
        if not isinstance(video, VideoStream) or not isinstance(sound, AudioStream):
            raise TypeError("an encoder of another kind than asked for")
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.thread_count = 1
        for number, picture in enumerate(_moving((48, 64))):
            frame = VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number - 2
            container.mux(video.encode(frame))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
        silence.sample_rate = 8000
        container.mux(sound.encode(silence))
        container.mux([*video.encode(None), *sound.encode(None)])
