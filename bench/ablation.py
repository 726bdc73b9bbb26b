"""What each part of the model is worth, and what others reach with as much compute.

Trains the full model, the model without one of its parts, and models of others on the same clips in the same order for
the same number of steps, with three seeds, on four data sets (``bench/ablation_data.py``), and prints Markdown: mean
and standard deviation over seeds, and the difference to the full model of the same seed. Every finished training is a
file below --work/results; run again, it goes on where it stopped. Two processes of one thread each use two cores best.

Run it as: python bench/ablation.py --work FOLDER --jobs 2
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from bench.ablation_data import COARSE, DATA_SETS, EVENT_SET, FIGHTS, STANDIN, DataSizes, clip_spec, shards, source
from bench.ablation_rows import rows
from bench.ablation_runs import Result, Run, execute, finished
from bench.ablation_tables import markdown, picture
from bench.model_layouts import twins
from fal_model.config import ModelConfig, TrainConfig
from fal_model.presets import fal_nano, preset
from fal_model.spec import Sampling
from pipelines.atomic_files import writing
from pipelines.shards import ShardSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What every row of a data set may spend.

    Attributes:
        steps: Steps of training.
        batch_clips: Clips of each.
        learning_rate: Highest learning rate.
        is_mirrored: Whether half of the clips are mirrored.
    """

    steps: int
    batch_clips: int = 16
    learning_rate: float = 1e-3
    is_mirrored: bool = False

    def train_config(self, seed: int) -> TrainConfig:
        """Return the schedule."""
        return TrainConfig(
            learning_rate=self.learning_rate, warmup_steps=self.steps // 10, total_steps=self.steps, seed=seed
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large everything is: the full model, the data that is made, and what each row may spend on each data set."""

    base: ModelConfig
    sizes: DataSizes
    budgets: dict[str, Budget]


def cpu_scale() -> Scale:
    """Size the table for two CPU cores: about an hour and three quarters."""
    return Scale(
        base=fal_nano(),
        sizes=DataSizes(),
        budgets={
            STANDIN: Budget(steps=450),
            COARSE: Budget(steps=450),
            FIGHTS: Budget(steps=80, is_mirrored=True),
            EVENT_SET: Budget(steps=160),
        },
    )


def gpu_scale() -> Scale:
    """Size the table for one data-centre GPU: all 500 classes, pictures of 160 px."""
    return Scale(
        base=preset("fal-tiny"),
        sizes=DataSizes(difficulty="standard", classes=500, videos_per_class=100, event_videos=210),
        budgets={
            STANDIN: Budget(steps=8000, batch_clips=64),
            COARSE: Budget(steps=8000, batch_clips=64),
            FIGHTS: Budget(steps=300, is_mirrored=True),
            EVENT_SET: Budget(steps=1500),
        },
    )


SCALES = {"cpu": cpu_scale, "gpu": gpu_scale}


def main(argv: list[str] | None = None) -> int:
    """Do what is not done yet; print the tables."""
    options = _options(argv)
    work = Path(options.work).absolute()
    folder = work / "results"
    folder.mkdir(parents=True, exist_ok=True)
    scale = SCALES[options.scale]()
    planned = [run for name in options.data for run in planned_runs(work, name, scale, options)]
    planned.sort(key=lambda run: run.train.seed)  # stable: a seed is done for all data sets before the next one
    pending = pending_of(planned, folder, options.only)
    print(f"{len(planned)} trainings, {len(pending)} to do", flush=True)
    start_s, done = time.monotonic(), 0
    for number, (run, result) in enumerate(executed(pending, folder, options.jobs, options.threads), 1):
        done += _cost(run)
        left_s = (time.monotonic() - start_s) * (sum(map(_cost, pending)) - done) / done
        print(f"{number}/{len(pending)} {_headline(result)}; {left_s / 60:.0f} min left", flush=True)
        write_report(planned, folder, work)
    print(write_report(planned, folder, work))
    return 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="folder for data, results and report; kept")
    parser.add_argument("--scale", default="cpu", choices=sorted(SCALES), help="how large everything is")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where to train")
    parser.add_argument("--data", nargs="+", default=DATA_SETS, choices=DATA_SETS, metavar="NAME", help="which data")
    parser.add_argument("--only", nargs="+", default=[""], help="train only where DATA/ROW contains one of these words")
    parser.add_argument("--layouts", action="store_true", help=f"also the layouts of tokens, on {STANDIN}: five rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of weights, order, augmentation")
    parser.add_argument("--steps", type=int, help="other than the scale's, to try things out")
    parser.add_argument("--learning-rate", type=float, help="other than the scale's, to see which suits a row")
    parser.add_argument("--jobs", type=int, default=1, help="processes; more than one have --threads each")
    parser.add_argument("--threads", type=int, default=1, help="of torch, in each process")
    return parser.parse_args(argv)


def planned_runs(work: Path, name: str, scale: Scale, options: argparse.Namespace) -> Iterator[Run]:
    """Yield the trainings of a data set, which is made first if it is not there."""
    found = source(work, name, scale.sizes)
    base = replace(scale.base, clip=clip_spec(name, scale.base.clip))
    folders = {how: shards(found, replace(base.clip, sampling=how)) for how in (Sampling.KEY_MOMENTS, Sampling.UNIFORM)}
    budget = scale.budgets[name]
    budget = replace(
        budget,
        steps=options.steps or budget.steps,
        learning_rate=options.learning_rate or budget.learning_rate,
    )
    layouts = twins(base) if options.layouts and name == STANDIN else {}
    for seed in options.seeds:
        yield from runs_of(name, base, layouts, folders, budget=budget, seed=seed, device=options.device)


def runs_of(
    name: str,
    base: ModelConfig,
    layouts: dict[str, ModelConfig],
    folders: dict[Sampling, Path],
    *,
    budget: Budget,
    seed: int,
    device: str = "cpu",
) -> Iterator[Run]:
    """Yield the trainings of a data set with one seed.

    Args:
        name: One of ``DATA_SETS``.
        base: Sizes of the full model, with the input contract of the data set.
        layouts: Other layouts of tokens, by name.
        folders: Shards of all splits, by the way frames were chosen.
        budget: What each may spend.
        seed: Of weights, order and augmentation.
        device: Where to compute.
    """
    taxonomy = ShardSet.open(str(folders[base.clip.sampling] / "train")).taxonomy
    for row in rows(name, base, taxonomy, layouts):
        yield Run(
            data=name,
            row=row,
            train=replace(budget.train_config(seed), loss=row.loss),
            batch_clips=budget.batch_clips,
            is_mirrored=budget.is_mirrored,
            shards=folders[row.config.clip.sampling],
            device=device,
        )


def pending_of(planned: Sequence[Run], folder: Path, words: Sequence[str]) -> list[Run]:
    """Return the trainings that are not done yet and whose DATA/ROW contains one of the words."""
    wanted = [run for run in planned if any(word in f"{run.data}/{run.row.name}" for word in words)]
    return [run for run in wanted if finished(run, folder) is None]


def executed(pending: Sequence[Run], folder: Path, jobs: int, threads: int) -> Iterator[tuple[Run, Result]]:
    """Train one after the other, or in several processes; yield results as they come.

    Args:
        pending: What to do.
        folder: Where results are kept.
        jobs: Processes; one trains in this process.
        threads: Of torch, in each process.
    """
    if jobs <= 1:
        torch.set_num_threads(threads)
        for run in pending:
            yield run, execute(run, folder)
        return
    # Forked children would share the state of torch's threads.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=functools.partial(torch.set_num_threads, threads))
    try:
        futures = {pool.submit(execute, run, folder): run for run in pending}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _cost(run: Run) -> int:
    return run.train.total_steps * run.batch_clips


def _headline(result: Result) -> str:
    found = result["metrics"]
    return (
        f"{result['data']}, {result['row']}, seed {result['seed']}: top-1 {found['top1']:.3f}, mAP {found['map']:.3f}, "
        f"loss {result['last_loss']:.2f}, {result['train_s']:.0f} s"
    )


def write_report(planned: Sequence[Run], folder: Path, work: Path) -> str:
    """Write what is finished as ``ablation.json``, ``ablation.md`` and ``ablation.svg``; return the Markdown."""
    results = [result for run in planned if (result := finished(run, folder)) is not None]
    text = markdown(results)
    for name, content in (
        ("ablation.json", json.dumps(results, indent=1)),
        ("ablation.md", text),
        ("ablation.svg", picture(results)),
    ):
        with writing(work / name) as file:
            file.write(content.encode())
    return text


if __name__ == "__main__":
    sys.exit(main())
