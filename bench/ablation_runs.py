"""One training of ``bench/ablation.py``: what decides it, how it is done, what is measured, where that is kept."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.ablation_data import COARSE, SPLITS, STANDIN
from bench.ablation_peers import PeerModel, build, gflop
from bench.ablation_rows import Row
from bench.standin_answers import taken_apart
from fal_model import evaluation, metrics, postprocess, training
from fal_model.batch import ClipBatch, Targets
from fal_model.config import TrainConfig
from fal_model.model import FALModel
from fal_model.spec import content_id
from jobs.runtime.ray_train import to_tensors, validation_batches
from pipelines.atomic_files import writing
from pipelines.shards import ReadPlan, ShardSet, read_batches

RESULT_VERSION = 5
"""Raised by hand when the model or the training changes: results of other versions are not used again."""

Result = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training: all that decides its result.

    Attributes:
        data: Name of the data set.
        row: Model and losses.
        train: Schedule, seed and losses of the training; its losses are the row's.
        batch_clips: Clips of a step.
        is_mirrored: Whether half of the clips are mirrored.
        shards: Folder of shards of each split; its name says what decides them.
        device: Where to compute: ``cpu`` or ``cuda``.
    """

    data: str
    row: Row
    train: TrainConfig
    batch_clips: int
    is_mirrored: bool
    shards: Path
    device: str = "cpu"

    @property
    def key(self) -> str:
        """Return the content hash of everything that decides the result, 16 hex digits."""
        return content_id(
            {
                "version": RESULT_VERSION,
                "data": [self.data, self.shards.parent.name, self.shards.name],
                "row": self.row.to_dict(),
                "train": asdict(self.train),
                "batch": [self.batch_clips, self.is_mirrored],
                "device": self.device,
            }
        )

    def file(self, folder: Path) -> Path:
        """Return where the result is kept."""
        words = re.sub(r"[^a-z0-9]+", "-", f"{self.data} {self.row.name}".lower()).strip("-")
        return folder / f"{words}-seed{self.train.seed}-{self.key}.json"


def finished(run: Run, folder: Path) -> Result | None:
    """Return the result of a run that was done before, or None."""
    file = run.file(folder)
    return json.loads(file.read_bytes()) if file.exists() else None


def execute(run: Run, folder: Path) -> Result:
    """Train, measure, and keep the result in ``folder``."""
    train_set, val_set, test_set = (ShardSet.open(str(run.shards / split)) for split in SPLITS)
    torch.manual_seed(run.train.seed)
    model, module = build(run.row.peer, run.row.config, train_set.taxonomy)
    module.to(run.device)
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    last_loss = _train(run, model, module, train_set)
    spent = {"train_s": time.perf_counter() - start_s, "train_cpu_s": time.process_time() - start_cpu_s}
    val, test = (Labelled(shard_set, run.batch_clips, run.device) for shard_set in (val_set, test_set))
    result: Result = {
        "data": run.data,
        "row": run.row.name,
        "seed": run.train.seed,
        "device": run.device,
        "key": run.key,
        "gflop": gflop(run.row.peer, run.row.config, train_set.taxonomy),
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_clips": train_set.num_clips,
        "test_clips": test_set.num_clips,
        "last_loss": last_loss,
        **spent,
        "metrics": measured(model, module, val, test, is_standin=run.data in (STANDIN, COARSE)),
        "run": {"row": run.row.to_dict(), "train": asdict(run.train), "batch_clips": run.batch_clips},
    }
    with writing(run.file(folder)) as file:
        file.write(json.dumps(result, indent=1).encode())
    return result


def _train(run: Run, model: FALModel, module: nn.Module, train_set: ShardSet) -> float:
    """Do all steps; return the loss of the last."""
    state = training.TrainState.create(model, run.train)
    plan = ReadPlan(batch_clips=run.batch_clips, seed=run.train.seed, is_augmented=True, is_mirrored=run.is_mirrored)
    loss = float("nan")
    for batch in read_batches(train_set, plan, 0, run.train.total_steps):
        clips, targets = to_tensors(batch, train_set, torch.device(run.device))
        loss = training.train_step(state, clips, targets, module).loss
    return loss


@dataclass(frozen=True, slots=True)
class Labelled:
    """The clips of a split, in order."""

    shards: ShardSet
    batch_clips: int
    device: str

    def __iter__(self) -> Iterator[tuple[ClipBatch, Targets]]:
        """Read them once more."""
        return validation_batches(self.shards, self.batch_clips, torch.device(self.device))


def measured(
    model: FALModel, module: nn.Module, val: Labelled, test: Labelled, *, is_standin: bool
) -> dict[str, float]:
    """Test a trained model; its calibration is fitted on ``val`` and kept with it.

    Args:
        model: What holds the weights.
        module: What is called with clips.
        val: Clips to calibrate on.
        test: Clips to test on.
        is_standin: Whether the classes are those of the stand-in corpus, whose accuracy can be taken apart.

    Returns:
        What ``evaluation.evaluation_metrics`` says; ``recall_at_1_raw``, as ``recall_at_1`` but by the mean of the
        encoder's features instead of the embedding; ``val_top1``, to choose learning rates by; and for the stand-in
        what :func:`bench.standin_answers.taken_apart` says.
    """
    validated = training.collect(module, val)
    model.calibration = evaluation.calibrate(validated, model.taxonomy)
    encoder = model.peer if isinstance(model, PeerModel) else model.encoder
    means: list[Tensor] = []
    handle = encoder.register_forward_hook(lambda _module, _inputs, output: means.append(_mean_of(output)))
    collected = training.collect(module, test)
    handle.remove()
    found = evaluation.evaluation_metrics(collected, model.taxonomy, model.calibration)
    leaves_NL = collected.labels_NK[:, model.taxonomy.leaves]
    mean_ND = torch.cat(means).float()
    # A model of single frames has seen each frame as a clip.
    raw_ND = mean_ND.view(len(leaves_NL), -1, mean_ND.shape[-1]).mean(dim=1)
    found["recall_at_1_raw"] = metrics.recall_at_k(F.normalize(raw_ND, dim=-1).cpu().numpy(), leaves_NL, ks=(1,))[1]
    found["val_top1"] = evaluation.evaluation_metrics(validated, model.taxonomy, model.calibration)["top1"]
    if is_standin:
        columns = list(model.taxonomy.leaves)
        scores_NK = postprocess.path_scores(collected.logits_NK, model.taxonomy)
        found |= taken_apart(scores_NK[:, columns], leaves_NL, [model.taxonomy.nodes[i].id for i in columns])
    return found


def _mean_of(output: Tensor | tuple[Tensor, Tensor | None]) -> Tensor:
    """Return the mean of what an encoder says of each clip: of frame features, or of the tokens of the last stage."""
    features = output if isinstance(output, Tensor) else output[0]
    return features.flatten(1, -2).mean(dim=1)
