"""Long videos: memory while they grow from a minute to hours, and what sharing one out among workers costs and brings.

    python bench/long_videos.py --work DIR [--minutes 1 60 180] [--piece-windows 360]

Makes videos of a small picture with a keyframe every two seconds, once. Each is prepared as a whole and in ranges of
windows, by one process and by two. Peak memory is that of the decoding process and of the one that gathers its clips.
Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fal_model.spec import ClipSpec
from pipelines import storage
from pipelines.isolation import ALL_WINDOWS, IsolatedPreparer
from pipelines.limits import DecodeLimits
from pipelines.video_writer import write_video

FPS, SIZE_PX = 15, (180, 320)
SPEC = ClipSpec(num_frames=8, size_px=224)
MIB = 2**20
MOST_BYTES = 2**40


@dataclass(frozen=True, slots=True)
class Prepared:
    """What preparing a range of windows took.

    Attributes:
        num_windows: Of the whole video.
        num_clips: Of the range.
        seconds: For all of it.
        first_s: Until the first clip: hash, index and the first decoding.
        child_mib: Highest memory of the decoding process.
        parent_mib: Highest memory of the process that takes the clips.
    """

    num_windows: int
    num_clips: int
    seconds: float
    first_s: float
    child_mib: float
    parent_mib: float


def main(argv: list[str] | None = None) -> int:
    """Make the videos, measure, print."""
    options = _options(argv)
    work = Path(options.work).absolute()
    work.mkdir(parents=True, exist_ok=True)
    print(
        "| minutes | MiB | windows | decoding process, MiB | its parent, MiB | whole, s | clips/s "
        "| before the first clip, s | ranges | one process, s | two processes, s | same clips |\n|" + "---|" * 12,
        flush=True,
    )
    for minutes in options.minutes:
        path = _video(work, minutes)
        (whole,) = _run(path, [ALL_WINDOWS], 1)[0]
        step = options.piece_windows
        ranges = [range(a, a + step) for a in range(0, whole.num_windows, step)]
        (one, one_s), (two, two_s) = _run(path, ranges, 1), _run(path, ranges, 2)
        is_same = all(sum(p.num_clips for p in parts) == whole.num_clips for parts in (one, two))
        print(
            f"| {minutes} | {path.stat().st_size / MIB:.0f} | {whole.num_windows} | {whole.child_mib:.0f} "
            f"| {whole.parent_mib:.0f} | {whole.seconds:.1f} | {whole.num_clips / whole.seconds:.1f} "
            f"| {whole.first_s:.2f} | {len(ranges)} | {one_s:.1f} | {two_s:.1f} | {'as many' if is_same else 'NO'} |",
            flush=True,
        )
    return 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="folder for the videos; kept")
    parser.add_argument("--minutes", type=int, nargs="+", default=[1, 60, 180], help="lengths of the videos")
    parser.add_argument("--piece-windows", type=int, default=360, help="windows of a range")
    return parser.parse_args(argv)


def _video(work: Path, minutes: int) -> Path:
    path = work / f"{minutes}-minutes.mp4"
    if not path.exists():
        unfinished = work / f"unfinished-{minutes}.mp4"
        options = {"preset": "ultrafast", "sc_threshold": "0"}
        write_video(unfinished, _pictures(60 * minutes * FPS), fps=FPS, options=options, keyframe_interval=2 * FPS)
        unfinished.rename(path)
    return path


def _pictures(count: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Show a textured scene from a camera that moves, with a square of its own motion."""
    scene = np.random.default_rng(0).integers(0, 255, (*(s // 6 + 40 for s in SIZE_PX), 3), np.uint8)
    scene = scene.repeat(6, axis=0).repeat(6, axis=1)
    for i in range(count):
        top, left = i % 120, (i // 3) % 200
        picture = scene[top : top + SIZE_PX[0], left : left + SIZE_PX[1]].copy()
        x = (5 * i) % (SIZE_PX[1] - 40)
        picture[60:100, x : x + 40] = (220, 40, 40)
        yield picture


def _run(path: Path, ranges: list[range], num_processes: int) -> tuple[list[Prepared], float]:
    """Prepare ranges in fresh processes; return each, and the seconds of all together, processes not counted."""
    with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(_warm_up, [path] * num_processes))
        start = time.monotonic()
        done = list(pool.map(_prepare, [path] * len(ranges), ranges))
        return done, time.monotonic() - start


@cache
def _preparer() -> IsolatedPreparer:
    """Return the decoding process of this one, which a worker of the job keeps too."""
    return IsolatedPreparer(SPEC, DecodeLimits())


def _warm_up(path: Path) -> None:
    with storage.open_video(str(path), MOST_BYTES) as source:
        list(_preparer().prepare(source, range(1))[1])
    time.sleep(1.0)  # so that each process of the pool gets one


def _prepare(path: Path, windows: range) -> Prepared:
    start = time.monotonic()
    first_s, num_clips = 0.0, 0
    with storage.open_video(str(path), MOST_BYTES) as source:
        storage.sha256_of(source)
        info, clips = _preparer().prepare(source, windows)
        for _ in clips:
            first_s = first_s or time.monotonic() - start
            num_clips += 1
    child_mib = _peak_mib(_preparer().child_pid or 0)
    parent_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Prepared(info.num_clips, num_clips, time.monotonic() - start, first_s, child_mib, parent_mib)


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    sys.exit(main())
