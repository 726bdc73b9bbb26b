import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from fal_model.batch import ClipBatch, ModelOutput, Targets
from fal_model.boundary_loss import asked_borders
from fal_model.calibration import Calibration
from fal_model.config import LossConfig, TrainConfig
from fal_model.errors import FalError
from fal_model.evaluation import evaluation_metrics
from fal_model.model import FALModel
from fal_model.training import (
    TrainState,
    collect,
    learning_rate_at,
    make_optimizer,
    train_step,
)
from tests.helpers.micro import MICRO, micro_batch, micro_model, small_tree

CONFIG = TrainConfig(learning_rate=1e-2, warmup_steps=2, total_steps=20)


def weights(state: TrainState) -> list[Tensor]:
    return [p.detach().clone() for p in state.model.parameters()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_schedule_rises_then_falls() -> None:
    config = TrainConfig(learning_rate=1.0, min_lr_share=0.1, warmup_steps=4, total_steps=14)
    rates = [learning_rate_at(step, config) for step in range(20)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[9] == pytest.approx(0.55)
    assert rates[14:] == pytest.approx([0.1] * 6)
    assert rates[4:15] == sorted(rates[4:15], reverse=True)


def test_a_schedule_without_warm_up() -> None:
    assert learning_rate_at(0, TrainConfig(learning_rate=1.0, warmup_steps=0, total_steps=1)) == 1.0


def test_norms_biases_and_positions_do_not_decay() -> None:
    model = micro_model()
    groups = make_optimizer(model, CONFIG).param_groups
    names = {id(p): n for n, p in model.named_parameters()}
    decayed, kept = ({names[id(p)] for p in group["params"]} for group in groups)
    assert (groups[0]["weight_decay"], groups[1]["weight_decay"]) == (0.05, 0)
    assert decayed | kept == set(names.values())
    assert all(n.endswith("weight") and "norm" not in n for n in decayed)
    assert {"encoder.embed.space_PD", "motion.no_flow_D", "heads.clip_classes.bias"} < kept


def test_training_learns_what_it_is_shown() -> None:
    state = TrainState.create(micro_model(), replace(CONFIG, total_steps=60))
    batch, targets = micro_batch(8)
    first = train_step(state, batch, targets)
    for _ in range(59):
        last = train_step(state, batch, targets)
    assert last.loss < first.loss / 4
    assert state.step == 60
    assert evaluation_metrics(collect(state.model, [(batch, targets)]), small_tree(), Calibration())["top1"] == 1


def test_the_first_step_reports_what_the_losses_are() -> None:
    state = TrainState.create(micro_model(), CONFIG)
    step = train_step(state, *micro_batch())
    clip = step.hierarchy_loss + step.leaf_loss + 0.1 * step.embedding_loss
    assert step.loss == pytest.approx(clip + 0.5 * (step.frame_loss + step.boundary_loss), rel=1e-5)
    assert step.learning_rate == 0.005
    assert step.grad_norm > 0
    assert not step.is_skipped


def test_the_same_seed_gives_the_same_weights() -> None:
    runs = []
    for _ in range(2):
        state = TrainState.create(micro_model(), CONFIG)
        for i in range(3):
            train_step(state, *micro_batch(seed=i))
        runs.append(weights(state))
    assert same(*runs)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_micro_batches_add_up_to_the_whole(size: int) -> None:
    batch, targets = micro_batch(5)
    labels = targets.labels_BK.clone()
    labels[4] = torch.tensor([1.0, 0, 0, 0, 0, 0, 0])  # not as deep as a leaf
    offset_known = targets.offset_known_BTL.clone()
    offset_known[0, 0] = offset_known[3] = False
    label_known = torch.tensor([True, False, True, True, True])
    targets = replace(targets, labels_BK=labels, label_known_B=label_known, offset_known_BTL=offset_known)
    borders_B = asked_borders(targets.offsets_BTL2, targets.offset_known_BTL).sum(dim=(1, 2, 3))
    assert len(set(targets.frame_known_BT.sum(dim=1).tolist())) > 1
    assert len(set(borders_B.tolist())) > 1
    # Without contrast: clips of different micro-batches never meet.
    config = replace(CONFIG, loss=LossConfig(embedding_weight=0))
    whole, parts = (TrainState.create(micro_model(), replace(config, micro_batch=clips)) for clips in (0, size))
    a, b = train_step(whole, batch, targets), train_step(parts, batch, targets)
    for name in ("loss", "hierarchy_loss", "leaf_loss", "frame_loss", "boundary_loss"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-5), name
    assert a.grad_norm == pytest.approx(b.grad_norm, rel=1e-4)


def test_a_micro_batch_of_which_nothing_is_known_adds_nothing() -> None:
    batch, targets = micro_batch(4)
    nothing = torch.zeros(2, dtype=torch.bool)
    targets = replace(
        targets,
        label_known_B=torch.cat((targets.label_known_B[:2], nothing)),
        frame_known_BT=torch.cat((targets.frame_known_BT[:2], nothing[:, None].expand(-1, 3))),
        offset_known_BTL=torch.cat((targets.offset_known_BTL[:2], torch.zeros(2, 3, 4, dtype=torch.bool))),
    )
    config = replace(CONFIG, loss=LossConfig(embedding_weight=0), micro_batch=2)
    alone, both = (TrainState.create(micro_model(), config) for _ in range(2))
    a, b = train_step(alone, batch.slice(0, 2), targets.slice(0, 2)), train_step(both, batch, targets)
    assert a.loss == pytest.approx(b.loss, rel=1e-5)
    assert a.grad_norm == pytest.approx(b.grad_norm, rel=1e-4)


def test_long_gradients_are_clipped() -> None:
    free, clipped = (
        TrainState.create(micro_model(), replace(CONFIG, grad_clip=clip, weight_decay=0)) for clip in (0.0, 1e-9)
    )
    before = weights(free)
    a, b = train_step(free, *micro_batch()), train_step(clipped, *micro_batch())
    assert a.grad_norm == b.grad_norm > 1e-3

    def moved(state: TrainState) -> float:
        return sum((x - y).abs().sum().item() for x, y in zip(weights(state), before, strict=True))

    assert moved(clipped) < moved(free) / 10  # Adam divides by the gradient's size, but not below its epsilon


def broken(model: FALModel, *, bad_steps: set[int], state: TrainState) -> object:
    def run(frames: Tensor, flow: Tensor, flow_valid: Tensor) -> ModelOutput:
        output: ModelOutput = model(frames, flow, flow_valid)
        factor = float("nan") if state.step in bad_steps else 1.0
        return output._replace(logits_BK=output.logits_BK * factor)

    return run


def test_a_bad_step_is_skipped_and_reported() -> None:
    state = TrainState.create(micro_model(), CONFIG)
    run = broken(state.model, bad_steps={1}, state=state)
    batch, targets = micro_batch()
    assert callable(run)
    train_step(state, batch, targets, run)
    before = weights(state)
    bad = train_step(state, batch, targets, run)
    assert bad.is_skipped
    assert math.isnan(bad.loss)
    assert same(weights(state), before)
    assert (state.step, state.bad_steps) == (2, 1)
    good = train_step(state, batch, targets, run)
    assert not good.is_skipped
    assert math.isfinite(good.loss)
    assert state.bad_steps == 0


def test_too_many_bad_steps_stop_the_run() -> None:
    state = TrainState.create(micro_model(), replace(CONFIG, max_bad_steps=2))
    run = broken(state.model, bad_steps={0, 1, 2}, state=state)
    batch, targets = micro_batch()
    assert callable(run)
    train_step(state, batch, targets, run)
    train_step(state, batch, targets, run)
    with pytest.raises(FalError, match=r"not finite for 3 steps in a row, up to step 3; allowed are 2; check the data"):
        train_step(state, batch, targets, run)


def test_bfloat16_stays_close() -> None:
    full, half = (TrainState.create(micro_model(), replace(CONFIG, is_bf16=flag)) for flag in (False, True))
    a, b = train_step(full, *micro_batch()), train_step(half, *micro_batch())
    assert a.loss == pytest.approx(b.loss, rel=0.02)
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}


def test_dropout_follows_seed_and_step() -> None:
    model_config = replace(MICRO, dropout=0.2)
    losses = []
    for _ in range(2):
        state = TrainState.create(micro_model(config=model_config), replace(CONFIG, learning_rate=1e-9))
        torch.rand(1)
        losses.append([train_step(state, *micro_batch()).loss for _ in range(2)])
    assert losses[0] == losses[1]
    assert losses[0][0] != losses[0][1]


def test_averaged_weights_follow_slowly() -> None:
    state = TrainState.create(micro_model(), replace(CONFIG, ema_decay=0.9))
    start = weights(state)
    train_step(state, *micro_batch())
    average = state.averaged_model()
    assert average is not state.model
    for first, mean, now in zip(start, average.parameters(), state.model.parameters(), strict=True):
        torch.testing.assert_close(mean.detach(), first * 0.1 + now.detach() * 0.9, rtol=1e-4, atol=1e-6)


def test_without_averaging_the_model_itself_is_evaluated() -> None:
    state = TrainState.create(micro_model(), CONFIG)
    assert state.averaged_model() is state.model


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("micro_batch_size", [0, 2])
def test_a_wrapped_model_learns_the_same(micro_batch_size: int) -> None:
    config = replace(CONFIG, micro_batch=micro_batch_size)
    plain, wrapped = (TrainState.create(micro_model(), config) for _ in range(2))
    module = DistributedDataParallel(wrapped.model)
    for i in range(2):
        a = train_step(plain, *micro_batch(seed=i))
        b = train_step(wrapped, *micro_batch(seed=i), module)
        assert a.loss == pytest.approx(b.loss, rel=1e-6)
    for x, y in zip(weights(plain), weights(wrapped), strict=True):
        torch.testing.assert_close(x, y)


def test_only_known_clips_and_frames_are_collected() -> None:
    batch, targets = micro_batch(4)
    targets = replace(targets, label_known_B=torch.tensor([True, False, True, True]))
    model = micro_model().train()
    collected = collect(model, [(batch, targets), (batch, targets)])
    assert collected.logits_NK.shape == (6, 7)
    assert collected.frame_logits_FK.shape == (2 * 3 * 3, 7)  # the third clip's frames are not known
    np.testing.assert_array_equal(collected.labels_NK[0], targets.labels_BK[0].numpy())
    assert model.training


def test_the_mode_is_put_back_when_the_data_fail() -> None:
    def batches() -> Iterator[tuple[ClipBatch, Targets]]:
        yield micro_batch(1)
        raise OSError("the shard is gone")

    model = micro_model().train()
    with pytest.raises(OSError, match="the shard is gone"):
        collect(model, batches())
    assert model.training


@pytest.mark.parametrize("is_empty", [True, False])
def test_nothing_to_evaluate_is_an_error(is_empty: bool) -> None:
    batch, _ = micro_batch(1)
    unknown = Targets.from_labels([None], [None], small_tree(), 3)
    with pytest.raises(FalError, match="evaluation: got no clip with known labels, needs at least one"):
        collect(micro_model(), [] if is_empty else [(batch, unknown)])


def test_the_optimizer_is_fused() -> None:
    state = TrainState.create(micro_model(), CONFIG)
    assert all(group["fused"] for group in state.optimizer.param_groups)


def test_recomputing_changes_no_weight() -> None:
    kept, again = (TrainState.create(micro_model(), replace(CONFIG, is_recomputed=flag)) for flag in (False, True))
    for i in range(2):
        train_step(kept, *micro_batch(seed=i))
        train_step(again, *micro_batch(seed=i))
    assert same(weights(kept), weights(again))


@pytest.mark.parametrize("sizes", [(0, 0), (2, 1), (0, 2)])
def test_a_batch_that_cannot_be_learned_from_is_refused(sizes: tuple[int, int]) -> None:
    state = TrainState.create(micro_model(), CONFIG)
    clips, truth = sizes
    with pytest.raises(ValueError, match=f"batch: got {clips} clips and targets of {truth}, must be as many, ≥ 1"):
        train_step(state, micro_batch(4)[0].slice(0, clips), micro_batch(4)[1].slice(0, truth))


@pytest.mark.parametrize("micro_batch_size", [0, 1, 3])
def test_contrast_works_with_micro_batches(micro_batch_size: int) -> None:
    config = replace(CONFIG, micro_batch=micro_batch_size, loss=LossConfig(embedding_weight=1))
    state = TrainState.create(micro_model(), config)
    step = train_step(state, *micro_batch(5))
    assert not step.is_skipped
    assert (step.embedding_loss > 0) == (micro_batch_size != 1)  # a clip alone has nothing to be near to


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own code
@pytest.mark.usefixtures("process_group")
def test_a_compiled_and_wrapped_model_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    # Each part of the model costs the compiler half a minute, and all are as good for this.
    short = replace(MICRO, motion_depth=0, fusion_depth=0, pyramid_width=0)
    plain, compiled = (
        TrainState.create(micro_model(config=short), replace(CONFIG, is_compiled=flag, ema_decay=0.5))
        for flag in (False, True)
    )
    module = DistributedDataParallel(compiled.model)
    for i in range(3):
        a = train_step(plain, *micro_batch(seed=i))
        b = train_step(compiled, *micro_batch(seed=i), module)
        assert a.loss == pytest.approx(b.loss, rel=1e-4)
    assert set(compiled.model.state_dict()) == set(plain.model.state_dict())
    inputs = plain.model.example_inputs(2)
    for x, y in zip(plain.averaged_model().eval()(**inputs), compiled.averaged_model().eval()(**inputs), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-2, atol=1e-2)
    torch.compiler.reset()
