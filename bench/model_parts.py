"""Clocks, memory and floating-point operations for ``bench/model.py``: torch and the standard library only."""

from __future__ import annotations

import math
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

MATMUL_SIZES = {"cuda": 8192, "cpu": 1536}
LEAST_SAMPLE_S = {"cuda": 0.25, "cpu": 0.0}
"""A sample of a fast chip repeats the call until it is this long: starting and waiting cost nothing then."""

TRAINING_FACTOR = 3
"""Floating-point operations of a training step over those of a forward pass: two more products for each."""

Do = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: seconds per call, by the wall and by this process's processors."""

    wall_s: float
    processor_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What a case took.

    Attributes:
        samples: One per round; rounds of cases that were measured together belong together.
        peak_bytes: Memory at the most: weights, inputs and all that a call needs; None where it cannot be known.
    """

    samples: list[Sample]
    peak_bytes: int | None

    def median_s(self) -> float:
        """Return the wall time of the median call."""
        return statistics.median(s.wall_s for s in self.samples)

    def median_processor_s(self) -> float:
        """Return the processor time of the median call."""
        return statistics.median(s.processor_s for s in self.samples)

    def spread(self) -> float:
        """Return the range of the wall times over their median."""
        times = [s.wall_s for s in self.samples]
        return (max(times) - min(times)) / statistics.median(times)


@dataclass(frozen=True, slots=True)
class Case:
    """Something to measure.

    Attributes:
        name: Unique among those measured together.
        do: One call of it.
        own_bytes: Weights and inputs: memory that is there before the call.
    """

    name: str
    do: Do
    own_bytes: int = 0


def wait_for(device: torch.device) -> None:
    """Wait until the chip has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_calls(do: Do, calls: int, device: torch.device) -> Sample:
    """Time some calls in a row; return seconds per call."""
    wait_for(device)
    wall_s, processor_s = time.perf_counter(), time.process_time()
    for _ in range(calls):
        do()
    wait_for(device)
    return Sample((time.perf_counter() - wall_s) / calls, (time.process_time() - processor_s) / calls)


def interleave(cases: Sequence[Case], rounds: int, device: torch.device) -> dict[str, Measured | str]:
    """Measure cases in turn, A B C A B C …, so that what else the machine does falls on all alike.

    Returns:
        By name; in place of a case that does not fit into memory, a sentence.
    """
    ready: list[tuple[Case, int, int | None]] = []
    found: dict[str, Measured | str] = {}
    for case in cases:
        try:
            case.do()  # the first call compiles, fills caches and picks kernels
            peak_bytes = peak_of(case, device)
            once_s = time_calls(case.do, 1, device).wall_s if LEAST_SAMPLE_S[device.type] else 1.0
        except torch.OutOfMemoryError:
            found[case.name] = "out of memory"
            continue
        ready.append((case, max(1, math.ceil(LEAST_SAMPLE_S[device.type] / once_s)), peak_bytes))
    samples: dict[str, list[Sample]] = {case.name: [] for case, _, _ in ready}
    for _ in range(rounds):
        for case, calls, _ in ready:
            samples[case.name].append(time_calls(case.do, calls, device))
    return found | {case.name: Measured(samples[case.name], peak_bytes) for case, _, peak_bytes in ready}


def peak_of(case: Case, device: torch.device) -> int | None:
    """Call once and return the most memory: what is the case's own before, and what the call adds."""
    if device.type == "cuda":
        wait_for(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        case.do()
        wait_for(device)
        return case.own_bytes + torch.cuda.max_memory_allocated(device) - before
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak until now; Linux only
        before = _status_bytes("VmRSS")
        case.do()
        return case.own_bytes + max(0, _status_bytes("VmHWM") - before)
    except (OSError, LookupError):
        return None


def _status_bytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(f"/proc/self/status: has no {name}")
    return 1024 * int(found[1])


def matmul_case(dtype: torch.dtype, device: torch.device) -> tuple[Case, float]:
    """Make a large square product of random matrices, and say how many GFLOP it has."""
    size = MATMUL_SIZES[device.type]
    if device.type == "cuda" and dtype == torch.float32:
        size //= 2
    dice = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, generator=dice, device=device, dtype=torch.float32) for _ in "ab")
    left, right = left.to(dtype), right.to(dtype)
    return Case("matmul", lambda: left @ right), 2 * size**3 / 1e9


def share_of_rate(case: Measured, gflop: float, matmul: Measured, matmul_gflop: float, device: torch.device) -> float:
    """Return which share of the matmul rate a case reaches, the median over rounds; on a CPU by processor time."""
    pairs = [(c, m) for c, m in zip(case.samples, matmul.samples, strict=True)]
    if device.type == "cuda":
        return statistics.median((gflop / c.wall_s) / (matmul_gflop / m.wall_s) for c, m in pairs)
    return statistics.median((gflop / c.processor_s) / (matmul_gflop / m.processor_s) for c, m in pairs)


def num_bytes(*things: nn.Module | Tensor) -> int:
    """Add up the bytes of tensors and of the weights of modules."""
    tensors = [t for thing in things for t in (thing.parameters() if isinstance(thing, nn.Module) else [thing])]
    return sum(t.numel() * t.element_size() for t in tensors)


def parts_of(model: nn.Module) -> dict[str, dict[str, nn.Module]]:
    """Name the parts of a model: its children, but of the encoder what it runs one after the other.

    Returns:
        By part the modules that are called, by their names in the model: of stages the blocks.
    """
    parts: dict[str, dict[str, nn.Module]] = {}
    for name, child in model.named_children():
        if name != "encoder":
            parts[name] = {name: child}
            continue
        for inner_name, inner in child.named_children():
            path = f"{name}.{inner_name}"
            stacks = inner.named_children() if isinstance(inner, nn.ModuleList) else [("", inner)]
            for i, stack in stacks:
                place = f"{path}.{i}" if i else path
                is_stack = isinstance(stack, nn.Sequential)
                parts[place] = {f"{place}.{j}": b for j, b in stack.named_children()} if is_stack else {place: stack}
    return parts


def count_gflop(build: Callable[[], nn.Module], inputs: Mapping[str, Tensor]) -> dict[str, float]:
    """Count floating-point operations of a forward pass, without doing it.

    Args:
        build: Makes the model; called on the meta device.
        inputs: Of one clip.

    Returns:
        GFLOP by part (see :func:`parts_of`), and of all as ``total``.
    """
    with torch.device("meta"):
        model = build()
    shapes = {name: value.to("meta") for name, value in inputs.items()}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**shapes)
    counts = counter.get_flop_counts()
    root = type(model).__name__
    by_part = {
        part: sum(sum(counts.get(f"{root}.{name}", {}).values()) for name in modules) / 1e9
        for part, modules in parts_of(model).items()
    }
    return by_part | {"total": counter.get_total_flops() / 1e9}


Mark = torch.cuda.Event | float


@dataclass(slots=True)
class PartClock:
    """Collects when parts begin and end: on a GPU by events, which do not hold it up; else by processor time.

    Attributes:
        device: Of the model.
        calls: Per call of the model, by part, when it began and ended; a part of several modules does so often.
    """

    device: torch.device
    calls: list[dict[str, list[tuple[Mark, Mark]]]] = field(default_factory=list)
    started: dict[str, Mark] = field(default_factory=dict)

    def now(self) -> Mark:
        """Return a point in time."""
        if self.device.type != "cuda":
            return time.process_time()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's stub lacks it
        event.record()
        return event

    def start(self, part: str) -> None:
        """Note that a part begins, or with ``total`` the model."""
        if part == "total":
            self.calls.append({})
        self.started[part] = self.now()

    def stop(self, part: str) -> None:
        """Note that it ends."""
        self.calls[-1].setdefault(part, []).append((self.started.pop(part), self.now()))

    def medians_ms(self) -> dict[str, float]:
        """Return the time of each part in the median call, milliseconds; ``rest`` is between them, ``total`` is all."""
        wait_for(self.device)
        sums = [{part: sum(_ms(*pair) for pair in pairs) for part, pairs in call.items()} for call in self.calls]
        medians = {part: statistics.median(s[part] for s in sums) for part in sums[0]}
        whole_ms = medians.pop("total")
        return medians | {"rest": max(0.0, whole_ms - sum(medians.values())), "total": whole_ms}


def _ms(first: Mark, last: Mark) -> float:
    if isinstance(first, float) or isinstance(last, float):
        return 1000 * (float(last) - float(first))  # type: ignore[arg-type]  # both are of the same clock
    return float(first.elapsed_time(last))


@contextmanager
def timed_parts(model: nn.Module, device: torch.device) -> Iterator[PartClock]:
    """Time each part of a model, and the whole as ``total``, whenever it is called inside."""
    clock = PartClock(device)
    handles = []
    for part, modules in (parts_of(model) | {"total": {"": model}}).items():
        for module in modules.values():
            handles.append(module.register_forward_pre_hook(lambda *_, part=part: clock.start(part)))
            handles.append(module.register_forward_hook(lambda *_, part=part: clock.stop(part)))
    try:
        yield clock
    finally:
        for handle in handles:
            handle.remove()
