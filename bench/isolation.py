"""What the decoding process costs: the same 720p files through this process and through the child, in turns.

Makes H.264 files of 1280 x 720 with keyframes every 2 and 5 s, long ones and short ones, into --work (kept for the
next run). Everything runs on one core. Processor time counts both processes; starting the child is told apart, for one
child serves many videos. Prints a Markdown table; the least of all rounds is taken, which noise can only raise.
Run it as: python bench/isolation.py
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fal_model.spec import ClipSpec
from pipelines.clips import Clip, VideoInfo, prepare_clips
from pipelines.isolation import IsolatedPreparer
from pipelines.limits import DecodeLimits
from pipelines.video_writer import write_video

ROOT = Path(__file__).resolve().parents[1]

FPS = 25
SIZE_PX = (720, 1280)
KEYFRAMES_S = (2, 5)
SHORT_S = 2
MOST_OVERHEAD = 0.03
Prepare = Callable[[BinaryIO], tuple[VideoInfo, Iterator[Clip]]]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one video took, seconds."""

    processor_s: float
    wall_s: float

    def least(self, other: Cost) -> Cost:
        """Return the smaller of both figures."""
        return Cost(min(self.processor_s, other.processor_s), min(self.wall_s, other.wall_s))

    def plus(self, other: Cost) -> Cost:
        """Return the sum."""
        return Cost(self.processor_s + other.processor_s, self.wall_s + other.wall_s)


NEVER = Cost(math.inf, math.inf)


def main() -> int:
    """Make the files, measure in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "bench-isolation", help="folder for the made files")
    parser.add_argument("--seconds", type=int, default=60, help="length of the long files")
    parser.add_argument("--rounds", type=int, default=7, help="how often each file is taken either way")
    parser.add_argument("--quick", action="store_true", help="long files of 20 s, 3 rounds")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = 20, 3
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    files = made_files(options.work, options.seconds)
    spec, limits = ClipSpec(), DecodeLimits()
    start_s = start_cost_s(files[-1], spec, limits)
    here = dict.fromkeys(files, NEVER)
    isolated = dict.fromkeys(files, NEVER)
    with IsolatedPreparer(spec, limits) as preparer:
        measure(files[-1], preparer.prepare, preparer)  # starts the child
        for number in range(options.rounds):
            for path in files:
                here[path] = here[path].least(measure(path, lambda file: prepare_clips(file, spec, limits), None))
                isolated[path] = isolated[path].least(measure(path, preparer.prepare, preparer))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    return report(here, isolated, start_s)


def made_files(folder: Path, seconds: int) -> list[Path]:
    """Write what is not there yet; long ones first."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for length_s in (seconds, SHORT_S):
        for keyframes_s in KEYFRAMES_S:
            path = folder / f"720p-{length_s}s-key{keyframes_s}s.mp4"
            files.append(path)
            if not path.exists():
                print(f"making {path.name}", file=sys.stderr)
                draft = path.with_suffix(".draft.mp4")
                write_video(
                    draft,
                    frames(length_s * FPS),
                    fps=FPS,
                    options={"preset": "veryfast", "crf": "25"},
                    keyframe_interval=keyframes_s * FPS,
                )
                draft.replace(path)
    return files


def frames(count: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield a scene that slides past a noisy camera."""
    random = np.random.default_rng(0)
    height_px, width_px = SIZE_PX
    coarse = random.integers(30, 226, (height_px // 16, width_px // 8, 3), np.uint8)
    scene = coarse.repeat(16, axis=0).repeat(16, axis=1)
    noise = [random.integers(0, 9, (*SIZE_PX, 3), np.uint8) for _ in range(8)]
    for number in range(count):
        at = abs((3 * number) % (2 * width_px) - width_px)
        yield scene[:, at : at + width_px] + noise[number % len(noise)]


def measure(path: Path, prepare: Prepare, preparer: IsolatedPreparer | None) -> Cost:
    """Take all clips of a video."""
    with path.open("rb") as file:
        child_s, own_s, wall_s = processor_time_s(preparer), time.process_time(), time.perf_counter()
        for _ in prepare(file)[1]:
            pass
        wall_s = time.perf_counter() - wall_s
        return Cost(time.process_time() - own_s + processor_time_s(preparer) - child_s, wall_s)


def processor_time_s(preparer: IsolatedPreparer | None) -> float:
    """Return the processor time of the child so far; 0 without one."""
    pid = None if preparer is None else preparer.child_pid
    return 0.0 if pid is None else time.clock_gettime((~pid << 3) | 2)  # Linux: the clock of another process


def start_cost_s(path: Path, spec: ClipSpec, limits: DecodeLimits) -> float:
    """Return how long a child takes from nothing to the first clip of a short video, less that of a running child."""
    costs = []
    for _ in range(3):
        with IsolatedPreparer(spec, limits) as preparer:
            first, second = (measure(path, preparer.prepare, preparer) for _ in range(2))
            costs.append(first.wall_s - second.wall_s)
    return min(costs)


def report(here: dict[Path, Cost], isolated: dict[Path, Cost], start_s: float) -> int:
    """Print the table; return 1 if isolation costs more than it may."""
    print("| file | processor here, s | isolated, s | more | wall here, s | isolated, s | more |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    total_here = total_isolated = Cost(0, 0)
    for path, cost in here.items():
        print(row(path.name, cost, isolated[path]))
        total_here, total_isolated = total_here.plus(cost), total_isolated.plus(isolated[path])
    print(row("all", total_here, total_isolated))
    overhead = total_isolated.processor_s / total_here.processor_s - 1
    print(f"\nStarting a child: {start_s:.2f} s. Allowed overhead: {MOST_OVERHEAD:.0%} of processor time.")
    return 0 if overhead <= MOST_OVERHEAD else 1


def row(name: str, here: Cost, isolated: Cost) -> str:
    """Format one row of the table."""
    pairs = ((here.processor_s, isolated.processor_s), (here.wall_s, isolated.wall_s))
    cells = [f"{a:.3f} | {b:.3f} | {b / a - 1:+.1%}" for a, b in pairs]
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
