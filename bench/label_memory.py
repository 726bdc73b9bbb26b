"""Memory of the labelling job, process by process, while the corpus grows a hundredfold.

    python bench/label_memory.py --work DIR [--videos 100 1000 10000]

The videos are tiny and all the same bytes under other names, so that the number of videos is what grows. Every half
second the private and shared-by-share memory (PSS) of each process below the job is read; the highest of each kind is
kept; that of the driver while a model worker lives, and from then on, when it writes the report. The report lists at
most so many videos (``MAX_VIDEOS`` in ``pipelines/report_data.py``). Prints a Markdown table, MiB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.chaos_corpus import ensure_model, job_command
from bench.processes import commands_below
from pipelines.video_writer import write_video

BYTES_PER_BLOCK = 512
EVERY_S = 0.5
KINDS = {
    "decode worker": "PrepareItems",
    "decoder process": "pipelines.decode_worker",
    "model worker": "PredictBatches",
    "merge": "ray::merge_part",
}
DRIVER, REPORT, STORE, RAYLET = "driver, labelling", "driver, report", "object store", "raylet/raylet"
FPS, NUM_FRAMES, SIZE_PX = 10, 8, (48, 64)
RAY = ("ray.address=local", "ray.num_cpus=4", "ray.object_store_mib=200")


def main(argv: list[str] | None = None) -> int:
    """Label a corpus of each size and print the table."""
    options = _options(argv)
    work = Path(options.work).absolute()
    work.mkdir(parents=True, exist_ok=True)
    model = ensure_model(work)
    print(
        f"| videos | s | {' | '.join([DRIVER, REPORT, *KINDS])} | {STORE} |\n|{'---|' * (5 + len(KINDS))}", flush=True
    )
    for num_videos in options.videos:
        folder, output = _corpus(work, num_videos), work / f"out-{num_videos}"
        shutil.rmtree(output, ignore_errors=True)
        start = time.monotonic()
        peaks = watch([*job_command(folder, model, 64), *RAY, "--output", str(output)])
        row = [f"{peaks.get(kind, 0) / 1024:.0f}" for kind in (DRIVER, REPORT, *KINDS, STORE)]
        print(f"| {num_videos} | {time.monotonic() - start:.0f} | {' | '.join(row)} |", flush=True)
    return 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="folder for the corpora and the outputs; kept")
    parser.add_argument("--videos", type=int, nargs="+", default=[100, 1000, 10_000], help="sizes of the corpus")
    return parser.parse_args(argv)


def _corpus(work: Path, num_videos: int) -> Path:
    folder, one = work / f"tiny-{num_videos}", work / "tiny.mp4"
    if not one.exists():
        write_video(one, _pictures(), fps=FPS, options={"preset": "ultrafast"})
    folder.mkdir(exist_ok=True)
    for number in range(num_videos):
        with suppress(FileExistsError):
            os.link(one, folder / f"{number:06d}.mp4")
    return folder


def _pictures() -> Iterator[npt.NDArray[np.uint8]]:
    for i in range(NUM_FRAMES):
        picture = np.full((*SIZE_PX, 3), 40, np.uint8)
        picture[16:32, 4 * i : 4 * i + 16] = (200, 120, 60)
        yield picture


def watch(command: list[str]) -> dict[str, int]:
    """Run a job and return the highest memory of each kind of process, KiB."""
    peaks: dict[str, int] = {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:
        while job.poll() is None:
            for kind, kib in _memory(job.pid):
                peaks[kind] = max(peaks.get(kind, 0), kib)
            time.sleep(EVERY_S)
    if job.returncode:
        raise SystemExit(f"the job ended with {job.returncode}")
    return peaks


def _memory(driver: int) -> Iterator[tuple[str, int]]:
    """Yield the kind and the memory of every process of the job that is of one of the kinds, KiB."""
    commands = commands_below(driver)
    is_labelling = any(KINDS["model worker"] in command for command in commands.values())
    yield DRIVER if is_labelling else REPORT, _pss_kib(driver)
    for pid, command in commands.items():
        for kind, word in KINDS.items():
            if word in command:
                yield kind, _pss_kib(pid)
        if command.split("\0")[0].endswith(RAYLET):
            yield STORE, store_bytes(pid) >> 10


def _pss_kib(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def store_bytes(pid: int) -> int:
    """Return how much of a raylet's object store was ever written, by whichever process: what it held at once, at most.

    Asked of the file, which has no name any more: the raylet's own memory has only what the raylet has touched.
    """
    total_bytes = 0
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            if "plasma" in str(descriptor.readlink()):
                total_bytes += descriptor.stat().st_blocks * BYTES_PER_BLOCK
    return total_bytes


if __name__ == "__main__":
    sys.exit(main())
