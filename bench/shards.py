"""What training shards cost and lose: bytes per clip, clips per second of one core by stage, pictures and flow.

Clips come from the recordings in ``FAL_REAL_VIDEOS`` (or ``../shared/videos``), and from the stand-in corpus, made into
--output. Everything runs in one thread; processor time, the least of several rounds, which noise can only raise. Other
ways to keep the frames are measured on the same clips in the same run. Prints Markdown.
Run it as: python bench/shards.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench import shard_codecs
from bench.shard_clips import Pair, clips_of, pairs_of, recordings, show, standin_videos
from bench.shard_codecs import Bytes, Codec, psnr_db, ssim
from fal_model.flow_codec import decode_flow, encode_flow
from fal_model.presets import preset
from fal_model.spec import ClipSpec
from fal_model.taxonomy import Node, Taxonomy
from pipelines import pixels
from pipelines.augmentation import Augmentation
from pipelines.clip_batches import ClipArrays
from pipelines.clips import Clip
from pipelines.config import PrepareConfig
from pipelines.shard_writing import Row, shard_row, write_shard
from pipelines.shards import COLUMNS, ReadPlan, ShardSet, read_batches

TREE = Taxonomy([Node("any", "Any")])
VIDEO = {"video_id": "recordings/video-0001.mp4", "labels": ["any"], "segments": None}
CORPUS_VIDEOS = 2.5e6
BATCH_CLIPS = 16
QUALITIES = (60, 70, 75, 80, 85, 90, 95)


@dataclass(frozen=True, slots=True)
class Sample:
    """Clips of one source at one size, and the shard made of them."""

    name: str
    spec: ClipSpec
    clips: list[Clip]
    clips_per_video: float
    folder: Path

    @property
    def shard(self) -> Path:
        """Return where the shard is."""
        return self.folder / "part-00000.parquet"


def main(argv: list[str]) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer clips, fewer rounds")
    parser.add_argument(
        "--output", type=Path, default=Path("out/bench-shards"), help="where videos and shards are kept"
    )
    arguments = parser.parse_args(argv)
    num_videos, rounds = (12, 2) if arguments.quick else (60, 5)
    pixels.use_one_thread()
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, pyarrow {pa.__version__}; "
    )
    sources = {
        "recordings": recordings(num_videos),
        "stand-in": standin_videos(arguments.output / "videos", num_videos),
    }
    specs = [preset(name).clip for name in ("fal-375m", "fal-nano")]
    samples = [
        Sample(
            f"{name}, {spec.size_px} px", spec, *clips_of(files, spec, 3), arguments.output / f"{name}-{spec.size_px}"
        )
        for spec in specs
        for name, files in sources.items()
        if files
    ]
    tables = [write_table(samples, rounds), size_table(samples), read_table(samples, rounds)]
    large = [s for s in samples if s.spec == specs[0]]
    tables += [quality_table(s, list(pairs_of(sources["recordings"], s.spec))) for s in large[:1]]
    tables += [codec_table(s, max(1, rounds - 2)) for s in large[:1]]
    show("")
    print("\r" + "\n\n".join("\n".join(table) for table in tables))
    return 0


def heading(*cells: str) -> list[str]:
    """Return the first two lines of a table."""
    return [f"| {' | '.join(cells)} |", "|---" * len(cells) + "|"]


def least_ms(do: Callable[[], object], count: int, rounds: int) -> float:
    """Return the processor time of each of ``count`` things done at once, milliseconds."""
    spent = []
    for _ in range(rounds):
        start_s = time.process_time()
        do()
        spent.append(time.process_time() - start_s)
    return 1000 * min(spent) / count


def rows_of(sample: Sample, quality: int) -> list[Row]:
    """Make the rows of a sample."""
    return [shard_row(VIDEO, clip, quality) for clip in sample.clips]


def write_table(samples: Sequence[Sample], rounds: int) -> list[str]:
    """Write the shards and say how long that took."""
    lines = heading("writing, ms per clip", "JPEG", "other columns", "Parquet and disk", "clips/s")
    config = PrepareConfig()
    for sample in samples:
        show(f"writing {sample.name}")
        quality, count = config.jpeg_quality, len(sample.clips)
        frames = [f for clip in sample.clips for f in clip.frames_THWC]
        rows = rows_of(sample, quality)
        jpeg_ms = least_ms(partial(encode_all, frames, quality), count, rounds)
        rows_ms = least_ms(partial(rows_of, sample, quality), count, rounds) - jpeg_ms
        write = partial(write_shard, str(sample.shard), rows, sample.spec, TREE, config.group_clips)
        file_ms = least_ms(write, count, rounds)
        total_ms = jpeg_ms + rows_ms + file_ms
        lines.append(
            f"| {sample.name} | {jpeg_ms:.2f} | {max(0.0, rows_ms):.2f} | {file_ms:.2f} | {1000 / total_ms:,.0f} |"
        )
    return lines


def encode_all(frames: Sequence[Bytes], quality: int) -> None:
    """Make a JPEG of each frame."""
    for frame in frames:
        pixels.encode_jpeg(frame, quality)


def size_table(samples: Sequence[Sample]) -> list[str]:
    """Say what the shards hold, by column."""
    heads = ["KiB per clip", "clips", "frames", "flow", "rest", "all", "2.5M videos of one clip, GB"]
    lines = heading(*heads, "clips per video here")
    for sample in samples:
        count, sizes = len(sample.clips), column_bytes(sample.shard)
        frames, flow = sizes.pop("frames_jpeg") / count, sizes.pop("flow_q") / count
        whole = sample.shard.stat().st_size / count
        cells = [f"{v / 1024:.1f}" for v in (frames, flow, whole - frames - flow, whole)]
        gigabytes = whole * CORPUS_VIDEOS / 1e9
        lines.append(
            f"| {sample.name} | {count} | {' | '.join(cells)} | {gigabytes:.0f} | {sample.clips_per_video:.2f} |"
        )
    return lines


def column_bytes(path: Path) -> dict[str, int]:
    """Return the stored bytes of each column of a Parquet file."""
    metadata = pq.read_metadata(path)
    sizes: dict[str, int] = {}
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            name = column.path_in_schema.partition(".")[0]
            sizes[name] = sizes.get(name, 0) + column.total_compressed_size
    return sizes


def read_table(samples: Sequence[Sample], rounds: int) -> list[str]:
    """Say how fast training reads the shards, whole and by stage."""
    heads = ["reading, ms per clip", "Parquet", "JPEG", "shift and light", "flow", "as stored: clips/s"]
    lines = heading(*heads, "augmented: clips/s", "and mirrored")
    for sample in samples:
        show(f"reading {sample.name}")
        stages = read_stages(sample, rounds)
        shards = ShardSet.open(str(sample.folder))
        plans = [
            ReadPlan(batch_clips=min(BATCH_CLIPS, len(sample.clips)), is_augmented=a, is_mirrored=m)
            for a, m in ((False, False), (True, False), (True, True))
        ]
        rates = [1000 / least_ms(partial(read, shards, plan), num_read(shards, plan), rounds) for plan in plans]
        cells = [f"{ms:.2f}" if ms >= 0.01 else f"{ms:.4f}" for ms in stages] + [f"{rate:,.0f}" for rate in rates]
        lines.append(f"| {sample.name} | {' | '.join(cells)} |")
    return lines


def num_read(shards: ShardSet, plan: ReadPlan) -> int:
    """Count the clips that :func:`read` reads."""
    return 2 * plan.batch_clips * (shards.num_clips // plan.batch_clips)


def read(shards: ShardSet, plan: ReadPlan) -> None:
    """Read two epochs as training does, keeping nothing."""
    for _ in read_batches(shards, plan, 0, 2 * (shards.num_clips // plan.batch_clips)):
        pass


def read_stages(sample: Sample, rounds: int) -> list[float]:
    """Return the time of each stage alone: Parquet, JPEG, shift and light, flow; milliseconds per clip."""
    count, spec = len(sample.clips), sample.spec
    rows = rows_of(sample, PrepareConfig().jpeg_quality)
    packets = [data for row in rows for data in row["frames_jpeg"]]
    frames = [f for clip in sample.clips for f in clip.frames_THWC]
    change = Augmentation.draw(np.random.default_rng(1), spec.flow_size_px, can_mirror=False)
    batch = ClipArrays.from_clips(sample.clips[:1], spec)
    out, out_flow = batch.frames_BTHWC[0], batch.flow_q_BTHWC[0]

    def parquet() -> None:
        file = pq.ParquetFile(sample.shard)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=COLUMNS, use_threads=False)
            table.drop_columns(["frames_jpeg", "flow_q"]).to_pylist()

    def jpeg() -> None:
        for data in packets:
            pixels.decode_jpeg(data)  # what is not kept costs no new memory, as in training

    def shift() -> None:
        for i, frame in enumerate(frames):
            change.picture(frame, out[i % len(out)], spec.flow_size_px)

    def flow() -> None:
        for clip in sample.clips:
            change.flow(clip.flow_q_THWC, out_flow)

    return [least_ms(do, count, rounds) for do in (parquet, jpeg, shift, flow)]


def quality_table(sample: Sample, pairs: Sequence[Pair]) -> list[str]:
    """Say what JPEG loses at each quality, and what flow loses by its bytes."""
    heads = [
        "quality",
        "frames, KiB per clip",
        "PSNR of the median clip, dB",
        "of the worst",
        "SSIM of the median clip",
    ]
    lines = heading(*heads, "of the worst", "flow made from such pictures: off by, px")
    flows = [(pair, flow) for pair in pairs if (flow := pair.flow(sample.spec)) is not None]
    for quality in QUALITIES:
        show(f"losses at quality {quality}")
        codec = shard_codecs.jpeg(quality)
        kib, decibels, likeness = losses(codec, sample.clips)
        off = [
            float(np.linalg.norm(again - flow, axis=-1).mean())
            for pair, flow in flows
            if (again := coded(pair, codec).flow(sample.spec)) is not None
        ]
        cells = [f"{np.median(decibels):.1f}", f"{min(decibels):.1f}"]
        cells += [f"{np.median(likeness):.4f}", f"{min(likeness):.4f}", f"{np.mean(off):.3f}"]
        lines.append(f"| {quality} | {kib:.1f} | {' | '.join(cells)} |")
    errors = [np.linalg.norm(decode_flow(encode_flow(flow)) - flow, axis=-1) for _, flow in flows]
    speeds = [np.linalg.norm(flow, axis=-1) for _, flow in flows]
    mean_px, most_px = np.mean([e.mean() for e in errors]), max(e.max() for e in errors)
    speed_px = np.mean([s.mean() for s in speeds])
    text = (
        f"{sample.name}. Flow kept as bytes is off by {mean_px:.4f} px on average and {most_px:.3f} px at most, over "
        f"{len(flows)} pairs of neighbouring frames whose flow is {speed_px:.2f} px on average."
    )
    return [*lines, "", text]


def coded(pair: Pair, codec: Codec) -> Pair:
    """Return the pair as it comes back from being stored."""
    both = np.stack([pair.first_HWC, pair.second_HWC])
    out = np.empty_like(both)
    codec.decode(codec.encode(both), out)
    return Pair(out[0], out[1], pair.gap_s)


def losses(codec: Codec, clips: Sequence[Clip]) -> tuple[float, list[float], list[float]]:
    """Return KiB per clip, and PSNR and SSIM of each clip."""
    num_bytes = 0
    decibels, likeness = [], []
    for clip in clips:
        stored = codec.encode(clip.frames_THWC)
        num_bytes += sum(map(len, stored))
        out = np.empty_like(clip.frames_THWC)
        codec.decode(stored, out)
        decibels.append(psnr_db(clip.frames_THWC, out))
        likeness.append(float(np.mean([ssim(a, b) for a, b in zip(clip.frames_THWC, out, strict=True)])))
    return num_bytes / len(clips) / 1024, decibels, likeness


def codec_table(sample: Sample, rounds: int) -> list[str]:
    """Compare ways to keep frames, on a part of the clips."""
    clips = sample.clips[:: max(1, len(sample.clips) // 40)]
    codecs = [
        *(shard_codecs.jpeg(q) for q in (75, 85, 90, 95)),
        shard_codecs.full_colour_jpeg(90),
        shard_codecs.fitted_jpeg(90),
        *(shard_codecs.webp(q) for q in (80, 95)),
        *(shard_codecs.avif(q) for q in (70, 90)),
        *(shard_codecs.h264(crf) for crf in (15, 20, 25)),
        shard_codecs.raw_zstd(),
        shard_codecs.raw(),
    ]
    heads = ["kept as", "KiB per clip", "PSNR, dB", "SSIM", "written: clips/s", "decoded: clips/s"]
    lines = heading(f"frames of {sample.name}, {len(clips)} clips, {heads[0]}", *heads[1:], "2.5M clips, GB")
    for codec in codecs:
        show(f"comparing {codec.name}")
        kib, decibels, likeness = losses(codec, clips)
        stored: list[list[bytes]] = []
        encode_ms = least_ms(partial(store_all, codec, clips, stored), len(clips), 1)
        decode_ms = least_ms(partial(restore_all, codec, stored, clips[0].frames_THWC.copy()), len(clips), rounds)
        cells = [codec.name, f"{kib:.1f}", f"{np.median(decibels):.1f}", f"{np.median(likeness):.4f}"]
        cells += [f"{1000 / encode_ms:,.0f}", f"{1000 / decode_ms:,.0f}", f"{kib * 1024 * CORPUS_VIDEOS / 1e9:,.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def store_all(codec: Codec, clips: Sequence[Clip], stored: list[list[bytes]]) -> None:
    """Encode every clip and keep what comes out."""
    stored += [codec.encode(clip.frames_THWC) for clip in clips]


def restore_all(codec: Codec, stored: Sequence[list[bytes]], out_THWC: Bytes) -> None:
    """Decode every clip, one over the other."""
    for packets in stored:
        codec.decode(packets, out_THWC)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
