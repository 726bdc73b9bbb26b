"""Write the stand-in corpus: encoded videos and their truth, to a folder or to S3.

The same plan gives the same bytes with the same versions of FFmpeg, OpenCV and numpy.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fal_model.errors import OutputError
from pipelines import storage
from pipelines.pixels import use_one_thread
from pipelines.standin import StandinCorpus, StandinVideo
from pipelines.standin_render import render_frames
from pipelines.video_writer import write_video

CHUNK_VIDEOS = 32
_NUMBER = re.compile(r"[a-z]+-([0-9]+)-")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some videos of a split, one after the other, and the names of those that are there already."""

    split: str
    start: int
    stop: int
    present: tuple[str, ...]


def chunks_of(corpus: StandinCorpus, split: str, folder: str) -> list[Chunk]:
    """Cut a split into chunks; the folder is listed once, whatever the number of videos.

    Args:
        corpus: The corpus.
        split: train, val or test.
        folder: Where its videos go, a folder or ``s3://`` prefix.

    Raises:
        OutputError: videos of another corpus are there, which nobody could tell from this one's.
    """
    count = corpus.count(split)
    present: dict[int, list[str]] = {}
    for name in storage.names_in(folder):
        number = _NUMBER.match(name)
        if number:
            if not name.startswith(corpus.video_id(split, int(number[1]))):
                raise OutputError(
                    f"{storage.join(folder, name)!r} is of a corpus with other settings (classes, seed, difficulty or "
                    "picture) or of another version; use another --output, or delete it to start again"
                )
            present.setdefault(int(number[1]) // CHUNK_VIDEOS, []).append(name)
    return [
        Chunk(split, start, min(start + CHUNK_VIDEOS, count), tuple(present.get(start // CHUNK_VIDEOS, ())))
        for start in range(0, count, CHUNK_VIDEOS)
    ]


def write_chunk(corpus: StandinCorpus, chunk: Chunk, folder: str) -> list[dict[str, Any]]:
    """Plan the videos of a chunk, and write those that are not there: a file that is there is complete.

    Args:
        corpus: The corpus.
        chunk: Which videos.
        folder: Where they go, a folder or ``s3://`` prefix; made if it does not exist.

    Returns:
        The rows of their manifest, in order.

    Raises:
        OutputError: a file cannot be written.
    """
    use_one_thread()
    videos = [corpus.video(chunk.split, index) for index in range(chunk.start, chunk.stop)]
    write_videos((v for v in videos if v.filename not in chunk.present), folder)
    return [manifest_row(video) for video in videos]


def write_videos(videos: Iterable[StandinVideo], folder: str) -> None:
    """Draw, encode and write planned videos.

    Raises:
        OutputError: a file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="fal-") as scratch:
        for video in videos:
            storage.write_bytes(storage.join(folder, video.filename), encoded(video, scratch))


def encoded(video: StandinVideo, scratch: str) -> bytes:
    """Draw and encode one planned video.

    Args:
        video: The plan.
        scratch: Local folder for a file that is gone afterwards.

    Returns:
        The bytes of its file.
    """
    path = Path(scratch, video.filename)
    os.environ.setdefault("SVT_LOG", "1")  # its encoder writes a page about itself into the terminal for every video
    write_video(
        path,
        render_frames(video),
        fps=video.fps,
        codec=video.codec,
        times_s=video.times_s.tolist() if video.is_variable_rate else None,
        options=_encoder_options(video),
        keyframe_interval=video.keyframe_interval,
    )
    data = path.read_bytes()
    path.unlink()
    return data


def manifest_row(video: StandinVideo) -> dict[str, Any]:
    """Return the truth about a video as one row of a manifest; its address is relative to its split's folder."""
    return {
        "video_id": video.video_id,
        "uri": video.filename,
        "labels": list(video.labels),
        "segments": [event._asdict() for event in video.events],
        "split": video.split,
        "duration_s": video.duration_s,
    }


def _encoder_options(video: StandinVideo) -> dict[str, str]:
    crf = str(video.crf)
    match video.codec:
        case "libx264":
            # x264's macroblock tree (its assembly) gives other bytes from run to run on small pictures.
            return {"preset": "veryfast", "crf": crf, "mbtree": "0"}
        case "libx265":
            return {"preset": "ultrafast", "crf": crf, "x265-params": "pools=none:frame-threads=1:log-level=none"}
        case "libsvtav1":
            return {"preset": "12", "crf": str(video.crf + 10), "svtav1-params": "lp=1"}
        case "libvpx-vp9":
            return {"deadline": "realtime", "cpu-used": "8", "crf": crf, "b": "0"}
    quantiser = str(video.crf // 5)  # mpeg4 and mjpeg count from 1 to 31
    options = {"qmin": quantiser, "qmax": quantiser}
    return options | {"pix_fmt": "yuvj420p"} if video.codec == "mjpeg" else options
