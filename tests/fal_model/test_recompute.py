from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fal_model.config import LossConfig, ModelConfig, TrainConfig
from fal_model.hierarchy import Hierarchy
from fal_model.losses import compute_losses
from fal_model.model import FALModel
from fal_model.recompute import BlockRunner, set_recomputed
from fal_model.training import TrainState
from tests.helpers.micro import MICRO, micro_batch, micro_model, small_tree

DEEP = replace(MICRO, stage_depths=(2, 2, 2), motion_depth=2, fusion_depth=2)
TREE = Hierarchy.of(small_tree())


def blocks(model: FALModel) -> list[nn.Module]:
    stacks = [*model.encoder.stages, model.fusion.blocks]
    if model.motion is not None:
        stacks.append(model.motion.blocks)
    return [block for stack in stacks for block in stack.children()]


@contextmanager
def counted_bytes(model: FALModel) -> Iterator[list[int]]:
    """Add up what is kept for the backward pass: what autograd saves, and what recomputed blocks are given."""
    storages: dict[int, int] = {}
    total = [0]

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    def enter(_: nn.Module, inputs: tuple[Tensor | None, ...]) -> None:
        for tensor in inputs:
            if tensor is not None:
                keep(tensor)

    handles = [block.register_forward_pre_hook(enter) for block in blocks(model)]
    for parameter in model.parameters():
        keep(parameter.detach())
    weights = sum(storages.values())
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield total
    total[0] = sum(storages.values()) - weights
    for handle in handles:
        handle.remove()


def gradients(model: FALModel) -> list[Tensor]:
    batch, targets = micro_batch(2)
    model.zero_grad()
    torch.manual_seed(5)
    output = model(batch.frames_BTCHW, batch.flow_BTCHW, batch.flow_valid_BT)
    torch.autograd.backward(compute_losses(output, targets, TREE, LossConfig(embedding_weight=1)).total)
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("config", [DEEP, replace(DEEP, dropout=0.3), replace(DEEP, motion_depth=0)])
def test_gradients_are_the_same_bit_for_bit(config: ModelConfig) -> None:
    model = micro_model(config=config).train()
    kept = gradients(model)
    set_recomputed(model, is_recomputed=True)
    again = gradients(model)
    assert len(kept) == len(again) > 50
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))


def test_gradients_in_sixteen_bit_are_the_same() -> None:
    model = micro_model(config=DEEP).train()
    found = []
    for is_recomputed in (False, True):
        set_recomputed(model, is_recomputed=is_recomputed)
        with torch.autocast("cpu", torch.bfloat16):
            found.append(gradients(model))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_less_is_kept() -> None:
    model, (batch, _) = micro_model(config=DEEP).train(), micro_batch(4)
    sizes = []
    for is_recomputed in (False, True):
        set_recomputed(model, is_recomputed=is_recomputed)
        with counted_bytes(model) as total:
            model(batch.frames_BTCHW, batch.flow_BTCHW, batch.flow_valid_BT)
        sizes.append(total[0])
    assert 0 < sizes[1] < sizes[0] / 2


def test_every_block_is_run_twice() -> None:
    model = micro_model(config=DEEP).train()
    runs = dict.fromkeys(blocks(model), 0)

    def count(block: nn.Module, _: tuple[Tensor, ...]) -> None:
        runs[block] += 1

    for block in runs:
        block.register_forward_pre_hook(count)
    set_recomputed(model, is_recomputed=True)
    gradients(model)
    assert set(runs.values()) == {2}


def test_without_gradients_nothing_is_run_twice_and_nothing_changes() -> None:
    model = micro_model(config=DEEP).eval()
    with torch.no_grad():
        want = model(**model.example_inputs(1)).logits_BK
        set_recomputed(model, is_recomputed=True)
        assert torch.equal(model(**model.example_inputs(1)).logits_BK, want)


def test_training_switches_it_on_and_off() -> None:
    model = micro_model()
    for wanted in (True, False):
        TrainState.create(model, TrainConfig(is_recomputed=wanted))
        assert {part.is_recomputed for part in model.modules() if isinstance(part, BlockRunner)} == {wanted}
