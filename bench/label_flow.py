"""How much of what its slowest stage does alone the labelling job keeps: decoding alone, the model alone, the job.

    python bench/label_flow.py --work DIR [--models fal-nano fal-tiny] [--videos 300] [--decoders 1]

Reads the recordings in the folder named by FAL_REAL_VIDEOS. Alone means: in a process of its own, without Ray, one
after the other, everything in memory, the same parts and so the same batches (the last one of a part is not full). The
job's rate is taken between its first and its last finished part, by the times of their marks; what it takes to start
Ray, the workers and the model is in a column of its own. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.label_memory import STORE, watch
from bench.real_videos import real_folder
from fal_model.model import FALModel
from fal_model.presets import preset
from fal_model.spec import ClipSpec
from pipelines import label_parts
from pipelines.clip_batches import ClipArrays
from pipelines.limits import DecodeLimits
from pipelines.predict import ClipPredictor
from pipelines.prepare import BatchPreparer
from pipelines.records import MANIFEST
from pipelines.standin_classes import standin_taxonomy

ROOT = Path(__file__).resolve().parents[1]
SETS = ("surveillance-fights", "infrared-aircraft", "falls", "activitynet")
BATCH_CLIPS, PART_VIDEOS, CLASSES = 16, 32, 16
MOST_BATCHES = 12
"""Batches over which the model alone is measured."""
HEAD = (
    "| model | videos | clips | decoding alone, videos/s | model alone, videos/s | job, videos/s | of the slower alone "
    "| clips per batch of 16 | start and end, s | pixels handed over, MiB | object store, most MiB |\n|" + "---|" * 11
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What decoding everything alone took."""

    seconds: float
    num_clips: int
    num_batches: int


def main(argv: list[str] | None = None) -> int:
    """Measure each model and print the table."""
    options = _options(argv)
    work = Path(options.work).absolute()
    videos = _corpus(work, options.videos)
    print(HEAD, flush=True)
    for name in options.models:
        model = _model(work, name)
        decoded = _decoding_alone(videos, preset(name).clip)
        decode_rate = len(list(videos.iterdir())) / decoded.seconds * options.decoders
        batch_s = _batch_alone_s(model)
        model_rate = len(list(videos.iterdir())) / (batch_s * decoded.num_batches)
        rate, rest_s, num_videos, store_mib = _job(work, videos, model, options.decoders)
        share = rate / min(decode_rate, model_rate)
        print(
            f"| {name} | {num_videos} | {decoded.num_clips} | {decode_rate:.2f} | {model_rate:.2f} | {rate:.2f} "
            f"| {share:.0%} | {decoded.num_clips / decoded.num_batches:.1f} | {rest_s:.0f} "
            f"| {decoded.num_clips * _clip_mib(preset(name).clip):.0f} | {store_mib:.0f} |",
            flush=True,
        )
    return 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="folder for the corpus, the models and the outputs; kept")
    parser.add_argument("--models", nargs="+", default=["fal-nano", "fal-tiny"], help="presets to measure")
    parser.add_argument("--videos", type=int, default=300, help="how many recordings to take")
    parser.add_argument("--decoders", type=int, default=1, help="decode workers of the job; alone counts as often")
    return parser.parse_args(argv)


def _corpus(work: Path, num_videos: int) -> Path:
    """Link recordings into one folder: files of all sets in turn, so that no set comes at the end."""
    folder = work / f"recordings-{num_videos}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = [path for name in SETS for path in sorted((real_folder() / name).rglob("*.mp4"))]
    order = np.random.default_rng(0).permutation(len(found))[:num_videos]
    for number, index in enumerate(order):
        (folder / f"{number:05d}.mp4").symlink_to(found[index])
    return folder


def _model(work: Path, name: str) -> Path:
    folder = work / name
    if not folder.exists():
        torch.manual_seed(0)
        FALModel(preset(name), standin_taxonomy(CLASSES)).save_pretrained(folder)
    return folder


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def _decoding_alone(videos: Path, spec: ClipSpec) -> Decoded:
    with _pool() as pool:
        return pool.submit(_decode, videos, spec).result()


def _batch_alone_s(model: Path) -> float:
    with _pool() as pool:
        return pool.submit(_predict, model).result()


def _decode(videos: Path, spec: ClipSpec) -> Decoded:
    """Prepare every batch of the corpus, as one decode worker does, and throw it away."""
    rows = [{"video_id": path.name, "uri": str(path)} for path in sorted(videos.iterdir())]
    manifest = pa.Table.from_pylist(rows, schema=MANIFEST)
    parts = label_parts.plan_parts(manifest, [""] * len(rows), "", PART_VIDEOS)  # as the job cuts it
    rows, borders = parts.table.to_pylist(), np.cumsum([0, *parts.sizes]).tolist()
    num_clips = num_batches = 0
    with BatchPreparer(spec, DecodeLimits(), BATCH_CLIPS) as preparer:
        list(preparer.batches(rows[:1]))  # starts the decoding process
        start = time.monotonic()
        for first, last in pairwise(borders):
            for meta, _, _ in preparer.batches(rows[first:last]):
                num_clips += len(meta.clips)
                num_batches += bool(meta.clips)
        return Decoded(time.monotonic() - start, num_clips, num_batches)


def _predict(model: Path) -> float:
    """Return the seconds that one batch takes on the device that the job would use."""
    torch.set_num_threads(1)
    predictor = ClipPredictor.load(str(model))
    spec, rng = predictor.model.config.clip, np.random.default_rng(0)
    frames = rng.integers(0, 255, (BATCH_CLIPS, spec.num_frames, spec.size_px, spec.size_px, 3), np.uint8)
    grid = (BATCH_CLIPS, spec.num_frames, spec.flow_size_px, spec.flow_size_px, 2)
    flow = rng.integers(-90, 90, grid, np.int8)
    clips = ClipArrays(frames, flow, np.ones((BATCH_CLIPS, spec.num_frames), np.bool_))
    predictor.predict(clips, BATCH_CLIPS)
    start = time.monotonic()
    for _ in range(MOST_BATCHES):
        predictor.predict(clips, BATCH_CLIPS)
    return (time.monotonic() - start) / MOST_BATCHES


def _clip_mib(spec: ClipSpec) -> float:
    """Return how large a clip is that travels from a decode worker to a model worker."""
    return spec.num_frames * (3 * spec.size_px**2 + 2 * spec.flow_size_px**2 + 1) / 2**20


def _job(work: Path, videos: Path, model: Path, num_decoders: int) -> tuple[float, float, int, float]:
    """Run the job.

    Returns:
        Videos per second between the first and the last part, the seconds around that, the videos, and the most that
        the object store held, MiB.
    """
    output = work / "out"
    shutil.rmtree(output, ignore_errors=True)
    settings = [
        f"label.part_videos={PART_VIDEOS}",
        f"label.batch_clips={BATCH_CLIPS}",
        f"resources.decode_workers={num_decoders}",
        "tracking.is_enabled=false",
        "label.max_failed_share=1",
        "label.thumbnails=0",
    ]
    command = [sys.executable, str(ROOT / "jobs" / "label_corpus.py"), "--input", str(videos), "--model", str(model)]
    start = time.monotonic()
    peaks = watch([*command, "--output", str(output), *settings])
    wall_s = time.monotonic() - start
    marks = sorted((output / "_fal" / "done").glob("*.json"), key=lambda path: path.stat().st_mtime)
    seen = [json.loads(path.read_text(encoding="utf-8"))["counts"]["seen"] for path in marks]
    steady_s = marks[-1].stat().st_mtime - marks[0].stat().st_mtime
    return sum(seen[1:]) / steady_s, wall_s - steady_s, sum(seen), peaks.get(STORE, 0) / 1024


if __name__ == "__main__":
    sys.exit(main())
