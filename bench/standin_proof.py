"""What the stand-in corpus measures: how far one gets without the order of time.

Generates a part of the corpus with ``jobs/make_corpus.py``, prepares shards, and trains four models on the same clips
for the same number of steps: the full one; one without flow; one whose training saw frames in random order; and one
that sees each frame alone and averages, of at least as much compute. The full model is also tested on shuffled frames.
Accuracy is taken apart: the appearance, the pair of programs that show the same pictures in reversed order, and the
direction within that pair, where 0.5 is chance. --work keeps everything, each finished training too.
Run it as: python bench/standin_proof.py --work FOLDER
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.standin_answers import taken_apart
from bench.time_blind import FrameByFrame, Shuffled
from fal_model import metrics, training
from fal_model.batch import ClipBatch, Targets
from fal_model.config import ModelConfig, TrainConfig
from fal_model.hierarchy import Hierarchy, path_log_scores
from fal_model.model import FALModel
from fal_model.presets import fal_nano
from jobs.runtime.ray_train import to_tensors, validation_batches
from pipelines.shards import ReadPlan, ShardSet, read_batches

ROOT = Path(__file__).resolve().parents[1]
BATCH_CLIPS = 16
PER_FRAME_DEPTHS = (2, 2, 1)
"""A frame alone has no flow stream and no neighbours to attend to; a deeper first stage makes up for their compute."""
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Variant:
    """One model: its name in the table, its sizes, and whether it is blind to time."""

    name: str
    config: ModelConfig
    is_frame_by_frame: bool = False
    is_shuffled: bool = False

    def wrap(self, model: FALModel) -> nn.Module:
        """Return what is called with whole clips."""
        if self.is_frame_by_frame:
            return FrameByFrame(model)
        return Shuffled(model) if self.is_shuffled else model


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was tested, GFLOP per clip, and shares of the test clips; see the file's head."""

    name: str
    gflop: float
    top1: float
    top5: float
    appearance: float
    pair: float
    direction: float


def main() -> int:
    """Generate, prepare, train, test; print the table after each model."""
    options = _options()
    torch.set_num_threads(options.threads)
    work = Path(options.work).absolute()
    _make_data(work, options)
    train_set, test_set = (ShardSet.open(str(work / "shards" / split)) for split in ("train", "test"))
    steps = options.epochs * (train_set.num_clips // BATCH_CLIPS)
    config = TrainConfig(learning_rate=1e-3, warmup_steps=40, weight_decay=0.05, total_steps=steps, seed=options.seed)
    print(
        f"{options.difficulty}: {options.classes} classes, {train_set.num_clips} training clips, "
        f"{test_set.num_clips} test clips, {steps} steps of {BATCH_CLIPS}",
        flush=True,
    )
    rows: list[Row] = []
    for variant in _variants():
        model = _trained(variant, config, train_set, work)
        rows.append(_measure(variant.name, variant.wrap(model), test_set))
        if not rows[1:]:
            rows.append(_measure("full, frames shuffled in the test only", Shuffled(model), test_set))
        _print_table(rows)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="folder for corpus, shards and models; kept")
    parser.add_argument("--classes", type=int, default=36, help="classes of the corpus")
    parser.add_argument("--videos-per-class", type=int, default=60, help="videos of each, all splits together")
    parser.add_argument("--difficulty", default="standard", help="easy, crowded, standard or hard")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the training clips")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    return parser.parse_args()


def _variants() -> list[Variant]:
    full = fal_nano()
    alone = replace(full, clip=replace(full.clip, num_frames=1), motion_depth=0, stage_depths=PER_FRAME_DEPTHS)
    return [
        Variant("full", full),
        Variant("each frame alone", alone, is_frame_by_frame=True),
        Variant("frames in random order, training too", full, is_shuffled=True),
        Variant("full without flow", replace(full, motion_depth=0)),
    ]


def _make_data(work: Path, options: argparse.Namespace) -> None:
    """Run the jobs that a user would run; both go on where they stopped."""
    corpus, shards = work / "corpus", work / "shards"
    asked = [f"--{n}={getattr(options, n.replace('-', '_'))}" for n in ("classes", "videos-per-class", "difficulty")]
    _job("make_corpus.py", "--output", str(corpus), *asked, "corpus.has_broken=false")
    for manifest in ("train", "test"):
        places = ["--input", str(corpus / f"{manifest}.jsonl"), "--taxonomy", str(corpus / "taxonomy.json")]
        _job("prepare_corpus.py", *places, "--output", str(shards / "made" / manifest), "model.preset=fal-nano")
        for folder in (shards / "made" / manifest).iterdir():
            if folder.name in {"train", "val", "test"} and not (shards / folder.name).exists():
                (shards / folder.name).symlink_to(folder)


def _job(script: str, *arguments: str) -> None:
    subprocess.run([sys.executable, str(ROOT / "jobs" / script), *arguments], check=True)


def _trained(variant: Variant, config: TrainConfig, train_set: ShardSet, work: Path) -> FALModel:
    """Train a model, or load it where that is done."""
    folder = work / "models" / f"{variant.name.replace(' ', '_').replace(',', '')}-seed{config.seed}"
    if folder.exists():
        return FALModel.from_pretrained(folder)
    torch.manual_seed(config.seed)
    state = training.TrainState.create(FALModel(variant.config, train_set.taxonomy), config)
    run = variant.wrap(state.model)
    plan = ReadPlan(batch_clips=BATCH_CLIPS, seed=config.seed, is_augmented=True)
    start_s = time.monotonic()
    for batch in read_batches(train_set, plan, 0, config.total_steps):
        numbers = training.train_step(state, *to_tensors(batch, train_set, CPU), run)
        if state.step % 20 == 0 or state.step == config.total_steps:
            left_s = (config.total_steps - state.step) * (time.monotonic() - start_s) / state.step
            print(
                f"{variant.name}: step {state.step}/{config.total_steps}, loss {numbers.loss:.3f}, {left_s:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
    model = state.averaged_model()
    model.save_pretrained(folder)
    return model


@torch.no_grad()
def _measure(name: str, run: nn.Module, test_set: ShardSet) -> Row:
    run.eval()
    taxonomy = test_set.taxonomy
    hierarchy = Hierarchy.of(taxonomy)
    leaves = [taxonomy.nodes[i].id for i in taxonomy.leaves]
    log_scores: list[Tensor] = []
    labels: list[Tensor] = []
    for batch, targets in _clips(test_set):
        logits_BK = run(batch.frames_BTCHW, batch.flow_BTCHW, batch.flow_valid_BT).logits_BK
        log_scores.append(path_log_scores(logits_BK, hierarchy)[:, hierarchy.leaf_L])
        labels.append(targets.labels_BK[:, hierarchy.leaf_L])
    scores_NL, labels_NL = (torch.cat(rows).double().numpy() for rows in (log_scores, labels))
    scores_NL = np.exp(scores_NL)
    top1, top5 = (metrics.top_k_accuracy(scores_NL, labels_NL, k) for k in (1, 5))
    found = taken_apart(scores_NL, labels_NL, leaves)
    return Row(name, _gflop(run, test_set), top1, top5, found["appearance"], found["pair"], found["direction"])


def _clips(test_set: ShardSet) -> Iterator[tuple[ClipBatch, Targets]]:
    """Read the test clips in which something happens, in order."""
    for batch, targets in validation_batches(test_set, BATCH_CLIPS, CPU):
        keep = targets.labels_BK.sum(dim=1) > 0
        yield (
            ClipBatch(batch.frames_BTCHW[keep], batch.flow_BTCHW[keep], batch.flow_valid_BT[keep]),
            Targets(
                targets.labels_BK[keep],
                targets.label_known_B[keep],
                targets.frame_labels_BTK[keep],
                targets.frame_known_BT[keep],
                targets.offsets_BTL2[keep],
                targets.offset_known_BTL[keep],
            ),
        )


def _gflop(run: nn.Module, test_set: ShardSet) -> float:
    batch, _ = next(_clips(test_set))
    one = batch.slice(0, 1)
    with FlopCounterMode(display=False) as counter:
        run(one.frames_BTCHW, one.flow_BTCHW, one.flow_valid_BT)
    return float(counter.get_total_flops()) / 1e9


def _print_table(rows: list[Row]) -> None:
    print("| trained and tested | GFLOP per clip | top-1 | top-5 | appearance | pair of programs | direction |")
    print("|---|---|---|---|---|---|---|")
    for r in rows:
        shares = " | ".join(f"{share:.3f}" for share in (r.top1, r.top5, r.appearance, r.pair, r.direction))
        print(f"| {r.name} | {r.gflop:.2f} | {shares} |")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
