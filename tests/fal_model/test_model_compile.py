"""The model as one graph: compiled for inference and training, with blocks recomputed, and exported."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fal_model.batch import ClipBatch, ModelOutput, Targets
from fal_model.config import LossConfig
from fal_model.hierarchy import Hierarchy
from fal_model.losses import compute_losses
from fal_model.model import FALModel
from fal_model.open_fal_500 import open_fal_500
from fal_model.recompute import set_recomputed
from tests.helpers.micro import MICRO, micro_batch, micro_model, small_tree

# What torch says about its own code when inductor is loaded.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")

TREE = Hierarchy.of(small_tree())
LOSS = LossConfig(embedding_weight=0.5, label_smoothing=0.1, positive_focus=1, negative_focus=2, negative_margin=0.05)


@pytest.fixture(autouse=True)
def _fresh_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # A compilation that was killed leaves half a library in the cache that all processes share.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def loss_of(model: FALModel, batch: ClipBatch, targets: Targets) -> Tensor:
    output = model(batch.frames_BTCHW, batch.flow_BTCHW, batch.flow_valid_BT)
    return compute_losses(output, targets, TREE, LOSS).total


def step(
    run: Callable[[FALModel, ClipBatch, Targets], Tensor], model: FALModel, size: int
) -> tuple[Tensor, list[Tensor]]:
    """Return loss and gradients."""
    model.zero_grad()
    loss = run(model, *micro_batch(size))
    torch.autograd.backward(loss)
    return loss.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize(
    ("backend", "sizes"),
    # Each size but the first costs inductor a minute.
    [("eager", (2, 5, 1, 7)), pytest.param("inductor", (2,), marks=pytest.mark.slow)],
)
@torch.no_grad()
def test_inference_is_one_graph_for_any_number_of_clips(backend: str, sizes: tuple[int, ...]) -> None:
    model = micro_model().eval()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    for size in sizes:
        inputs = model.example_inputs(size)
        torch.testing.assert_close(tuple(compiled(**inputs)), tuple(model(**inputs)))


@pytest.mark.parametrize(
    ("backend", "is_recomputed", "sizes"),
    [
        ("eager", True, (4, 3, 6)),
        ("aot_eager", False, (3,)),
        pytest.param("aot_eager", True, (4, 3, 6), marks=pytest.mark.slow),
    ],
)
def test_a_training_step_is_one_graph_loss_and_gradients_included(
    backend: str, is_recomputed: bool, sizes: tuple[int, ...]
) -> None:
    model = micro_model().train()
    set_recomputed(model, is_recomputed=is_recomputed)
    compiled = torch.compile(loss_of, backend=backend, fullgraph=True)
    for size in sizes:
        want_loss, want = step(loss_of, model, size)
        loss, found = step(compiled, model, size)
        torch.testing.assert_close(loss, want_loss)
        assert len(found) == len(want) > 50
        torch.testing.assert_close(found, want, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_sixteen_bit_and_dropout_are_one_graph() -> None:
    model = micro_model(config=replace(MICRO, dropout=0.1)).train()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = compiled(**model.example_inputs(2))
    assert output.logits_BK.isfinite().all()


def exported(module: nn.Module, inputs: dict[str, Tensor]) -> torch.export.ExportedProgram:
    clips = torch.export.Dim("clips", min=0, max=256)
    return torch.export.export(module, (), inputs, dynamic_shapes={name: {0: clips} for name in inputs})


@torch.no_grad()
def test_the_exported_program_says_the_same_of_any_number_of_clips() -> None:
    model = micro_model().eval()
    program = exported(model, model.example_inputs(2)).module()
    for size in (0, 1, 2, 9):
        inputs = model.example_inputs(size, seed=size)
        inputs["flow_valid"][:1] = False
        output = program(**inputs)
        assert isinstance(output, ModelOutput)
        torch.testing.assert_close(tuple(output), tuple(model(**inputs)))


class Plain(nn.Module):
    """The model with a plain tuple as output, which is what torch can store."""

    def __init__(self, model: FALModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, flow: Tensor, flow_valid: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model(frames, flow, flow_valid))


@torch.no_grad()
def test_an_exported_program_can_be_stored(tmp_path: Path) -> None:
    model = micro_model().eval()
    inputs = model.example_inputs(3)
    torch.export.save(exported(Plain(model), inputs), tmp_path / "model.pt2")
    back = torch.export.load(tmp_path / "model.pt2").module()
    torch.testing.assert_close(back(**inputs), tuple(model(**inputs)))


def test_the_example_of_the_page_runs() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "model.md"
    [code] = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=page.parents[1], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert f"torch.Size([2, {len(open_fal_500())}])" in done.stdout
