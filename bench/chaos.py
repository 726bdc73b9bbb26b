"""Kill what works on a labelling job, at random moments, and see whether the tables come out as if nothing had been.

    python bench/chaos.py --work DIR [--seeds 0 1 2] [--victims driver decoder decoder_child model raylet]

For each victim and seed a job is started on a fresh folder, one of its processes gets SIGKILL at a random moment: so
many batches are predicted, and a little later; workers within the first third, while every stage works. The job is run
again until it ends with 0. Then every table file is compared with those of the undisturbed run. A private Ray for the
driver and its workers; a cluster of two nodes for a raylet.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import chaos_cluster
from bench.chaos_corpus import digests, ensure_corpus
from bench.processes import own_pids
from pipelines import label_parts

VICTIMS = ("driver", "decoder", "decoder_child", "model", "raylet")
MAX_RUNS = 4
PATIENCE_S = 120.0
POLL_S = 0.02
MAX_DELAY_S = 0.5
PROCESS_NAMES = {"decoder": "PrepareItems", "decoder_child": "pipelines.decode_worker", "model": "PredictBatches"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What became of one disturbed job.

    Attributes:
        victim: What was killed.
        seed: Of the moment and the choice.
        killed_s: When, seconds after the first worker was there; None if nothing was left to kill.
        num_batches: Batches that were predicted at that moment.
        parts_done: Parts that were finished at that moment.
        codes: Exit code of each run.
        seconds: Of all runs.
        is_identical: Whether every table file is byte for byte that of the undisturbed run.
    """

    victim: str
    seed: int
    killed_s: float | None
    num_batches: int
    parts_done: int
    codes: list[int]
    seconds: float
    is_identical: bool

    def line(self) -> str:
        """Return the row of the log."""
        when = "nothing to kill"
        if self.killed_s is not None:
            when = f"{self.killed_s:.1f} s, {self.num_batches} batches predicted, {self.parts_done} parts done"
        verdict = "identical" if self.is_identical else "DIFFERENT"
        codes = " ".join(map(str, self.codes))
        return f"| {self.victim} | {self.seed} | {when} | {codes} | {self.seconds:.0f} | {verdict} |"


def main(argv: list[str] | None = None) -> int:
    """Run every trial and print the log; 1 if one of them came out different."""
    options = _options(argv)
    work = Path(options.work).absolute()
    command = ensure_corpus(work, options.videos)
    clean, run_s = _clean_run(work, command)
    print(f"{len(clean)} table files; an undisturbed run takes {run_s:.0f} s\n")
    print("| killed | seed | when | exit codes | seconds | tables |\n|---|---|---|---|---|---|", flush=True)
    trials = []
    for victim in options.victims:
        for seed in options.seeds:
            trial = _trial(work, command, clean, victim, seed)
            trials.append(trial)
            print(trial.line(), flush=True)
    return 0 if all(trial.is_identical and trial.codes[-1] == 0 for trial in trials) else 1


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="folder for the corpus and the outputs; kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the moment and the choice")
    parser.add_argument("--victims", nargs="+", default=VICTIMS, choices=VICTIMS, help="what is killed")
    parser.add_argument("--videos", type=int, default=60, help="videos of the corpus")
    return parser.parse_args(argv)


def _clean_run(work: Path, command: list[str]) -> tuple[dict[str, str], float]:
    output = work / "clean"
    start = time.monotonic()
    code = subprocess.run([*command, "--output", str(output)], env=_environment(None), check=False).returncode
    if code:
        raise SystemExit(f"the undisturbed run ended with {code}")
    return digests(output), time.monotonic() - start


def _trial(work: Path, command: list[str], clean: dict[str, str], victim: str, seed: int) -> Trial:
    output = work / f"{victim}-{seed}"
    dice = random.Random(f"{victim} {seed}")
    start, codes = time.monotonic(), list[int]()
    with _cluster(victim) as cluster:
        address = cluster.address if cluster else None
        with _started(command, output, address) as job:
            killed_s, num_batches = _disturb(job, output, victim, dice, len(clean) // 3, cluster)
            parts_done = len(label_parts.read_marks(str(output)))
            codes.append(job.wait())
        while codes[-1] and len(codes) < MAX_RUNS:
            with _started(command, output, address) as job:
                codes.append(job.wait())
    return Trial(
        victim=victim,
        seed=seed,
        killed_s=killed_s,
        num_batches=num_batches,
        parts_done=parts_done,
        codes=codes,
        seconds=time.monotonic() - start,
        is_identical=digests(output) == clean,
    )


@contextmanager
def _cluster(victim: str) -> Iterator[chaos_cluster.TwoNodes | None]:
    if victim != "raylet":
        yield None
        return
    with chaos_cluster.two_nodes() as cluster:
        yield cluster


def _environment(address: str | None) -> dict[str, str]:
    joined = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "disabled"} if address else {}
    return {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | joined


@contextmanager
def _started(command: list[str], output: Path, address: str | None) -> Iterator[subprocess.Popen[bytes]]:
    with (output.parent / f"{output.name}.log").open("ab") as log:
        job = subprocess.Popen(
            [*command, "--output", str(output)],
            env=_environment(address),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        with job:
            yield job


def _disturb(
    job: subprocess.Popen[bytes],
    output: Path,
    victim: str,
    dice: random.Random,
    num_parts: int,
    cluster: chaos_cluster.TwoNodes | None,
) -> tuple[float | None, int]:
    """Kill at a moment drawn by ``dice``; return when, counted from the first worker, and after how many batches."""
    _wait_until(job, lambda: bool(own_pids(PROCESS_NAMES.get(victim, "PrepareItems"))))
    # A part has at least one batch. Workers are at work in the first third; the driver is to the end.
    start, wanted = time.monotonic(), dice.randrange(num_parts if victim == "driver" else num_parts // 3)
    predicted: set[str] = set()

    def has_come() -> bool:
        # They are gone again once their part is merged.
        predicted.update(str(path) for path in (output / "_fal" / "batches").glob("*/*/*.parquet"))
        return len(predicted) >= wanted

    _wait_until(job, has_come)
    until_s = time.monotonic() + dice.uniform(0.0, MAX_DELAY_S)
    _wait_until(job, lambda: has_come() and time.monotonic() >= until_s)
    pids = [job.pid] if victim == "driver" else own_pids(PROCESS_NAMES.get(victim, ""))
    if not pids or job.poll() is not None:
        return None, len(predicted)
    if cluster is not None:
        cluster.kill_second()
    else:
        with suppress(ProcessLookupError):
            os.kill(dice.choice(pids), signal.SIGKILL)
    return time.monotonic() - start, len(predicted)


def _wait_until(job: subprocess.Popen[bytes], is_so: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not is_so() and job.poll() is None and time.monotonic() < end_s:
        time.sleep(POLL_S)


if __name__ == "__main__":
    sys.exit(main())
