"""Write the stand-in corpus to disk: encoded videos, their truth, and files that no reader should accept.

The same plan gives the same bytes with the same versions of FFmpeg and numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from fal_model.errors import FailureKind
from pipelines.pixels import encode_jpeg
from pipelines.standin import StandinVideo, plan_corpus
from pipelines.standin_render import Frame, render_frames
from pipelines.video_writer import write_video


def write_video_file(video: StandinVideo, folder: str | Path) -> Path:
    """Draw and encode one planned video; a file that is already there is complete and is kept.

    Args:
        video: The plan.
        folder: Where the file goes; must exist.

    Returns:
        The file's path.
    """
    path = Path(folder) / video.filename
    if not path.exists():
        part = path.with_name(f".part-{path.name}")  # hidden, so that nobody takes it for a video
        write_video(
            part,
            render_frames(video),
            fps=video.fps,
            codec=video.codec,
            options=_encoder_options(video),
            keyframe_interval=video.keyframe_interval,
        )
        part.replace(path)
    return path


def manifest_row(video: StandinVideo) -> dict[str, Any]:
    """Return the truth about a video as one row of a manifest; its address is relative to the corpus folder."""
    return {
        "video_id": video.video_id,
        "uri": video.filename,
        "labels": list(video.labels),
        "segments": [event._asdict() for event in video.events],
        "split": video.split,
        "duration_s": video.duration_s,
    }


def write_corpus(
    folder: str | Path, videos: Sequence[StandinVideo], on_video: Callable[[StandinVideo], object] | None = None
) -> list[dict[str, Any]]:
    """Write every planned video; started again after an interruption, it writes only what is missing.

    Args:
        folder: Where the files go; made if it does not exist.
        videos: The plans.
        on_video: Called after each video, to show progress.

    Returns:
        The rows of the manifest, in the order of the plans.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    for video in videos:
        write_video_file(video, folder)
        if on_video is not None:
            on_video(video)
    return [manifest_row(video) for video in videos]


def write_broken_files(folder: str | Path) -> dict[str, FailureKind]:
    """Write files that look like videos by their name and must end as one failure row each; those there are kept.

    Args:
        folder: Where the files go; made if it does not exist.

    Returns:
        The kind of failure to expect, by file name.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = list(islice(render_frames(plan_corpus(1, 0, "broken")[0]), 20))
    mp4 = _mp4_of(pictures, folder)
    noise = np.random.Generator(np.random.PCG64(0)).integers(0, 256, 20_000, np.uint8)
    contents = {
        "empty.mp4": (b"", FailureKind.EMPTY_FILE),
        "text.mp4": (b"The camera was switched off that day.\n" * 40, FailureKind.NOT_A_VIDEO),
        "random_bytes.mp4": (noise.tobytes(), FailureKind.NOT_A_VIDEO),
        "picture.mp4": (encode_jpeg(pictures[0], 90), FailureKind.NOT_A_VIDEO),
        "lfs_pointer.mp4": (_lfs_pointer(), FailureKind.NOT_A_VIDEO),
        "playlist.mp4": (b"#EXTM3U\n#EXTINF:2,\nfile:truncated.mp4\n#EXT-X-ENDLIST\n", FailureKind.UNSUPPORTED_FORMAT),
        # The index of an MP4 lies at its end: the first half alone cannot be decoded.
        "truncated.mp4": (mp4[: len(mp4) // 2], FailureKind.CORRUPT),
        "no_frames.mp4": (_without_samples(mp4), FailureKind.NO_FRAMES),
        # The only track says that it is sound.
        "audio_only.mp4": (mp4.replace(b"vide", b"soun"), FailureKind.NO_VIDEO_STREAM),
    }
    for name, (data, _) in contents.items():
        # Written anew, a file would be another one to a labelling run that goes on: its time of change tells.
        if not (folder / name).exists():
            part = folder / f".part-{name}"
            part.write_bytes(data)
            part.replace(folder / name)
    return {name: kind for name, (_, kind) in contents.items()}


def _encoder_options(video: StandinVideo) -> dict[str, str]:
    crf = str(video.crf)
    if video.codec == "libx264":
        # x264's macroblock tree (its assembly) gives other bytes from run to run on small pictures.
        return {"preset": "veryfast", "crf": crf, "mbtree": "0"}
    if video.codec == "libvpx-vp9":
        return {"deadline": "realtime", "cpu-used": "8", "crf": crf, "b": "0"}
    quantiser = str(video.crf // 5)  # mpeg4 counts from 1 to 31
    return {"qmin": quantiser, "qmax": quantiser}


def _mp4_of(pictures: list[Frame], folder: Path) -> bytes:
    """Encode a video without fault, and leave nothing behind."""
    path = folder / ".part-faultless.mp4"
    write_video(path, pictures, fps=25, options={"mbtree": "0"})
    data = path.read_bytes()
    path.unlink()
    return data


def _without_samples(mp4: bytes) -> bytes:
    """Set the number of entries in every sample table to zero: a sound header that announces a track of nothing."""
    data = bytearray(mp4)
    for box, count_at in ((b"stts", 8), (b"ctts", 8), (b"stss", 8), (b"stsc", 8), (b"stco", 8), (b"stsz", 12)):
        at = mp4.rfind(box)
        if at >= 0:
            data[at + count_at : at + count_at + 4] = bytes(4)
    return bytes(data)


def _lfs_pointer() -> bytes:
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 52428800\n"
