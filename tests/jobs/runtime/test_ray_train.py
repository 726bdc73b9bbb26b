"""What a training worker starts from, without workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from ray.train import Checkpoint

from fal_model.checkpoint import save_checkpoint
from fal_model.config import TrainConfig
from fal_model.training import TrainState
from jobs.runtime.config import LoopSection, TrackingSection
from jobs.runtime.ray_train import WorkerPlan, started_state
from pipelines.shards import Group, ShardSet
from tests.helpers.micro import MICRO, micro_model, small_tree

CPU = torch.device("cpu")
SHARDS = ShardSet(MICRO.clip, small_tree(), (Group("shard.parquet", 0, 4),))
PLAN = WorkerPlan(
    train_dir="",
    val_dir="",
    model_config=MICRO,
    train_config=TrainConfig(total_steps=200),
    loop=LoopSection(),
    init_from="",
    tracking=TrackingSection(),
    output="",
    run_id="",
)


def test_a_run_that_goes_on_says_from_which_step(tmp_path: Path) -> None:
    before = TrainState.create(micro_model(seed=3), PLAN.train_config)
    before.step = 12
    save_checkpoint(tmp_path, before)
    state, said = started_state(Checkpoint.from_directory(str(tmp_path)), PLAN, SHARDS, CPU)
    assert said == "continuing from step 12 of 200"
    assert state.step == 12
    assert state.model.model_id == before.model.model_id


def test_a_new_run_says_what_it_starts_from(tmp_path: Path) -> None:
    state, said = started_state(None, PLAN, SHARDS, CPU)
    assert (state.step, said) == (0, "random weights")
    assert state.model.model_id == micro_model(seed=PLAN.train_config.seed).model_id
    ours = micro_model(seed=3)
    ours.save_pretrained(tmp_path)
    state, said = started_state(None, replace(PLAN, init_from=str(tmp_path)), SHARDS, CPU)
    assert said == f"weights of {tmp_path}"
    assert state.model.model_id == ours.model_id
