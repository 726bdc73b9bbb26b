from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.ablation_data import SPLITS
from bench.ablation_peers import PEERS
from bench.ablation_rows import Row, rows
from bench.ablation_runs import Run, execute, finished
from fal_model.config import LossConfig, TrainConfig
from pipelines.shard_writing import shard_row, write_shard
from tests.helpers.model import MICRO, SPEC, TREE, random_clip

LEAVES = [TREE.nodes[i].id for i in TREE.leaves]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write clips of noise: 8 to train, 4 to calibrate, 4 to test; half of them with times."""
    place = tmp_path_factory.mktemp("made") / "shards"
    for number, (split, size) in enumerate(zip(SPLITS, (8, 4, 4), strict=True)):
        videos = []
        for i in range(size):
            label = LEAVES[i % len(LEAVES)]
            times = [{"label": label, "start_s": 0.0, "end_s": 1.2}] if i % 2 else None
            videos.append({"video_id": f"{split}-{i}", "labels": [label], "segments": times})
        made = [shard_row(video, random_clip(100 * number + i), 95) for i, video in enumerate(videos)]
        write_shard(str(place / split / "part-0.parquet"), made, SPEC, TREE, group_clips=4)
    return place


def run_of(row: Row, shards: Path, seed: int = 0) -> Run:
    train = TrainConfig(learning_rate=1e-3, warmup_steps=1, total_steps=3, seed=seed, loss=row.loss)
    return Run(data="made", row=row, train=train, batch_clips=4, is_mirrored=False, shards=shards)


FULL = Row(name="full", config=MICRO)


@pytest.mark.parametrize(
    "row",
    [
        FULL,
        Row(name="without hierarchy loss", config=MICRO, loss=replace(LossConfig(), hierarchy_weight=0.0)),
        Row(name="without flow", config=replace(MICRO, motion_depth=0)),
        Row(name="without fusion", config=replace(MICRO, fusion_depth=0)),
        Row(name="without pyramid", config=replace(MICRO, pyramid_width=0)),
        *(Row(name=peer, config=MICRO, peer=peer) for peer in PEERS),
    ],
    ids=lambda row: row.name,
)
def test_every_row_trains_and_is_measured(row: Row, shards: Path, tmp_path: Path) -> None:
    run = run_of(row, shards)
    assert finished(run, tmp_path) is None
    result = execute(run, tmp_path)
    assert (result["data"], result["row"], result["seed"]) == ("made", row.name, 0)
    assert (result["train_clips"], result["test_clips"]) == (8, 4)
    assert result["gflop"] > 0
    assert result["parameters"] > 1000
    assert {"top1", "map", "frame_map", "ece", "recall_at_1", "recall_at_1_raw"} <= set(result["metrics"])
    assert all(0 <= value <= 1 for value in result["metrics"].values())
    assert finished(run, tmp_path) == json.loads(json.dumps(result))
    assert [path.name for path in tmp_path.iterdir()] == [run.file(tmp_path).name]


def test_the_same_run_gives_the_same_numbers(shards: Path, tmp_path: Path) -> None:
    first, again = (execute(run_of(FULL, shards), tmp_path / name) for name in ("a", "b"))
    assert first["metrics"] == again["metrics"]
    assert first["last_loss"] == again["last_loss"]
    other = execute(run_of(FULL, shards, seed=1), tmp_path)
    assert other["last_loss"] != first["last_loss"]


def test_the_key_tells_all_runs_apart(shards: Path) -> None:
    base = run_of(FULL, shards)
    others = [run_of(row, shards) for row in rows("made", MICRO, TREE, {}) if row.name != "full"] + [
        run_of(FULL, shards, seed=1),
        replace(base, train=replace(base.train, total_steps=4)),
        replace(base, batch_clips=2),
        replace(base, is_mirrored=True),
        replace(base, device="cuda"),
        replace(base, data="other"),
        replace(base, shards=shards.with_name("others")),
    ]
    keys = [run.key for run in [base, *others]]
    assert len(set(keys)) == len(keys)
    # Where the work folder is does not matter, nor what a row is called.
    moved = Path("/elsewhere") / shards.parent.name / shards.name
    assert replace(base, shards=moved, row=replace(FULL, name="whole")).key == base.key


def test_the_file_says_what_it_is(tmp_path: Path, shards: Path) -> None:
    run = replace(run_of(replace(FULL, name="tokens: merged early"), shards, seed=2), data="short events")
    assert run.file(tmp_path) == tmp_path / f"short-events-tokens-merged-early-seed2-{run.key}.json"
