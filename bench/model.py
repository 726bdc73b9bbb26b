"""How fast the model is: clips per second, share of the chip's matmul rate and memory; whole, by part, in training.

Beside it, in the same run and in turn: a TimeSformer of the transformers library as deep and as wide, and as many of
our own blocks without merging tokens. All get the same bytes; ours gets flow too. The matmul rate is that of large
square products of the same type, measured in turn with the rest. Sixteen-bit inference keeps weights in sixteen bits;
training keeps them in 32 and computes under autocast. On a CPU, shares are by processor time: others may be using it.
Needs torch, numpy and safetensors, and is the same on CPU and GPU. Writes Markdown and JSON to --output and prints the
Markdown.

Run it as: python bench/model.py [--device cuda] [--preset fal-375m] [--batch 1 64] [--dtype bf16] [--quick]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from bench.model_parts import (
    TRAINING_FACTOR,
    Case,
    Measured,
    count_gflop,
    interleave,
    matmul_case,
    num_bytes,
    share_of_rate,
    timed_parts,
)
from bench.model_peers import Contestant, contestants, make_inputs, make_training_batch
from bench.model_tables import PartRow, Row, headline, inference_table, part_table, training_table
from fal_model.batch import ModelOutput
from fal_model.config import ModelConfig, TrainConfig
from fal_model.model import FALModel
from fal_model.open_fal_500 import open_fal_500
from fal_model.presets import PRESET_NAMES, preset
from fal_model.training import TrainState, train_step

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WAYS = ("eager", "compiled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure.

    Attributes:
        name: The preset.
        config: Its sizes.
        device: Where.
        dtypes: Of inference, by name.
        batches: Clips per call.
        ways: Of ``WAYS``.
        micro_batches: Clips per training step; none leaves training out.
        has_peers: Whether the others are measured too.
        rounds: Measurements of each case.
        backend: Of ``torch.compile``.
        compile_mode: The same.
        seed: Of weights and clips.
    """

    name: str
    config: ModelConfig
    device: torch.device
    dtypes: tuple[str, ...]
    batches: tuple[int, ...]
    ways: tuple[str, ...]
    micro_batches: tuple[int, ...]
    has_peers: bool
    rounds: int
    backend: str = "inductor"
    compile_mode: str = "default"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Tables:
    """What was measured."""

    inference: list[Row] = field(default_factory=list)
    parts: list[PartRow] = field(default_factory=list)
    training: list[Row] = field(default_factory=list)


def main(argv: Sequence[str]) -> int:
    """Measure, print and write; return the exit code."""
    plan, output = parse(argv)
    tables = measure(plan)
    machine = headline(plan.device)
    texts = [
        machine,
        inference_table(tables.inference, plan.name),
        part_table(tables.parts),
        training_table(tables.training),
    ]
    text = "\n\n".join(text for text in texts if text) + "\n"
    output.mkdir(parents=True, exist_ok=True)
    (output / "model.md").write_text(text, encoding="utf-8")
    data = json.dumps({"machine": machine, "argv": list(argv)} | asdict(tables), indent=2)
    (output / "model.json").write_text(data + "\n", encoding="utf-8")
    print(text)
    return 0


def parse(argv: Sequence[str]) -> tuple[Plan, Path]:
    """Read the command line; what is not said depends on the device and on the size of the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--preset", choices=PRESET_NAMES, default="fal-375m")
    parser.add_argument("--dtype", nargs="+", choices=tuple(DTYPES), help="default: bf16, and fp32 or fp16")
    parser.add_argument("--batch", nargs="+", type=int, help="clips per call; default 1 2, on a GPU 1 8 64 256")
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="default: both, but eager alone for 100M on a CPU")
    parser.add_argument("--micro-batch", nargs="*", type=int, help="clips per training step; none leaves it out")
    parser.add_argument("--compile-mode", default="default", help="of torch.compile, such as max-autotune")
    parser.add_argument("--no-peers", action="store_true", help="our model alone")
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each case")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; 0 leaves torch its own number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="three rounds, the smallest batch, no training")
    parser.add_argument("--output", type=Path, default=Path("out/bench-model"))
    given = parser.parse_args(argv)
    if given.threads:
        torch.set_num_threads(given.threads)
    is_gpu, is_large = given.device == "cuda", given.preset in {"fal-base", "fal-375m"}
    batches = given.batch or ([1, 8, 64, 256] if is_gpu else [1, 2])
    micro_batches = [16, 64, 512] if is_gpu else [1]
    if given.micro_batch is not None or given.quick:
        micro_batches = given.micro_batch or []
    plan = Plan(
        name=given.preset,
        config=preset(given.preset),
        device=torch.device(given.device),
        dtypes=tuple(given.dtype or (("bf16", "fp16") if is_gpu else ("fp32", "bf16"))),
        batches=tuple(batches[:1] if given.quick else batches),
        ways=tuple(given.ways or (WAYS if is_gpu or not is_large else WAYS[:1])),
        micro_batches=tuple(micro_batches),
        has_peers=not given.no_peers,
        rounds=3 if given.quick else given.rounds,
        compile_mode=given.compile_mode,
        seed=given.seed,
    )
    return plan, given.output


def measure(plan: Plan) -> Tables:
    """Measure everything in a plan."""
    inputs = {name: value[:1] for name, value in make_inputs(plan.config, 1, torch.device("cpu"), plan.seed).items()}
    rivals = contestants(plan.name, plan.config)[: None if plan.has_peers else 1]
    gflop = {r.name: count_gflop(r.build, inputs) for r in rivals if not r.missing}
    tables = Tables()
    for dtype in plan.dtypes:
        runs = [(r, way, make(r, way, dtype, plan)) for r in rivals if not r.missing for way in plan.ways]
        for batch in plan.batches:
            say(f"{dtype}, {batch} clips")
            tables.inference.extend(inference_rows(plan, runs, gflop, dtype, batch))
            tables.inference.extend(
                Row(what=r.name, way="–", dtype=dtype, batch=batch, note=r.missing) for r in rivals if r.missing
            )
        say(f"{dtype}, parts")
        eager = next((model for r, way, model in runs if r is rivals[0] and way == "eager"), None)
        if eager is not None:
            tables.parts.extend(part_rows(plan, eager, gflop[plan.name], dtype, plan.batches[-1]))
        del runs, eager
    for dtype in plan.dtypes:
        for micro_batch in plan.micro_batches if dtype != "fp16" else ():
            say(f"{dtype}, training on {micro_batch} clips")
            tables.training.extend(training_rows(plan, gflop[plan.name]["total"], dtype, micro_batch))
    say("")
    return tables


def make(rival: Contestant, way: str, dtype: str, plan: Plan) -> nn.Module:
    """Build a model with seeded weights, ready for inference."""
    torch.manual_seed(plan.seed)
    with plan.device:
        model = rival.build().eval().requires_grad_(requires_grad=False).to(DTYPES[dtype])
    if way == "compiled":
        model.compile(backend=plan.backend, mode=plan.compile_mode, dynamic=False)
    return model


def inference_rows(
    plan: Plan,
    runs: Sequence[tuple[Contestant, str, nn.Module]],
    gflop: dict[str, dict[str, float]],
    dtype: str,
    batch: int,
) -> list[Row]:
    """Measure all models at one batch size, in turn."""
    inputs = make_inputs(plan.config, batch, plan.device, plan.seed)
    matmul, matmul_gflop = matmul_case(DTYPES[dtype], plan.device)
    cases = [Case(f"{r.name}|{way}", call(model, inputs), num_bytes(model, *inputs.values())) for r, way, model in runs]
    with torch.inference_mode():
        found = interleave([matmul, *cases], plan.rounds, plan.device)
    rate = found["matmul"]
    rows = [rate_row(rate, matmul_gflop, dtype)] if isinstance(rate, Measured) else []
    for rival, way, _ in runs:
        base = Row(what=rival.name, way=way, dtype=dtype, batch=batch, gflop=gflop[rival.name]["total"])
        rows.append(filled(base, found[f"{rival.name}|{way}"], rate, matmul_gflop, plan.device))
    return rows


def call(model: nn.Module, inputs: dict[str, Tensor]) -> Callable[[], object]:
    """Make a call of a model on these inputs."""
    return lambda: model(**inputs)


def rate_row(rate: Measured, matmul_gflop: float, dtype: str) -> Row:
    """Describe the matmul rate as a row: a clip is one product."""
    speed = f"{matmul_gflop / rate.median_s() / 1000:.3g} TFLOP/s"
    return Row(what="square matmul", way="–", dtype=dtype, batch=1, spread=rate.spread(), share=1.0, note=speed)


def filled(row: Row, found: Measured | str, rate: Measured | str, matmul_gflop: float, device: torch.device) -> Row:
    """Put what was measured of a row's forward or training passes into it."""
    if isinstance(found, str) or isinstance(rate, str) or row.gflop is None:
        return replace(row, note=found if isinstance(found, str) else "no matmul rate")
    factor = TRAINING_FACTOR if row.is_training else 1
    return replace(
        row,
        clips_per_s=row.batch / found.median_s(),
        spread=found.spread(),
        share=share_of_rate(found, row.gflop * row.batch * factor, rate, matmul_gflop, device),
        peak_gb=None if found.peak_bytes is None else found.peak_bytes / 1e9,
        processor_s=found.median_processor_s() / row.batch,
    )


def part_rows(plan: Plan, model: nn.Module, gflop: dict[str, float], dtype: str, batch: int) -> list[PartRow]:
    """Time the parts of our model."""
    inputs = make_inputs(plan.config, batch, plan.device, plan.seed)
    matmul, matmul_gflop = matmul_case(DTYPES[dtype], plan.device)
    with torch.inference_mode():
        model(**inputs)
        with timed_parts(model, plan.device) as clock:
            rate = interleave([matmul, Case("model", call(model, inputs))], plan.rounds, plan.device)["matmul"]
    if isinstance(rate, str):
        return []
    times_ms = clock.medians_ms()
    seconds = rate.median_s() if plan.device.type == "cuda" else rate.median_processor_s()
    rate_gflop_per_ms = matmul_gflop / seconds / 1000
    return [
        PartRow(
            name,
            dtype,
            batch,
            gflop.get(name, 0.0),
            ms / batch,
            ms / times_ms["total"],
            gflop.get(name, 0.0) * batch / max(ms, 1e-9) / rate_gflop_per_ms,
        )
        for name, ms in times_ms.items()
    ]


def training_rows(plan: Plan, gflop: float, dtype: str, micro_batch: int) -> list[Row]:
    """Measure whole training steps of our model: forward, backward, AdamW."""
    rows: list[Row] = []
    for way in plan.ways:
        for is_recomputed in (False, True):
            name = f"{way}, recomputed" if is_recomputed else way
            base = Row(what=plan.name, way=name, dtype=dtype, batch=micro_batch, gflop=gflop, is_training=True)
            config = TrainConfig(is_bf16=dtype == "bf16", is_recomputed=is_recomputed)
            rows.append(one_training_row(plan, base, config))
            if plan.device.type == "cuda":
                torch.cuda.empty_cache()
    return rows


def one_training_row(plan: Plan, row: Row, config: TrainConfig) -> Row:
    """Measure one way to train; alone, as weights, gradients and moments of several would not fit."""
    torch.manual_seed(plan.seed)
    with plan.device:
        model = FALModel(plan.config, open_fal_500())
    state = TrainState.create(model, config)
    batch, targets = make_training_batch(plan.config, model.taxonomy, row.batch, plan.device, plan.seed)
    module: Callable[..., ModelOutput] | None = None
    if row.way.startswith("compiled"):
        module = torch.compile(model, backend=plan.backend, mode=plan.compile_mode, dynamic=False)
    # Weights and AdamW's two moments lie there all the time; gradients and activations come and go.
    own_bytes = 3 * num_bytes(model) + num_bytes(batch.frames_BTCHW, batch.flow_BTCHW)
    case = Case("training", lambda: train_step(state, batch, targets, module), own_bytes)
    matmul, matmul_gflop = matmul_case(DTYPES[row.dtype], plan.device)
    found = interleave([matmul, case], plan.rounds, plan.device)
    return filled(row, found["training"], found["matmul"], matmul_gflop, plan.device)


def say(text: str) -> None:
    """Show what is being measured, on one line of the terminal."""
    print(f"\r{text:<60}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
