"""Shards of noise, and trainings on them that take no time, for the tests of ``bench/ablation.py``."""

from __future__ import annotations

from pathlib import Path

from bench.ablation_data import SPLITS
from bench.ablation_rows import Row
from bench.ablation_runs import Run
from fal_model.config import TrainConfig
from pipelines.shard_writing import shard_row, write_shard
from tests.helpers.model import SPEC, TREE, random_clip

NUM_CLIPS = (8, 4, 4)
"""To train, to calibrate, to test."""


def write_noise(folder: Path) -> Path:
    """Write shards of each split, half of whose clips have times; return the folder."""
    leaves = [TREE.nodes[i].id for i in TREE.leaves]
    for number, (split, size) in enumerate(zip(SPLITS, NUM_CLIPS, strict=True)):
        rows = []
        for i in range(size):
            label = leaves[i % len(leaves)]
            times = [{"label": label, "start_s": 0.0, "end_s": 1.2}] if i % 2 else None
            video = {"video_id": f"{split}-{i}", "labels": [label], "segments": times}
            rows.append(shard_row(video, random_clip(100 * number + i), 95))
        write_shard(str(folder / split / "part-0.parquet"), rows, SPEC, TREE, group_clips=4)
    return folder


def noise_run(row: Row, shards: Path, seed: int = 0) -> Run:
    """Plan a training of three steps."""
    train = TrainConfig(learning_rate=1e-3, warmup_steps=1, total_steps=3, seed=seed, loss=row.loss)
    return Run(data="made", row=row, train=train, batch_clips=4, is_mirrored=False, shards=shards)
