"""Ray Train around the plain training loop: workers, checkpoints, restarts. The only file that knows ray.train."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ray.train
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from fal_model import evaluation, training
from fal_model.batch import ClipBatch, Targets
from fal_model.checkpoint import load_checkpoint, save_checkpoint
from fal_model.config import ModelConfig, TrainConfig
from fal_model.errors import FalError
from fal_model.training import TrainState
from jobs.runtime.config import LoopSection, TrackingSection
from jobs.runtime.tracking import AnyTracker, NoTracker, open_tracker
from jobs.runtime.train_start import start_model
from pipelines.shards import ReadPlan, ShardBatch, ShardSet, read_batches
from pipelines.tensors import clip_batch

COLLECTIVE_TIMEOUT_S = 300
FINAL = "model"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerPlan:
    """What every worker is told."""

    train_dir: str
    val_dir: str
    model_config: ModelConfig
    train_config: TrainConfig
    loop: LoopSection
    init_from: str
    tracking: TrackingSection
    output: str
    run_id: str


def fit(plan: WorkerPlan, output: str) -> dict[str, float]:
    """Run the workers to the end and put the model into ``<output>/model``.

    Returns:
        The validation metrics of the last step.

    Raises:
        FalError: the workers failed more often than ``loop.max_failures``.
    """
    loop = plan.loop
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"plan": plan},
        torch_config=TorchConfig(backend="nccl" if loop.gpus_per_worker else "gloo", timeout_s=COLLECTIVE_TIMEOUT_S),
        scaling_config=ScalingConfig(
            num_workers=loop.workers,
            use_gpu=loop.gpus_per_worker > 0,
            resources_per_worker={"CPU": loop.cpus_per_worker}
            | ({"GPU": loop.gpus_per_worker} if loop.gpus_per_worker else {}),
        ),
        run_config=RunConfig(
            name="train",
            storage_path=str(Path(output, "checkpoints")),
            failure_config=FailureConfig(max_failures=loop.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=loop.keep_checkpoints),
            logging_config=LoggingConfig(log_level="WARNING"),  # we say ourselves what is going on
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise FalError(f"training stopped: {_last_line(error)}") from error
    if result.checkpoint is None or result.metrics is None:
        raise FalError("training stopped without a checkpoint; run the job again")
    with result.checkpoint.as_directory() as folder:
        _publish(Path(folder, FINAL), Path(output, "model"))
    return {k: float(v) for k, v in result.metrics.items() if isinstance(v, int | float)}


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _publish(source: Path, target: Path) -> None:
    """Put the model directory in place in one step: it is there whole, or not at all."""
    staging = target.with_name(f".{target.name}.writing")
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(source, staging)
    # Left by a run that ended between here and its summary; the same model is in the checkpoint.
    shutil.rmtree(target, ignore_errors=True)
    staging.rename(target)


def train_worker(settings: dict[str, WorkerPlan]) -> None:
    """Train on one worker, from the last checkpoint to the last step."""
    plan = settings["plan"]
    context = ray.train.get_context()
    rank, num_workers = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    device = ray.train.torch.get_device()
    train_set, val_set = ShardSet.open(plan.train_dir), ShardSet.open(plan.val_dir)
    state = _start(plan, train_set, device)
    module = torch.nn.parallel.DistributedDataParallel(state.model) if num_workers > 1 else state.model
    tracker = (
        open_tracker(plan.tracking, plan.output, "train", plan.run_id) if rank == 0 and plan.run_id else NoTracker()
    )
    read_plan = ReadPlan(
        batch_clips=plan.loop.batch_clips,
        rank=rank,
        num_workers=num_workers,
        seed=plan.train_config.seed,
        is_augmented=True,
        is_mirrored=plan.loop.is_mirrored,
        threads=plan.loop.read_threads,
    )
    meter = _Meter(plan, tracker, is_speaking=rank == 0)
    batches = read_batches(train_set, read_plan, state.step, plan.train_config.total_steps)
    for batch in meter.waiting(batches):
        clips, targets = to_tensors(batch, train_set, device)
        numbers = training.train_step(state, clips, targets, module)
        meter.step(state.step, numbers)
        if state.step % plan.loop.checkpoint_every_steps == 0 or state.step == plan.train_config.total_steps:
            _checkpoint(state, plan, val_set, tracker, rank)


def to_tensors(batch: ShardBatch, shard_set: ShardSet, device: torch.device) -> tuple[ClipBatch, Targets]:
    """Turn a batch of shards into what a training step takes."""
    taxonomy = shard_set.taxonomy
    targets = Targets.from_labels(
        [[taxonomy.index(x) for x in labels] for labels in batch.labels],
        [
            None if frames is None else [[taxonomy.index(x) for x in labels] for labels in frames]
            for frames in batch.frame_labels
        ],
        taxonomy,
        shard_set.spec.num_frames,
        batch.spans,
    )
    return clip_batch(batch.arrays).to(device), targets.to(device)


def validation_batches(
    val_set: ShardSet, batch_clips: int, device: torch.device
) -> Iterator[tuple[ClipBatch, Targets]]:
    """Read all validation clips once, in order."""
    for batch in read_batches(val_set, ReadPlan(batch_clips=batch_clips, is_shuffled=False)):
        yield to_tensors(batch, val_set, device)


def _start(plan: WorkerPlan, train_set: ShardSet, device: torch.device) -> TrainState:
    state, started_from = started_state(ray.train.get_checkpoint(), plan, train_set, device)
    if ray.train.get_context().get_world_rank() == 0:
        _say(f"start: {started_from}")
    return state


def started_state(
    checkpoint: Checkpoint | None, plan: WorkerPlan, train_set: ShardSet, device: torch.device
) -> tuple[TrainState, str]:
    """Make what training goes on from, and a line that says what that is."""
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            state, _ = load_checkpoint(folder, device, plan.train_config)
        return state, f"continuing from step {state.step} of {plan.train_config.total_steps}"
    torch.manual_seed(plan.train_config.seed)
    model, started_from = start_model(plan.init_from, plan.model_config, train_set.taxonomy)
    return TrainState.create(model.to(device), plan.train_config), started_from


def _checkpoint(state: TrainState, plan: WorkerPlan, val_set: ShardSet, tracker: AnyTracker, rank: int) -> None:
    """Measure, save and report. Every worker reports; the first one also brings the files."""
    name = f"step-{state.step:09d}"
    if rank != 0:
        ray.train.report({"step": state.step}, checkpoint_dir_name=name)
        return
    model = state.averaged_model()
    device = next(model.parameters()).device
    collected = training.collect(model, validation_batches(val_set, plan.loop.batch_clips, device))
    model.calibration = evaluation.calibrate(collected, model.taxonomy, plan.loop.kept_accuracy)
    metrics = evaluation.evaluation_metrics(collected, model.taxonomy, model.calibration)
    tracker.metrics({f"val_{k}": v for k, v in metrics.items()}, step=state.step)
    _say(f"step {state.step}: validation top1 {metrics.get('top1', float('nan')):.3f}")
    with tempfile.TemporaryDirectory(prefix="fal-checkpoint-") as folder:
        save_checkpoint(folder, state, metrics)
        model.save_pretrained(Path(folder, FINAL))
        ray.train.report(
            {"step": state.step, **metrics}, checkpoint=Checkpoint.from_directory(folder), checkpoint_dir_name=name
        )


def _say(text: str) -> None:
    """Write a line where Ray brings the output of a worker: to the driver's terminal."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class _Meter:
    """Tell person and tracker how training goes, the wait for data included."""

    def __init__(self, plan: WorkerPlan, tracker: AnyTracker, *, is_speaking: bool) -> None:
        self.plan, self.tracker, self.is_speaking = plan, tracker, is_speaking
        self.since_s, self.wait_s, self.steps = time.monotonic(), 0.0, 0

    def waiting(self, batches: Iterator[ShardBatch]) -> Iterator[ShardBatch]:
        """Pass batches on and count the time spent waiting for them."""
        while True:
            start_s = time.monotonic()
            batch = next(batches, None)
            self.wait_s += time.monotonic() - start_s
            if batch is None:
                return
            yield batch

    def step(self, step: int, numbers: training.StepMetrics) -> None:
        """Count a step; speak every ``loop.log_every_steps``."""
        self.steps += 1
        total = self.plan.train_config.total_steps
        if not self.is_speaking or (step % self.plan.loop.log_every_steps and step != total):
            return
        spent_s = time.monotonic() - self.since_s
        rate = self.steps * self.plan.loop.batch_clips / spent_s
        wait_share = self.wait_s / spent_s
        self.tracker.metrics(
            {**numbers._asdict(), "clips_per_s": rate, "data_wait_share": wait_share},
            step=step,
        )
        left_s = (total - step) * self.plan.loop.batch_clips / rate
        _say(
            f"step {step}/{total}: loss {numbers.loss:.3f}, {rate:.1f} clips/s, "
            f"waiting for data {wait_share:.0%}, {left_s:.0f} s left"
        )
        self.since_s, self.wait_s, self.steps = time.monotonic(), 0.0, 0
