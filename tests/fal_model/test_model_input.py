"""Wrong input gets one clear error, and never one from the depths of torch."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fal_model.config import TrainConfig
from fal_model.model import FALModel
from fal_model.training import TrainState, train_step
from tests.helpers.micro import MICRO, micro_batch, micro_model, small_tree


@pytest.fixture(scope="module")
def model() -> FALModel:
    return micro_model().eval()


@pytest.mark.parametrize("name", ["frames", "flow", "flow_valid"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.numpy(), "got a ndarray, must be a dense torch tensor"),
        (lambda x: x.tolist(), "got a list, must be a dense torch tensor"),
        (lambda _: "clip.mp4", "got a str, must be a dense torch tensor"),
        (lambda x: x.float().to_sparse(), "got a torch.sparse_coo tensor, must be a dense torch tensor"),
        (lambda x: x.to(torch.int16), "got torch.int16"),
        (lambda x: x.to(torch.complex64), "got torch.complex64"),
        (lambda x: x.to("meta"), "got tensors on .*meta.*, must be on one device"),
        (lambda x: x[0], "got"),
        (lambda x: x[:1], "got"),
        (lambda x: x[:, :1], "got"),
        (lambda _: torch.tensor(1), "got"),
        (lambda _: torch.zeros(0), "got"),
        (lambda x: x.transpose(0, 1), "got"),
    ],
)
def test_a_wrong_argument_is_named(
    model: FALModel, name: str, change: Callable[[Tensor], object], message: str
) -> None:
    inputs: dict[str, Any] = dict(model.example_inputs(2))
    inputs[name] = change(inputs[name])
    with pytest.raises(ValueError, match=rf"^(frames|flow|flow_valid|frames, flow, flow_valid): {message}"):
        model(**inputs)


@pytest.mark.parametrize("name", ["frames", "flow"])
def test_nothing_is_no_argument(model: FALModel, name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: got a NoneType, must be a dense torch tensor"):
        model(**(dict(model.example_inputs(1)) | {name: None}))


@pytest.mark.parametrize("name", ["frames", "flow"])
def test_fewer_frames_than_the_model_has_are_refused(model: FALModel, name: str) -> None:
    inputs = {key: value[:, :2] for key, value in model.example_inputs(1).items()}
    with pytest.raises(ValueError, match=r"frames: got \[1, 2, 3, 40, 40\], must be \[B, 3, 3, 40, 40\] for"):
        model(**inputs)
    inputs[name] = model.example_inputs(1)[name]
    with pytest.raises(ValueError, match=r"flow: got .* clips and frames, must be"):
        model(**inputs)


@pytest.mark.parametrize("value", [math.nan, math.inf, 10.1 * MICRO.clip.size_px])
def test_flow_that_cannot_be_is_refused_where_it_is_said_to_be_known(model: FALModel, value: float) -> None:
    inputs = model.example_inputs(2)
    inputs["flow"][1, 2, 0, 3, 4] = value
    with pytest.raises(ValueError, match=rf"flow: got {value:g} in clip 1, frame 2, must be finite and at most 400"):
        model(**inputs)
    inputs["flow_valid"][1, 2] = False
    assert model(**inputs).logits_BK.isfinite().all()


def test_tensors_of_another_device_than_the_model_are_refused(model: FALModel) -> None:
    inputs = {name: value.to("meta") for name, value in model.example_inputs(1).items()}
    with pytest.raises(ValueError, match="frames: got a tensor on meta, must be on cpu as the model"):
        model(**inputs)


@torch.no_grad()
def test_no_clips_give_no_answers(model: FALModel) -> None:
    output = model(**model.example_inputs(0))
    assert [tuple(part.shape) for part in output] == [(0, 7), (0, 3, 7), (0, 8), (0, 3, 4, 2)]


@pytest.mark.parametrize("batch_size", [-1, "2", 2.0, None, True])
def test_examples_of_no_number_of_clips(model: FALModel, batch_size: Any) -> None:
    with pytest.raises(ValueError, match=r"batch_size: got .*, must be a whole number from 0"):
        model.example_inputs(batch_size)


def test_a_model_is_made_of_config_and_taxonomy() -> None:
    wrong: Any = {"width": 16}
    with pytest.raises(ValueError, match=r"config: got {'width': 16}, must be a ModelConfig"):
        FALModel(wrong, small_tree())
    with pytest.raises(ValueError, match=r"taxonomy: got {'width': 16}, must be a Taxonomy"):
        FALModel(MICRO, wrong)


def test_training_sees_the_same_errors() -> None:
    batch, targets = micro_batch(2)
    state = TrainState.create(micro_model(), TrainConfig())
    state.model.to("meta")
    with pytest.raises(ValueError, match="frames: got a tensor on cpu, must be on meta as the model"):
        train_step(state, batch, targets)
