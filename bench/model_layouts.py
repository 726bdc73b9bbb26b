"""Where the tokens go: what other ways to spread 24 blocks over resolutions cost. For ``docs/adr/0007``.

Parameters and GFLOP are counted. Time is added up from parts measured in the same run, eager, in 32 bits, one clip, one
thread, by processor time: a block costs the same wherever it stands. ``bench/ablation.py`` trains ``twins``.

Run it as: python bench/model_layouts.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from bench.model_parts import Case, Measured, count_gflop, interleave, matmul_case, timed_parts
from bench.model_peers import PlainDivided, make_inputs
from bench.model_tables import headline
from fal_model.config import ModelConfig
from fal_model.model import FALModel, parameter_budget
from fal_model.open_fal_500 import open_fal_500
from fal_model.presets import fal_375m, fal_nano

CPU = torch.device("cpu")
DEPTHS = ((22, 1, 1), (12, 8, 4), (8, 12, 4), (7, 13, 4), (4, 16, 4), (2, 18, 4), (2, 6, 16), (1, 1, 22))
AS_LARGE = "as fal-375m"
"""Of the twins, the one whose layout was chosen."""


def layouts(base: ModelConfig) -> dict[str, ModelConfig]:
    """Spread the 24 blocks of the large model otherwise; the sizes of all else stay.

    Tubelets of two frames are counted as half the frames: they halve the time steps of everything, frame scores
    included, and only the patch embedding gets larger (0.6 M parameters).
    """
    spread = {f"blocks {depths}": replace(base, stage_depths=depths) for depths in DEPTHS}
    halved = replace(base, stage_depths=DEPTHS[0], clip=replace(base.clip, num_frames=base.clip.num_frames // 2))
    fused = {f"fusion {depth}": replace(base, fusion_depth=depth) for depth in (0, 2, 5, 13)}
    return spread | {f"tubelets 2×16×16, blocks {DEPTHS[0]}": halved} | fused


def twins(base: ModelConfig) -> dict[str, ModelConfig]:
    """Return the layouts worth training, with a third of the blocks, as 24 take too long here.

    Without tubelets: frames keep their own scores and their own motion, which a token of two frames cannot give.

    Args:
        base: Sizes of all else.
    """
    depths = {
        AS_LARGE: (2, 5, 1),
        "never merged before the end": (6, 1, 1),
        "merged late": (4, 3, 1),
        "merged early": (2, 2, 4),
        "merged at once": (1, 1, 6),
    }
    return {name: replace(base, stage_depths=stages) for name, stages in depths.items()}


def gflop_of(config: ModelConfig) -> float:
    """Count the operations of one clip."""
    return count_gflop(lambda: FALModel(config, open_fal_500()), make_inputs(config, 1, CPU, 0))["total"]


def parameters_of(config: ModelConfig) -> int:
    """Count parameters."""
    with torch.device("meta"):
        return parameter_budget(FALModel(config, open_fal_500()))["total"]


def part_times_ms(config: ModelConfig, rounds: int) -> tuple[dict[str, float], float]:
    """Measure the parts of a model with one block per stage and in fusion.

    Returns:
        Milliseconds by part, and GFLOP per second of square products in the same rounds.
    """
    torch.manual_seed(0)
    model = FALModel(replace(config, stage_depths=(1, 1, 1), fusion_depth=1), open_fal_500()).eval()
    inputs = make_inputs(config, 1, CPU, 0)
    matmul, matmul_gflop = matmul_case(torch.float32, CPU)
    with torch.inference_mode():
        model(**inputs)
        with timed_parts(model, CPU) as clock:
            rate = interleave([matmul, Case("model", lambda: model(**inputs))], rounds, CPU)["matmul"]
    if not isinstance(rate, Measured):
        raise TypeError(f"matmul: {rate}")
    return clock.medians_ms(), matmul_gflop / rate.median_processor_s()


def added_up_ms(config: ModelConfig, parts_ms: dict[str, float]) -> float:
    """Add up the time of a model from that of parts with one block each."""
    stages = [depth * parts_ms[f"encoder.stages.{i}"] for i, depth in enumerate(config.stage_depths)]
    counted = {"total", "fusion", *(f"encoder.stages.{i}" for i in range(len(stages)))}
    rest_ms = sum(ms for name, ms in parts_ms.items() if name not in counted)
    return sum(stages) + config.fusion_depth * parts_ms["fusion"] + rest_ms


def main(argv: Sequence[str]) -> int:
    """Count, measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args(argv).rounds
    torch.set_num_threads(1)
    base = fal_375m()
    measured: dict[int, tuple[dict[str, float], float]] = {}
    lines = ["| layout | tokens per stage | parameters, M | GFLOP | CPU, s | share of matmul rate |", "|---" * 6 + "|"]
    for name, config in layouts(base).items():
        frames = config.clip.num_frames
        if frames not in measured:
            measured[frames] = part_times_ms(config, rounds)
        parts_ms, rate = measured[frames]
        gflop, seconds = gflop_of(config), added_up_ms(config, parts_ms) / 1000
        tokens = " ".join(str(frames * (grid**2 + config.has_frame_token)) for grid in config.grids)
        share = f"{gflop / seconds / rate:.0%}"
        lines.append(
            f"| {name} | {tokens} | {parameters_of(config) / 1e6:.1f} | {gflop:.0f} | {seconds:.2f} | {share} |"
        )
    plain = count_gflop(lambda: PlainDivided(base, 500), make_inputs(base, 1, CPU, 0))["total"]
    lines.append(f"| 24 blocks and a classifier, nothing else | 1576 | – | {plain:.0f} | – | – |")
    small = ["| twin of `fal-nano` | blocks | parameters, M | GFLOP |", "|---" * 4 + "|"]
    for name, config in twins(fal_nano()).items():
        sizes = f"{parameters_of(config) / 1e6:.2f} | {gflop_of(config):.2f}"
        small.append(f"| {name} | {config.stage_depths} | {sizes} |")
    print("\n".join([headline(CPU), "", *lines, "", *small]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
