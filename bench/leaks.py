"""Open and decode thousands of good and broken files and watch memory and descriptors, which must stay flat.

Through one IsolatedPreparer (both processes are watched), or with --in-process through the same function in this one.
The files are made ones of several containers and codecs, cut and damaged copies of them, and, where they are present,
small files of the recordings' folders `odd` and `broken`. Writes `leaks.csv` and a curve, `leaks.svg`, into --output;
exits with 1 if memory grows after the first tenth, or descriptors do.
Run it as: python bench/leaks.py --output out/leaks
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fal_model.errors import FailureKind, VideoError
from fal_model.spec import ClipSpec
from pipelines import charts
from pipelines.clips import Clip, VideoInfo, prepare_clips
from pipelines.isolation import IsolatedPreparer
from pipelines.limits import DecodeLimits
from pipelines.video_writer import write_video

ROOT = Path(__file__).resolve().parents[1]

SPEC = ClipSpec(num_frames=4, size_px=64, flow_size_px=16)
MAX_FILE_BYTES = 150_000
MAX_SECONDS = 0.06
"""Recordings that take longer are left out: ten thousand should take minutes."""
WARM_UP_SHARE = 0.1
GROWTH_SHARE, GROWTH_MB = 0.05, 8.0
"""How much more memory than after the warm-up is no leak but the heap's own unrest."""
KINDS = (
    ("h264.mp4", "libx264"),
    ("h264.mkv", "libx264"),
    ("h264.ts", "libx264"),
    ("mpeg4.avi", "mpeg4"),
    ("mpeg4.mp4", "mpeg4"),
    ("vp8.webm", "libvpx"),
    ("vp9.webm", "libvpx-vp9"),
    ("mpeg2.mpg", "mpeg2video"),
)
STYLE = (
    "text{font:11px sans-serif;fill:#444}.mid{text-anchor:middle}.end{text-anchor:end}.grid{stroke:#ddd}"
    ".line{fill:none;stroke-width:1.5}polyline.line-1{stroke:#1f6feb}polyline.line-2{stroke:#d1242f}"
    "text.line-1{fill:#1f6feb}text.line-2{fill:#d1242f}svg{background:#fff}"
)
Prepare = Callable[[BinaryIO], tuple[VideoInfo, Iterator[Clip]]]


@dataclass(frozen=True, slots=True)
class Sample:
    """What the processes hold after so many videos; 0 where there is no child, -1 where it may not be looked at."""

    videos: int
    parent_mb: float
    parent_descriptors: int
    child_mb: float
    child_descriptors: int
    child_pid: int


def main() -> int:
    """Run, write, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=Path("out/bench-leaks"), help="folder for leaks.csv and leaks.svg"
    )
    parser.add_argument("--count", type=int, default=10_000, help="videos to open, at least 100")
    parser.add_argument("--every", type=int, default=100, help="videos from sample to sample")
    parser.add_argument("--in-process", action="store_true", help="decode in this process, without a child")
    options = parser.parse_args()
    if options.count < 100:
        parser.error(f"--count: got {options.count}, need at least 100")
    recordings = Path(os.environ.get("FAL_REAL_VIDEOS") or ROOT.parent / "shared" / "videos")
    with tempfile.TemporaryDirectory(prefix="fal-leaks-") as folder:
        files = [*made_files(Path(folder)), *small_recordings(recordings)]
        outcomes: Counter[str] = Counter()
        start_s = time.perf_counter()
        preparer = None if options.in_process else IsolatedPreparer(SPEC, DecodeLimits())
        with preparer or nullcontext():
            samples = watch(files, preparer, options.count, min(options.every, options.count // 50), outcomes)
        took_s = time.perf_counter() - start_s
    options.output.mkdir(parents=True, exist_ok=True)
    write(samples, options.output)
    print(f"{options.count} videos of {len(files)} files in {took_s:.0f} s: {dict(outcomes.most_common())}")
    return report(samples, outcomes)


def made_files(folder: Path) -> list[Path]:
    """Make good files, and of each: cut short, torn in the middle, a head that lies, without a head."""
    damage = random.Random(0)
    files = []
    for name, codec in KINDS:
        good = folder / name
        write_video(good, pictures(), fps=10, codec=codec, keyframe_interval=5)
        data = good.read_bytes()
        torn = bytearray(data)
        for _ in range(20):
            torn[damage.randrange(len(torn) // 3, len(torn))] = damage.randrange(256)
        lying = bytearray(data)
        for _ in range(8):
            lying[damage.randrange(min(400, len(lying)))] ^= 1 << damage.randrange(8)
        files.append(good)
        for kind, content in (("cut", data[: len(data) // 2]), ("torn", torn), ("lying", lying), ("end", data[200:])):
            path = folder / f"{kind}-{name}"
            path.write_bytes(content)
            files.append(path)
    for name, content in (("empty", b""), ("text", b"no video\n" * 20), ("list.m3u8", b"#EXTM3U\nx.ts\n")):
        (folder / name).write_bytes(content)
        files.append(folder / name)
    return files


def pictures() -> Iterator[npt.NDArray[np.uint8]]:
    """Yield twelve pictures of 160 x 120 that move."""
    scene = np.random.default_rng(0).integers(0, 256, (16, 40, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    return (scene[:120, 4 * number : 4 * number + 160] for number in range(12))


def small_recordings(folder: Path) -> list[Path]:
    """Choose recordings that are decoded in no time and end no child."""
    paths = [path for name in ("odd", "broken") if (folder / name).is_dir() for path in (folder / name).iterdir()]
    chosen = []
    with IsolatedPreparer(SPEC, DecodeLimits()) as preparer:
        for path in sorted(path for path in paths if path.is_file() and path.stat().st_size <= MAX_FILE_BYTES):
            pid, start_s = preparer.child_pid, time.perf_counter()
            take(path, preparer.prepare)
            if time.perf_counter() - start_s <= MAX_SECONDS and preparer.child_pid == pid:
                chosen.append(path)
    return chosen


def take(path: Path, prepare: Prepare) -> str:
    """Decode a file whole; return what became of it."""
    try:
        with path.open("rb") as file:
            for _ in prepare(file)[1]:
                pass
    except VideoError as error:
        return error.kind.value
    return "decoded"


def watch(
    files: Sequence[Path], preparer: IsolatedPreparer | None, count: int, every: int, outcomes: Counter[str]
) -> list[Sample]:
    """Decode the files over and over; measure before the first, and after every so many."""
    prepare: Prepare = preparer.prepare if preparer else lambda file: prepare_clips(file, SPEC, DecodeLimits())
    order = random.Random(0)
    samples: list[Sample] = []
    queue: list[Path] = []
    for number in range(1, count + 1):
        if not queue:
            queue = order.sample(files, len(files))
        outcomes[take(queue.pop(), prepare)] += 1
        if number % every == 0:
            samples.append(sample(number, preparer))
        if number % (10 * every) == 0:
            print(f"{number} of {count}: {samples[-1]}", file=sys.stderr)
    return samples


def sample(number: int, preparer: IsolatedPreparer | None) -> Sample:
    """Measure both processes between two videos."""
    pid = (preparer.child_pid if preparer else None) or 0
    child = (resident_mb(pid), num_descriptors(pid)) if pid else (0.0, 0)
    return Sample(number, resident_mb(os.getpid()), num_descriptors(os.getpid()), *child, pid)


def resident_mb(pid: int) -> float:
    """Return the memory of a process that is its own, in MB (10^6 bytes)."""
    resident_pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return resident_pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def num_descriptors(pid: int) -> int:
    """Count the open descriptors of a process; -1 if it hides them, as the child does from all but root."""
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except PermissionError:
        return -1


def write(samples: Sequence[Sample], folder: Path) -> None:
    """Write the samples as a table and as a curve."""
    with (folder / "leaks.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Sample)])
        table.writeheader()
        table.writerows(asdict(sample) for sample in samples)
    lines = {"parent": [(float(s.videos), s.parent_mb) for s in samples]}
    if any(s.child_pid for s in samples):
        lines["child"] = [(float(s.videos), s.child_mb) for s in samples]
    svg = charts.curves(lines, "videos opened and decoded", "memory, MB")
    opening, rest = str(svg).split(">", 1)
    text = f'{opening} xmlns="http://www.w3.org/2000/svg"><style>{STYLE}</style>{rest}\n'
    (folder / "leaks.svg").write_text(text, encoding="utf-8")


def report(samples: Sequence[Sample], outcomes: Counter[str]) -> int:
    """Print how each value went; return 1 if one of them grew."""
    begin = max(1, round(len(samples) * WARM_UP_SHARE))
    after = samples[begin:]
    videos = np.array([s.videos for s in after]) / 1000
    failed = False
    print("| what | after the warm-up | at the end | per 1,000 videos | verdict |")
    print("|---|---:|---:|---:|---|")
    for name in ("parent_mb", "child_mb", "parent_descriptors", "child_descriptors"):
        values = np.array([getattr(s, name) for s in after], np.float64)
        span = max(1, len(values) // 10)
        first, last = float(np.median(values[:span])), float(np.median(values[-span:]))
        slope = float(np.polyfit(videos, values, 1)[0])
        room = GROWTH_SHARE * first + GROWTH_MB if name.endswith("_mb") else 0.0
        grew = last - first > room
        failed |= grew
        print(f"| {name} | {first:.1f} | {last:.1f} | {slope:+.3f} | {'GROWS' if grew else 'flat'} |")
    pids = [s.child_pid for s in samples]
    num_changes = sum(a != b for a, b in itertools.pairwise(pids))
    num_ended = outcomes[FailureKind.TIMEOUT.value] + outcomes[FailureKind.DECODER_CRASH.value]
    print(f"\nThe child was replaced {num_changes} times; {num_ended} videos ended it.")
    return 1 if failed or num_changes > num_ended else 0


if __name__ == "__main__":
    sys.exit(main())
