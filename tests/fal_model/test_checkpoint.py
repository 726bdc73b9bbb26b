import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fal_model.checkpoint import OPTIMIZER_FILE, PROGRESS_FILE, load_checkpoint, read_progress, save_checkpoint
from fal_model.config import LossConfig, TrainConfig
from fal_model.errors import ModelLoadError, OutputError
from fal_model.model import FALModel
from fal_model.pretrained import MODEL_FILES
from fal_model.training import TrainState, train_step
from tests.helpers.micro import MICRO, micro_batch, micro_model

CONFIG = TrainConfig(
    learning_rate=1e-2, warmup_steps=2, total_steps=20, ema_decay=0.9, loss=LossConfig(label_smoothing=0.1)
)


def trained(steps: int, config: TrainConfig = CONFIG) -> TrainState:
    state = TrainState.create(micro_model(config=replace(MICRO, dropout=0.1)), config)
    for i in range(steps):
        train_step(state, *micro_batch(seed=i))
    return state


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, trained(1), {"top1": 0.5})
    return folder


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("stop_at", [0, 3])
def test_a_resumed_run_is_the_undisturbed_run_bit_for_bit(tmp_path: Path, stop_at: int, ema_decay: float) -> None:
    config = replace(CONFIG, ema_decay=ema_decay)
    straight = trained(6, config)
    save_checkpoint(tmp_path / "c", trained(stop_at, config))
    resumed, progress = load_checkpoint(tmp_path / "c")
    assert progress.step == stop_at
    for i in range(stop_at, 6):
        train_step(resumed, *micro_batch(seed=i))
    assert resumed.model.model_id == straight.model.model_id
    assert resumed.average.keys() == straight.average.keys()
    assert all(torch.equal(resumed.average[n], straight.average[n]) for n in straight.average)


def test_progress_comes_back(stored: Path) -> None:
    state, progress = load_checkpoint(stored)
    assert (progress.step, progress.bad_steps, progress.metrics) == (1, 0, {"top1": 0.5})
    assert state.config == CONFIG
    assert state.step == 1


def test_a_run_may_go_on_with_other_settings(stored: Path) -> None:
    longer = replace(CONFIG, total_steps=100, ema_decay=0)
    state, _ = load_checkpoint(stored, config=longer)
    assert state.config == longer
    assert state.average == {}


def test_bad_steps_are_remembered(tmp_path: Path) -> None:
    state = trained(0)
    state.bad_steps = 3
    save_checkpoint(tmp_path / "c", state)
    assert load_checkpoint(tmp_path / "c")[0].bad_steps == 3


def test_a_checkpoint_is_a_model(stored: Path) -> None:
    assert FALModel.from_pretrained(stored).model_id == trained(1).model.model_id
    assert sorted(p.name for p in stored.iterdir()) == sorted([*MODEL_FILES, OPTIMIZER_FILE, PROGRESS_FILE])


def test_tensors_are_named_by_parameter(stored: Path) -> None:
    names = load_file(stored / OPTIMIZER_FILE).keys()
    assert {"exp_avg.motion.no_flow_D", "exp_avg_sq.motion.no_flow_D", "step.motion.no_flow_D"} < names


@pytest.mark.parametrize("name", [OPTIMIZER_FILE, PROGRESS_FILE, *MODEL_FILES])
def test_a_torn_checkpoint_is_refused(stored: Path, name: str) -> None:
    path = stored / name
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ModelLoadError, match=name):
        load_checkpoint(stored)
    path.unlink()
    with pytest.raises(ModelLoadError, match=name):
        load_checkpoint(stored)


@pytest.mark.parametrize(
    "change",
    [
        {"train": {}},
        {"train": 3},
        {"colour": 1},
        {"step": "a"},
        {"step": -3},
        {"train": {"learning_rate": 0, "loss": {}}},
    ],
)
def test_progress_of_another_shape_is_refused(stored: Path, change: dict[str, object]) -> None:
    path = stored / PROGRESS_FILE
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(ModelLoadError, match=r"progress\.json: not the progress of a training run"):
        read_progress(stored)


def test_an_optimizer_of_another_model_is_refused(stored: Path) -> None:
    tensors = load_file(stored / OPTIMIZER_FILE)
    save_file(tensors | {"exp_avg.other": torch.zeros(1)}, stored / OPTIMIZER_FILE)
    with pytest.raises(ModelLoadError, match=r"optimizer.safetensors: does not belong to this model: exp_avg\.other"):
        load_checkpoint(stored)
    del tensors["exp_avg.motion.no_flow_D"]
    save_file(tensors, stored / OPTIMIZER_FILE)
    with pytest.raises(ModelLoadError, match=r"does not belong to this model: exp_avg\.motion\.no_flow_D"):
        load_checkpoint(stored)


@pytest.mark.parametrize("kind", ["average", "exp_avg", "exp_avg_sq"])
@pytest.mark.parametrize("shape", [(3,), (1,), (2, 16)])
def test_tensors_of_another_shape_are_refused(stored: Path, kind: str, shape: tuple[int, ...]) -> None:
    tensors = load_file(stored / OPTIMIZER_FILE) | {f"{kind}.motion.no_flow_D": torch.zeros(shape)}
    save_file(tensors, stored / OPTIMIZER_FILE)
    with pytest.raises(
        ModelLoadError, match=rf"optimizer\.safetensors: {kind}\.motion\.no_flow_D: must have the shape \[16\]"
    ):
        load_checkpoint(stored)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/c: cannot be written"):
        save_checkpoint(tmp_path / "file" / "c", trained(0))
