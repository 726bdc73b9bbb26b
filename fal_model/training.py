"""Training: optimizer, schedule, one step, and evaluation over any iterable. Knows no Ray and no storage."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fal_model.batch import ClipBatch, ModelOutput, Targets
from fal_model.config import TrainConfig
from fal_model.errors import FalError
from fal_model.evaluation import Collected
from fal_model.hierarchy import Hierarchy
from fal_model.losses import LossTerms, compute_losses, count_known
from fal_model.model import FALModel
from fal_model.recompute import set_recomputed

POSITION_NAMES = ("space_PD", "space_MD", "space_DHW", "time_TD", "time_2D", "filter_TD", "no_flow_D")
Batches = Iterable[tuple[ClipBatch, Targets]]


class StepMetrics(NamedTuple):
    """What one step did.

    Attributes:
        loss: Weighted sum of the losses.
        hierarchy_loss: Over all classes of the tree.
        leaf_loss: Among leaves.
        frame_loss: Over frames.
        boundary_loss: Over borders of what happens at frames.
        embedding_loss: Over pairs of clips; 0 where no two share a label.
        grad_norm: Length of the gradient before clipping.
        learning_rate: Of this step.
        is_skipped: The gradient was infinite or NaN; weights did not change.
    """

    loss: float
    hierarchy_loss: float
    leaf_loss: float
    frame_loss: float
    boundary_loss: float
    embedding_loss: float
    grad_norm: float
    learning_rate: float
    is_skipped: bool


@dataclass(slots=True)
class TrainState:
    """Everything that a step changes.

    Attributes:
        model: The model.
        config: How it is trained.
        optimizer: AdamW over the model's parameters.
        hierarchy: The label tree on the model's device.
        step: Steps done, skipped ones included.
        bad_steps: Steps skipped in a row until now.
        average: Moving average of the weights by name; empty when ``config.ema_decay`` is 0.
    """

    model: FALModel
    config: TrainConfig
    optimizer: torch.optim.AdamW
    hierarchy: Hierarchy
    step: int = 0
    bad_steps: int = 0
    average: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def create(cls, model: FALModel, config: TrainConfig) -> TrainState:
        """Start training a model that lies on its final device.

        The model itself is told to recompute and to compile, so that it may be wrapped for several workers as usual.
        """
        set_recomputed(model, is_recomputed=config.is_recomputed)
        if config.is_compiled:
            model.compile()
        average = {n: p.detach().clone() for n, p in model.named_parameters()} if config.ema_decay else {}
        hierarchy = Hierarchy.of(model.taxonomy, next(model.parameters()).device)
        return cls(model, config, make_optimizer(model, config), hierarchy, average=average)

    def averaged_model(self) -> FALModel:
        """Return the model to evaluate and to store: with averaged weights where there are any."""
        if not self.average:
            return self.model
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.average)
        return model


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Make AdamW with two groups: weight matrices decay; biases, norms and positions do not."""
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim > 1 and not name.endswith(POSITION_NAMES)
        (decayed if is_matrix else kept).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True)


def learning_rate_at(step: int, config: TrainConfig) -> float:
    """Return the learning rate of a step, counted from 0: linear warm-up, then half a cosine, then constant."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.total_steps - config.warmup_steps)
    cosine = (1 + math.cos(math.pi * min(1.0, done))) / 2
    return config.learning_rate * (config.min_lr_share + (1 - config.min_lr_share) * cosine)


def train_step(
    state: TrainState, batch: ClipBatch, targets: Targets, module: Callable[..., ModelOutput] | None = None
) -> StepMetrics:
    """Learn from one batch.

    Micro-batches add up to the whole batch, whatever their labels leave open, but for the contrast of embeddings: only
    clips of one micro-batch meet. Each worker takes means over what is known of its own batch, and the mean of the
    workers' gradients is taken: a known clip or frame counts more on a worker where fewer are known.

    Args:
        state: Changed in place.
        batch: Clips on the model's device.
        targets: Of the same clips, same device.
        module: What to call instead of ``state.model``: the same model wrapped for several workers, or compiled.

    Returns:
        Losses before the step. A step whose gradient is not finite is skipped and says so.

    Raises:
        ValueError: the batch has no clips, or the targets are of other clips.
        FalError: more than ``config.max_bad_steps`` steps in a row were skipped.
    """
    if not len(batch) or len(batch) != len(targets.labels_BK):
        raise ValueError(f"batch: got {len(batch)} clips and targets of {len(targets.labels_BK)}, must be as many, ≥ 1")
    config = state.config
    run = module or state.model
    state.model.train()
    if state.model.config.dropout:
        # A resumed run drops the same values as an undisturbed one.
        torch.manual_seed(config.seed * 1_000_003 + state.step)
    learning_rate = learning_rate_at(state.step, config)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    terms = _accumulate(state, run, batch, targets)
    grad_norm = nn.utils.clip_grad_norm_(state.model.parameters(), config.grad_clip or math.inf)
    # One transfer for all numbers. The norm decides, not the loss: it is the same on every worker.
    *losses, norm = torch.stack([*terms, grad_norm.detach()]).tolist()
    is_skipped = not math.isfinite(norm)
    if not is_skipped:
        state.optimizer.step()
        _update_average(state)
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    state.bad_steps = state.bad_steps + 1 if is_skipped else 0
    if state.bad_steps > config.max_bad_steps:
        raise FalError(
            f"training: the gradient was not finite for {state.bad_steps} steps in a row, up to step {state.step}; "
            f"allowed are {config.max_bad_steps}; check the data, or lower the learning rate ({config.learning_rate:g})"
        )
    return StepMetrics._make((*losses, norm, learning_rate, is_skipped))


def _accumulate(state: TrainState, run: Callable[..., ModelOutput], batch: ClipBatch, targets: Targets) -> list[Tensor]:
    """Add up gradients over micro-batches; return the loss terms of the whole batch."""
    size = state.config.micro_batch or len(batch)
    device = batch.frames_BTCHW.device.type
    whole = count_known(targets, state.hierarchy) if size < len(batch) else None
    totals = [torch.zeros((), device=batch.frames_BTCHW.device) for _ in LossTerms._fields]
    for start in range(0, len(batch), size):
        stop = min(start + size, len(batch))
        part, truth = batch.slice(start, stop), targets.slice(start, stop)
        with _synchronised(run, is_last=stop == len(batch)):
            with torch.autocast(device, torch.bfloat16, enabled=state.config.is_bf16):
                output = run(part.frames_BTCHW, part.flow_BTCHW, part.flow_valid_BT)
            terms = compute_losses(output, truth, state.hierarchy, state.config.loss, whole)
            torch.autograd.backward(terms.total)
        totals = [total + term.detach() for total, term in zip(totals, terms, strict=True)]
    return totals


def _synchronised(run: object, *, is_last: bool) -> AbstractContextManager[None]:
    """Let workers exchange gradients only once per step, after the last micro-batch."""
    if isinstance(run, DistributedDataParallel) and not is_last:
        context: AbstractContextManager[None] = run.no_sync()
        return context
    return nullcontext()


@torch.no_grad()
def _update_average(state: TrainState) -> None:
    """Move the averaged weights; young averages move faster, so that the first weights are forgotten."""
    keep = min(state.config.ema_decay, (1 + state.step) / (10 + state.step))
    for name, parameter in state.model.named_parameters():
        if name in state.average:
            state.average[name].lerp_(parameter, 1 - keep)


@torch.no_grad()
def collect(model: nn.Module, batches: Batches) -> Collected:
    """Run a model, or a wrapped one, over labelled batches, in evaluation mode; the mode is put back, also on an error.

    Raises:
        FalError: there is no clip with known labels.
    """
    was_training = model.training
    model.eval()
    try:
        rows = [_known_rows(model, batch, targets) for batch, targets in batches]
    finally:
        model.train(was_training)
    if not sum(len(row[0]) for row in rows):
        raise FalError("evaluation: got no clip with known labels, needs at least one")
    return Collected(*(torch.cat(column).float().cpu().numpy() for column in zip(*rows, strict=True)))


def _known_rows(model: nn.Module, batch: ClipBatch, targets: Targets) -> tuple[Tensor, ...]:
    """Return what is said and true of known clips and frames, in the order of :class:`Collected`."""
    output: ModelOutput = model(batch.frames_BTCHW, batch.flow_BTCHW, batch.flow_valid_BT)
    known_B, known_BT = targets.label_known_B, targets.frame_known_BT
    pairs = (output.logits_BK[known_B], targets.labels_BK[known_B])
    frame_pairs = (output.frame_logits_BTK[known_BT], targets.frame_labels_BTK[known_BT])
    return (*pairs, *frame_pairs, output.embedding_BE[known_B])
