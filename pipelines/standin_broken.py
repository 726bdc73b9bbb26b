"""Files that look like videos and are none: every reader of the corpus meets them, and must say what is wrong."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path

import numpy as np

from fal_model.errors import FailureKind
from pipelines import storage
from pipelines.pixels import encode_jpeg
from pipelines.standin import StandinCorpus
from pipelines.standin_classes import MIN_CLASSES
from pipelines.standin_render import Frame, render_frames
from pipelines.video_writer import write_video


def write_broken_files(folder: str) -> dict[str, FailureKind]:
    """Write files that look like videos by their name and must end as one failure row each; those there are kept.

    Args:
        folder: Where the files go, a folder or ``s3://`` prefix; made if it does not exist.

    Returns:
        The kind of failure to expect, by file name.

    Raises:
        OutputError: they cannot be written.
    """
    contents = _contents()
    there = set(storage.names_in(folder))
    for name, (data, _) in contents.items():
        # Written anew, a file would be another one to a labelling run that goes on: its time of change tells.
        if name not in there:
            storage.write_bytes(storage.join(folder, name), data)
    return {name: kind for name, (_, kind) in contents.items()}


def _contents() -> dict[str, tuple[bytes, FailureKind]]:
    faultless = StandinCorpus(classes=MIN_CLASSES, videos_per_class=1, difficulty="easy").video("test", 0)
    pictures = list(islice(render_frames(faultless), 20))
    mp4 = _mp4_of(pictures)
    noise = np.random.Generator(np.random.PCG64(0)).integers(0, 256, 20_000, np.uint8)
    return {
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


def _mp4_of(pictures: list[Frame]) -> bytes:
    """Encode a video without fault."""
    with tempfile.TemporaryDirectory(prefix="fal-") as folder:
        path = Path(folder, "faultless.mp4")
        write_video(path, pictures, fps=25, options={"mbtree": "0"})
        return path.read_bytes()


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
