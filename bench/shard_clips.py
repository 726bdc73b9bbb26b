"""The clips that ``bench/shards.py`` measures on: from the recordings, and from the stand-in corpus."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fal_model.errors import VideoError
from fal_model.spec import ClipSpec
from pipelines.clips import Clip, prepare_clips
from pipelines.limits import DecodeLimits
from pipelines.optical_flow import FlowEstimator
from pipelines.pictures import PictureReader
from pipelines.standin import StandinCorpus
from pipelines.standin_files import write_videos

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("activitynet", "falls", "infrared-aircraft", "surveillance-fights")
SUFFIXES = {".mp4", ".avi", ".mkv", ".webm", ".mov"}
LIMITS = DecodeLimits()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two neighbouring frames of a recording, and the time between them."""

    first_HWC: npt.NDArray[np.uint8]
    second_HWC: npt.NDArray[np.uint8]
    gap_s: float

    def flow(self, spec: ClipSpec) -> npt.NDArray[np.float32] | None:
        """Measure the motion from one to the other, pixels per flow step; None across a cut."""
        return FlowEstimator(spec)(self.first_HWC, self.second_HWC, self.gap_s)


def recordings(count: int) -> list[Path]:
    """Choose recordings, as many of each kind as there are, evenly over each folder's names."""
    root = Path(os.environ.get("FAL_REAL_VIDEOS", ROOT.parent / "shared" / "videos"))
    kinds = [sorted(p for p in (root / name).rglob("*") if p.suffix in SUFFIXES) for name in FOLDERS]
    kinds = [files for files in kinds if files]
    found: list[Path] = []
    for number, files in enumerate(kinds):
        share = min(len(files), (count - len(found)) // (len(kinds) - number))
        found += [files[i * len(files) // share] for i in range(share)]
    return found


def standin_videos(folder: Path, count: int) -> list[Path]:
    """Write videos of the stand-in corpus: 500 classes, standard difficulty, pictures of medium size."""
    corpus = StandinCorpus(classes=500, videos_per_class=10, difficulty="standard", picture="medium")
    videos = [corpus.video("train", index * (corpus.count("train") // count)) for index in range(count)]
    missing = [v for v in videos if not (folder / v.filename).exists()]
    for done, video in enumerate(missing):
        show(f"making stand-in videos {done + 1}/{len(missing)}")
        write_videos([video], str(folder))
    return [folder / v.filename for v in videos]


def clips_of(files: list[Path], spec: ClipSpec, per_video: int) -> tuple[list[Clip], float]:
    """Return the first clips of each file, and the mean number of clips that a file has."""
    clips: list[Clip] = []
    counts: list[int] = []
    for number, path in enumerate(files):
        show(f"decoding {number + 1}/{len(files)} at {spec.size_px} px")
        try:
            with path.open("rb") as source:
                info, found = prepare_clips(source, spec, LIMITS)
                taken = [clip for clip, _ in zip(found, range(per_video), strict=False)]
        except VideoError:
            continue
        clips += taken
        counts.append(info.num_clips)
    return clips, sum(counts) / max(1, len(counts))


def pairs_of(files: list[Path], spec: ClipSpec) -> Iterator[Pair]:
    """Yield a pair of neighbouring frames from the middle of each file."""
    for path in files:
        with path.open("rb") as source:
            try:
                reader = PictureReader(source, LIMITS)
                middle = len(reader.table.times_s) // 2
                pictures = reader.pictures([middle - 1, middle], spec.size_px)
            except VideoError:
                continue
        if len(pictures) == 2:
            first, second = pictures[middle - 1], pictures[middle]
            if second.time_s > first.time_s:
                yield Pair(first.rgb_HWC, second.rgb_HWC, second.time_s - first.time_s)


def show(text: str) -> None:
    """Show what is being done, over what was shown before."""
    sys.stderr.write(f"\r{text:<70}")
    sys.stderr.flush()
