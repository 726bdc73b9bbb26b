"""Sixteen bit agrees with thirty-two, the same run gives the same bits, and odd clips give ordinary numbers."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from fal_model.batch import ModelOutput
from fal_model.config import TrainConfig
from fal_model.model import FALModel
from fal_model.training import TrainState, train_step
from tests.helpers.micro import MICRO, micro_batch, micro_model

TOLERANCE = {torch.bfloat16: 0.05, torch.float16: 0.01}
"""Largest difference of outputs of about 1 from those in 32 bit."""

CLIP = MICRO.clip
FRAMES = (2, CLIP.num_frames, 3, CLIP.size_px, CLIP.size_px)
FLOW = (2, CLIP.num_frames, 2, CLIP.flow_size_px, CLIP.flow_size_px)


def odd_inputs(name: str) -> dict[str, Tensor]:
    """Return two clips that are unusual but right."""
    inputs = micro_model().example_inputs(2)
    match name:
        case "black":
            inputs["frames"] = torch.zeros(FRAMES, dtype=torch.uint8)
        case "white":
            inputs["frames"] = torch.full(FRAMES, 255, dtype=torch.uint8)
        case "black without motion":
            inputs |= {"frames": torch.zeros(FRAMES, dtype=torch.uint8), "flow": torch.zeros(FLOW)}
        case "as fast as allowed":
            inputs["flow"] = 10.0 * CLIP.size_px * torch.randn(FLOW).sign()
        case "a fast pan":
            inputs["flow"] = torch.full(FLOW, 300.0)
        case "flow unknown and not a number":
            inputs |= {"flow": torch.full(FLOW, torch.nan), "flow_valid": torch.zeros(FLOW[:2], dtype=torch.bool)}
        case "a cut in the middle":
            inputs["flow_valid"][:, 1] = False
    return inputs


ODD = (
    "ordinary",
    "black",
    "white",
    "black without motion",
    "as fast as allowed",
    "a fast pan",
    "flow unknown and not a number",
    "a cut in the middle",
)


@pytest.fixture
def model() -> FALModel:
    """Return a model as sure of itself as a trained one: its logits are about 1."""
    model = micro_model().eval()
    with torch.no_grad():
        for classes in (model.heads.clip_classes, model.heads.frame_classes):
            classes.weight.mul_(40)
    return model


def assert_close(found: ModelOutput, want: ModelOutput, tolerance: float) -> None:
    for part, full in zip(found, want, strict=True):
        assert part.isfinite().all()
        torch.testing.assert_close(part.float(), full, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("dtype", TOLERANCE)
@torch.no_grad()
def test_sixteen_bit_agrees(model: FALModel, name: str, dtype: torch.dtype) -> None:
    inputs = odd_inputs(name)
    want = model(**inputs)
    assert want.logits_BK.abs().max() > 0.5
    with torch.autocast("cpu", dtype):
        assert_close(model(**inputs), want, TOLERANCE[dtype])
    assert_close(model.to(dtype)(**inputs), want, TOLERANCE[dtype])


@pytest.mark.parametrize("name", ODD)
def test_odd_clips_have_gradients(name: str) -> None:
    model = micro_model().train()
    inputs = odd_inputs(name)
    output = model(**inputs)
    torch.autograd.backward(output.logits_BK.square().sum() + output.frame_logits_BTK.square().sum())
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@torch.no_grad()
def test_flow_may_come_in_any_floating_type(model: FALModel, dtype: torch.dtype) -> None:
    inputs = model.example_inputs(2)
    inputs["flow"] = inputs["flow"].to(dtype)
    want = model(**(inputs | {"flow": inputs["flow"].float()}))
    assert_close(model(**inputs), want, 1e-6)


@pytest.fixture
def only_deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("only_deterministic")
def test_training_twice_gives_the_same_bits() -> None:
    config = TrainConfig(learning_rate=1e-2, warmup_steps=0, total_steps=3, is_bf16=True)
    runs = []
    for _ in range(2):
        state = TrainState.create(micro_model(), config)
        losses = [train_step(state, *micro_batch(seed=i)).loss for i in range(3)]
        runs.append((losses, [p.detach().clone() for p in state.model.parameters()]))
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(a, b) for a, b in zip(runs[0][1], runs[1][1], strict=True))
