"""Damage video files in every way we know and put them through the decoding child: nothing may hang, crash us or lie.

Every case is decided by its number and --seed: a small file, one to five mutators, their choices. It must end as
checked clips or as a failure with a stable `kind`. A hang beyond the limits, any other exception, a clip that
contradicts itself and an `internal_error` are findings: the damaged file is saved in --output, and `--replay N` runs
the case again. Run it as: python bench/fuzz.py --count 20000
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import math
import os
import queue
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from bench.hostile_seeds import real_folder, seeds
from bench.mutations import MUTATORS, mutate
from fal_model.errors import FailureKind, VideoError
from fal_model.spec import ClipSpec
from pipelines.clips import Clip, VideoInfo
from pipelines.isolation import IsolatedPreparer
from pipelines.limits import DecodeLimits

SPEC = ClipSpec(num_frames=4, size_px=32, flow_size_px=8, flow_step_s=0.1, window_s=5.0)
LIMITS = DecodeLimits(
    max_pixels_per_frame=4096 * 2304,
    max_duration_s=3600.0,
    max_frames=100_000,
    wall_time_s=5.0,
    total_wall_time_s=10.0,
    wall_time_per_video_s=0.0,
    memory_bytes=2**30,
)
HANG_S = 90.0
"""A case that the parent has not finished by then hangs: the limits, and the time that a child may take to start,
should have ended it long before."""
MAX_FINDINGS = 50
"""After so many something is broken for every file, and the run ends."""
SAVED_KINDS = {FailureKind.DECODER_CRASH, FailureKind.TIMEOUT}


@dataclass(frozen=True, slots=True)
class Case:
    """One damaged file and how it came to be."""

    number: int
    name: str
    how: tuple[str, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one case; a finding says what is wrong."""

    case: Case
    outcome: str
    message: str
    seconds: float
    finding: bool = False

    def line(self) -> str:
        """Describe it in one line."""
        digest = hashlib.sha256(self.case.data).hexdigest()[:12]
        how = " + ".join(self.case.how)
        return (
            f"case {self.case.number} ({self.case.name}, {how}, {len(self.case.data)} bytes, {digest}): "
            f"{self.outcome} after {self.seconds:.2f} s: {self.message}"
        )


@dataclass
class Tally:
    """Everything counted over a run."""

    results: list[Result] = field(default_factory=list)
    num_findings: int = 0
    child_pids: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)


def make_case(files: dict[str, bytes], seed: int, number: int) -> Case:
    """Decide and build a case: every mutator in turn comes first, more may follow."""
    random = Random(f"{seed}:{number}")
    names = sorted(files)
    real = [name for name in names if "/" in name]
    made = [name for name in names if "/" not in name]
    name = random.choice(real if real and random.random() < 0.3 else made)
    how = [MUTATORS[number % len(MUTATORS)]]
    how += random.choices(MUTATORS, k=random.choice((0, 0, 0, 1, 2, 4)))
    others = [files[other] for other in random.sample(names, min(8, len(names)))]
    data = mutate(random, files[name], others, how)
    return Case(number, name, tuple(mutator.__name__ for mutator in how), data)


def run_case(preparer: IsolatedPreparer, case: Case) -> Result:
    """Prepare the damaged file and judge what comes out."""
    start_s = time.monotonic()
    finding, message = False, ""
    descriptor = os.memfd_create("case")
    with os.fdopen(descriptor, "w+b") as file:
        file.write(case.data)
        file.flush()
        try:
            info, clips = preparer.prepare(file)
            message = contradiction(info, list(clips), SPEC)
            outcome, finding = "ok", bool(message)
        except VideoError as error:
            outcome, message = error.kind.value, f"{error.stage}: {error.message}"
            finding = error.kind is FailureKind.INTERNAL_ERROR or not error.message
        except Exception as error:  # noqa: BLE001 - any error but a VideoError is a finding
            outcome, message, finding = type(error).__name__, str(error), True
    seconds = time.monotonic() - start_s
    limit_s = LIMITS.total_wall_time_s + LIMITS.wall_time_s
    if seconds > limit_s:
        message, finding = f"took longer than {limit_s:g} s; {message}", True
    return Result(case, outcome, message, seconds, finding)


def contradiction(info: VideoInfo, clips: Sequence[Clip], spec: ClipSpec) -> str:
    """Say what is impossible about a video and its clips; nothing if all is well."""
    is_finite = math.isfinite(info.duration_s) and math.isfinite(info.mean_fps)
    checks = {
        "facts": is_finite and info.duration_s > 0 and info.num_frames > 0 and info.width_px > 0 < info.height_px,
        "number of clips": 0 < len(clips) <= info.num_clips,
        "order of clips": all(a.index < b.index and a.end_s <= b.start_s + 1e-6 for a, b in itertools.pairwise(clips)),
        "window": all(0 <= c.start_s < c.end_s <= info.duration_s + 1e-6 for c in clips),
        "covered time": all(0 < c.covered_s <= c.end_s - c.start_s + 1e-6 for c in clips),
        "frame times": all(
            list(c.frame_times_s) == sorted(c.frame_times_s) and 0 <= c.frame_times_s[0] < math.inf for c in clips
        ),
        "shapes": all(
            c.frames_THWC.shape == (spec.num_frames, spec.size_px, spec.size_px, 3)
            and c.flow_q_THWC.shape == (spec.num_frames, spec.flow_size_px, spec.flow_size_px, 2)
            for c in clips
        ),
        "flow where there is none": all(not c.flow_q_THWC[~c.flow_valid_T].any() for c in clips),
        "substituted frames": all(0 <= c.num_substituted <= spec.num_frames for c in clips),
    }
    return ", ".join(f"impossible {name}" for name, is_good in checks.items() if not is_good)


def work(numbers: queue.SimpleQueue[int], files: dict[str, bytes], options: argparse.Namespace, tally: Tally) -> None:
    """Run cases until none is left, with one preparer."""
    with IsolatedPreparer(SPEC, LIMITS) as preparer:
        while tally.num_findings < MAX_FINDINGS:
            try:
                number = numbers.get_nowait()
            except queue.Empty:
                return
            case = make_case(files, options.seed, number)
            timer = threading.Timer(HANG_S, _give_up, (case, options.output))
            timer.daemon = True
            timer.start()
            result = run_case(preparer, case)
            timer.cancel()
            with tally.lock:
                _take(result, preparer, tally, options)


def _take(result: Result, preparer: IsolatedPreparer, tally: Tally, options: argparse.Namespace) -> None:
    case = result.case
    if result.finding or result.outcome in SAVED_KINDS:
        _save(case, options.output)
        print(f"{'FINDING ' if result.finding else ''}{result.line()}", file=sys.stderr, flush=True)
    without_data = Case(case.number, case.name, case.how, case.data if result.finding else b"")
    tally.results.append(Result(without_data, result.outcome, result.message, result.seconds, result.finding))
    tally.num_findings += result.finding
    if preparer.child_pid is not None:
        tally.child_pids.add(preparer.child_pid)
    done = len(tally.results)
    if done % 500 == 0:
        print(f"{done}/{options.count} cases", file=sys.stderr, flush=True)


def _give_up(case: Case, output: Path) -> None:
    """End everything: a case that hangs the parent cannot be told otherwise."""
    _save(case, output)
    print(f"FINDING case {case.number} ({case.name}) hangs the parent for {HANG_S:g} s", file=sys.stderr, flush=True)
    os._exit(1)


def _save(case: Case, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    (output / f"case-{case.number}.bin").write_bytes(case.data)


def report(tally: Tally, seconds: float, num_files: int) -> list[str]:
    """Return the summary as Markdown."""
    results = tally.results
    counts = Counter(result.outcome for result in results)
    slowest = max(results, key=lambda result: result.seconds)
    own_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    child_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    facts = {
        "cases": len(results),
        "files damaged": num_files,
        "clips": counts["ok"],
        "failures with a kind": sum(counts[kind.value] for kind in FailureKind),
        "findings": sum(result.finding for result in results),
        "decoder_crash": counts[FailureKind.DECODER_CRASH],
        "timeout": counts[FailureKind.TIMEOUT],
        "child processes used": len(tally.child_pids),
        "slowest case": f"{slowest.seconds:.2f} s (case {slowest.case.number}: {slowest.outcome})",
        "peak memory of this process, MiB": f"{own_mib:.0f}",
        "peak memory of a child, MiB": f"{child_mib:.0f}",
        "cases per second": f"{len(results) / seconds:.1f}",
    }
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items()), ""]
    lines += ["| outcome | cases | share | for example |", "|---|---|---|---|"]
    for outcome, count in counts.most_common():
        example = next(r.message for r in results if r.outcome == outcome)
        shown = example.replace("|", "\\|")[:100] or "–"
        lines.append(f"| {outcome} | {count} | {count / len(results):.1%} | {shown} |")
    return lines


def replay(what: str, files: dict[str, bytes], options: argparse.Namespace) -> int:
    """Run one case again: a number, or a saved file."""
    path = Path(what)
    is_number = what.isdecimal()
    case = make_case(files, options.seed, int(what)) if is_number else Case(-1, path.name, (), path.read_bytes())
    with IsolatedPreparer(SPEC, LIMITS) as preparer:
        result = run_case(preparer, case)
    print(result.line())
    return int(result.finding)


def main(argv: Sequence[str]) -> int:
    """Run the cases that the command line asks for; 1 if there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="how many cases")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other cases")
    parser.add_argument("--jobs", type=int, default=1, help="children at work at the same time")
    parser.add_argument("--output", type=Path, default=Path("out/fuzz"), help="where findings are saved")
    parser.add_argument("--replay", metavar="N", help="run case N, or a saved file, and say what it does")
    parser.add_argument("--made-only", action="store_true", help="damage no real recordings, even where they are")
    options = parser.parse_args(argv)
    files = seeds(None if options.made_only else real_folder())
    if options.replay is not None:
        return replay(options.replay, files, options)
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(options.first, options.first + options.count):
        numbers.put(number)
    tally = Tally()
    start_s = time.monotonic()
    threads = [threading.Thread(target=work, args=(numbers, files, options, tally)) for _ in range(options.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("\n".join(report(tally, time.monotonic() - start_s, len(files))))
    findings = [result for result in tally.results if result.finding]
    print("\n".join(["", *(f"- {result.line()}" for result in findings)]) if findings else "\nNo findings.")
    return int(bool(findings) or len(tally.results) < options.count)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
