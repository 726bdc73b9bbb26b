from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.ablation_peers import PEERS
from bench.ablation_rows import Row, rows
from bench.ablation_runs import execute, finished
from fal_model.config import LossConfig
from tests.helpers.ablation import noise_run, write_noise
from tests.helpers.model import MICRO, TREE


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("made") / "shards")


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
    run = noise_run(row, shards)
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
    first, again = (execute(noise_run(FULL, shards), tmp_path / name) for name in ("a", "b"))
    assert first["metrics"] == again["metrics"]
    assert first["last_loss"] == again["last_loss"]
    other = execute(noise_run(FULL, shards, seed=1), tmp_path)
    assert other["last_loss"] != first["last_loss"]


def test_the_key_tells_all_runs_apart(shards: Path) -> None:
    base = noise_run(FULL, shards)
    others = [noise_run(row, shards) for row in rows("made", MICRO, TREE, {}) if row.name != "full"] + [
        noise_run(FULL, shards, seed=1),
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
    run = replace(noise_run(replace(FULL, name="tokens: merged early"), shards, seed=2), data="short events")
    assert run.file(tmp_path) == tmp_path / f"short-events-tokens-merged-early-seed2-{run.key}.json"
