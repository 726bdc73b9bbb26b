"""Training state as a directory: the model, ``optimizer.safetensors`` and ``progress.json``. No pickle, no network.

The directory is a model directory too: labelling and serving can read it as it is. A run that is saved, loaded and
continued gives the same weights, bit for bit, as one that never stopped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from fal_model.config import LossConfig, TrainConfig
from fal_model.errors import ConfigError, ModelLoadError
from fal_model.model import FALModel
from fal_model.pretrained import model_writers, read_json, read_tensors, write_directory, write_json
from fal_model.ranges import Range, range_problems
from fal_model.training import TrainState

OPTIMIZER_FILE = "optimizer.safetensors"
PROGRESS_FILE = "progress.json"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")
AVERAGE = "average"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a run is.

    Attributes:
        step: Steps done.
        bad_steps: Steps skipped in a row until now.
        metrics: Last measured numbers.
    """

    step: Annotated[int, Range(ge=0)] = 0
    bad_steps: Annotated[int, Range(ge=0)] = 0
    metrics: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = range_problems(self)
        if problems:
            raise ConfigError([f"progress.{p}" for p in problems])


def save_checkpoint(directory: str | Path, state: TrainState, metrics: dict[str, float] | None = None) -> None:
    """Write everything that is needed to go on.

    Args:
        directory: Where; made if missing.
        state: What to save.
        metrics: Last measured numbers, kept for people.

    Raises:
        OutputError: the directory cannot be written.
    """
    progress = Progress(step=state.step, bad_steps=state.bad_steps, metrics=metrics or {})
    # Weights are what training goes on from; averaged ones are kept beside them.
    writers = model_writers(state.model.meta(), state.model.state_dict())
    write_directory(
        directory,
        writers
        | {
            OPTIMIZER_FILE: lambda path: save_file(_optimizer_tensors(state), path),
            PROGRESS_FILE: lambda path: write_json(path, asdict(progress) | {"train": asdict(state.config)}),
        },
    )


def load_checkpoint(
    directory: str | Path, device: torch.device | str = "cpu", config: TrainConfig | None = None
) -> tuple[TrainState, Progress]:
    """Read what :func:`save_checkpoint` wrote.

    Args:
        directory: Where.
        device: Where the model shall lie.
        config: How to go on; None goes on as before.

    Raises:
        ModelLoadError: a file is missing, damaged, or does not belong to the others.
    """
    folder = Path(directory)
    progress, stored_config = read_progress(folder)
    model = FALModel.from_pretrained(folder).to(device)
    state = TrainState.create(model, config or stored_config)
    state.step, state.bad_steps = progress.step, progress.bad_steps
    _restore_optimizer(state, read_tensors(folder / OPTIMIZER_FILE), folder / OPTIMIZER_FILE)
    return state, progress


def read_progress(directory: str | Path) -> tuple[Progress, TrainConfig]:
    """Read where a run is, without its weights.

    Raises:
        ModelLoadError: missing or damaged.
    """
    path = Path(directory) / PROGRESS_FILE
    data = read_json(path)
    try:
        train: dict[str, Any] = dict(data.pop("train"))
        config = TrainConfig(**(train | {"loss": LossConfig(**train["loss"])}))
        progress = Progress(**data)
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise ModelLoadError(f"{path}: not the progress of a training run: {error}") from None
    return progress, config


def _optimizer_tensors(state: TrainState) -> dict[str, Tensor]:
    """Name the optimizer's tensors by parameter: ``exp_avg.NAME`` and so on."""
    tensors = {f"{AVERAGE}.{name}": value for name, value in state.average.items()}
    for name, parameter in state.model.named_parameters():
        moments = state.optimizer.state.get(parameter, {})
        tensors |= {f"{moment}.{name}": moments[moment] for moment in MOMENTS if moment in moments}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _restore_optimizer(state: TrainState, tensors: dict[str, Tensor], path: Path) -> None:
    """Put tensors back; a run that never stepped has none."""
    parameters = dict(state.model.named_parameters())
    expected = {f"{moment}.{name}" for name in parameters for moment in MOMENTS}
    averaged = {f"{AVERAGE}.{name}" for name in parameters}
    found = set(tensors)
    has_moments = not found.isdisjoint(expected)
    problems = sorted(found - expected - averaged) + (sorted(expected - found) if has_moments else [])
    if problems:
        raise ModelLoadError(f"{path}: does not belong to this model: {', '.join(problems[:5])}")
    # Of each parameter, all have its shape but the number of its steps.
    for name, parameter in parameters.items():
        for kind in (AVERAGE, "exp_avg", "exp_avg_sq"):
            tensor = tensors.get(f"{kind}.{name}")
            if tensor is not None and tensor.shape != parameter.shape:
                raise ModelLoadError(f"{path}: {kind}.{name}: must have the shape {list(parameter.shape)}")
    for name, parameter in parameters.items():
        device = parameter.device
        if f"{AVERAGE}.{name}" in tensors and state.config.ema_decay:
            state.average[name] = tensors[f"{AVERAGE}.{name}"].to(device)
        if has_moments:
            state.optimizer.state[parameter] = {m: tensors[f"{m}.{name}"].to(device) for m in MOMENTS}
