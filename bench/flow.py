"""Error and cost of optical flow on scenes whose flow is known exactly, of the camera estimate, and of cut detection.

Prints Markdown. Run it as: python bench/flow.py [--quick] [--sweep] [--real ../shared/videos]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from bench.flow_cuts import cut_table
from bench.flow_scenes import SCENES, Pair, render
from fal_model.spec import ClipSpec
from pipelines import pixels
from pipelines.camera_motion import camera_flow, estimate_camera, share_explained
from pipelines.optical_flow import FlowEstimator

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
T = TypeVar("T")
Method = Callable[[Pair], tuple[Floats, float]]
"""Gives the flow of a pair, and the processor milliseconds that took."""
FAL = "FAL, whole path"
REPEATS = 3


@dataclass(frozen=True, slots=True)
class Result:
    """Errors of one method on one scene, pixels, and its cost.

    Attributes:
        visible: At the places of the model's grid that the second picture shows wholly.
        hidden: At the others.
        dense: At the visible pixels of the picture.
        ms: Processor time per pair.
    """

    visible: Floats
    hidden: Floats
    dense: Floats
    ms: float


def fal(spec: ClipSpec) -> Method:
    """Return what FAL does with two frames: gray, flow, cut check, grid, unit."""
    estimator = FlowEstimator(spec)

    def run(pair: Pair) -> tuple[Floats, float]:
        from_HWC, to_HWC = pair.coloured()
        found = timed(lambda: estimator(from_HWC, to_HWC, spec.flow_step_s))
        # Where FAL takes the pair for a cut the model is given none: counted as if it had said "no motion".
        none_HWC = np.zeros((spec.flow_size_px, spec.flow_size_px, 2), np.float32)
        return none_HWC if found[0] is None else found[0], found[1]

    return run


def gray_method(flow: Callable[[Bytes, Bytes], Floats]) -> Method:
    """Return a method that takes two gray pictures."""
    return lambda pair: timed(lambda: np.asarray(flow(pair.from_HW, pair.to_HW), dtype=np.float32))


def dis(preset: int, **settings: int) -> Method:
    """Return OpenCV's dense inverse search with a preset, and what is set on top of it."""
    flow = cv2.DISOpticalFlow.create(preset)
    for name, value in settings.items():
        getattr(flow, f"set{name}")(value)
    return gray_method(lambda from_HW, to_HW: flow.calc(from_HW, to_HW, None))


def farneback(from_HW: Bytes, to_HW: Bytes) -> Floats:
    """Measure flow by polynomial expansion, OpenCV's usual settings."""
    flow: Floats = cv2.calcOpticalFlowFarneback(from_HW, to_HW, None, 0.5, 4, 15, 3, 5, 1.1, 0)
    return flow


def methods(spec: ClipSpec, *, sweep: bool) -> dict[str, Method]:
    """Name what is compared."""
    found: dict[str, Method] = {
        FAL: fal(spec),
        "DIS as FAL sets it": gray_method(pixels.DenseFlow()),
        "DIS ULTRAFAST": dis(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST),
        "DIS FAST": dis(cv2.DISOPTICAL_FLOW_PRESET_FAST),
        "DIS MEDIUM": dis(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM),
        "Farneback": gray_method(farneback),
    }
    if sweep:
        for scale, stride, steps, smoothing in SWEEP:
            found[f"1/{2**scale} size, stride {stride}, {steps} steps, {smoothing} smoothing"] = dis(
                cv2.DISOPTICAL_FLOW_PRESET_FAST,
                FinestScale=scale,
                PatchStride=stride,
                GradientDescentIterations=steps,
                VariationalRefinementIterations=smoothing,
            )
    return found


SWEEP = (
    *((2, stride, 16, smoothing) for stride, smoothing in ((4, 0), (4, 2), (4, 10), (3, 5), (2, 5))),
    *((1, stride, steps, 0) for stride in (4, 5, 6, 8) for steps in (4, 6, 12)),
    *((1, stride, 6, smoothing) for stride in (4, 5, 6) for smoothing in (1, 2, 5)),
)


def run_scene(method: Method, pairs: list[Pair], grid_px: int) -> Result:
    """Run a method on the pairs of a scene."""
    visible, hidden, dense, ms = [], [], [], []
    for pair in pairs:
        flow_HWC, milliseconds = method(pair)
        ms.append(milliseconds)
        if flow_HWC.shape == pair.flow_HWC.shape:
            dense.append(np.linalg.norm(flow_HWC - pair.flow_HWC, axis=2)[~pair.is_hidden_HW])
        truth_HWC = pixels.area_average(pair.flow_HWC, grid_px)
        off_HW = np.linalg.norm(pixels.area_average(flow_HWC, grid_px) - truth_HWC, axis=2)
        is_hidden_HW = pixels.area_average(pair.is_hidden_HW.astype(np.float32), grid_px) > 0
        visible.append(off_HW[~is_hidden_HW])
        hidden.append(off_HW[is_hidden_HW])
    none = np.zeros(0, np.float32)
    visible_N, hidden_N, dense_N = (np.concatenate([none, *part]) for part in (visible, hidden, dense))
    return Result(visible_N, hidden_N, dense_N, float(np.mean(ms)))


def timed(call: Callable[[], T]) -> tuple[T, float]:
    """Return a result and the shortest of some processor times, milliseconds."""
    times_s = []
    for _ in range(REPEATS):
        start_s = time.thread_time()
        call()
        times_s.append(time.thread_time() - start_s)
    return call(), min(times_s) * 1e3


def _mean(values: Floats) -> str:
    return f"{values.mean():.2f}" if len(values) else "–"


def summary_table(results: dict[str, dict[str, Result]]) -> Iterator[str]:
    """Yield one row per method; errors are means over scenes, each scene counting once."""
    yield "| method | mean, grid | 95 % below | over 1 px | worst scene | hidden places | mean, pixels | ms per pair |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, scenes in results.items():
        means = {scene: float(r.visible.mean()) for scene, r in scenes.items()}
        worst = max(means, key=lambda scene: means[scene])
        tail = np.mean([np.quantile(r.visible, 0.95) for r in scenes.values()])
        over = np.mean([(r.visible > 1).mean() for r in scenes.values()])
        hidden = np.concatenate([r.hidden for r in scenes.values()])
        dense = [r.dense.mean() for r in scenes.values() if len(r.dense)]
        yield (
            f"| {name} | {np.mean(list(means.values())):.3f} | {tail:.2f} | {over:.1%} | {means[worst]:.2f} ({worst}) "
            f"| {_mean(hidden)} | {_mean(np.array(dense, np.float32))} "
            f"| {np.mean([r.ms for r in scenes.values()]):.2f} |"
        )


def scene_table(results: dict[str, dict[str, Result]]) -> Iterator[str]:
    """Yield one row per scene: FAL in full, the mean error of the others."""
    others = [name for name in results if name != FAL]
    yield "| scene | FAL mean | 95 % below | over 1 px | hidden | " + " | ".join(others) + " |"
    yield "|---|---|---|---|---|" + "---|" * len(others)
    for scene, ours in results[FAL].items():
        row = [
            f"{ours.visible.mean():.2f}",
            f"{np.quantile(ours.visible, 0.95):.2f}",
            f"{(ours.visible > 1).mean():.1%}",
        ]
        row += [_mean(ours.hidden), *(_mean(results[name][scene].visible) for name in others)]
        yield f"| {scene} | " + " | ".join(row) + " |"


def camera_table(scenes: dict[str, list[Pair]], spec: ClipSpec) -> Iterator[str]:
    """Yield one row per scene: how far the estimated motion of the camera is off, mean over the picture."""
    measure_flow, grid_px = fal(spec), spec.flow_size_px
    yield "| scene | camera moves, px | off, mean px | off, worst px | flow it explains | ms |"
    yield "|---|---|---|---|---|---|"
    for name, pairs in scenes.items():
        moves, off, shares, ms = [], [], [], []
        for pair in pairs:
            flow_HWC, _ = measure_flow(pair)
            camera_23, milliseconds = timed(partial(estimate_camera, flow_HWC))
            truth_HWC = pixels.area_average(pair.camera_HWC, grid_px)
            moves.append(np.linalg.norm(truth_HWC, axis=2).mean())
            off.append(np.linalg.norm(camera_flow(camera_23, grid_px, grid_px) - truth_HWC, axis=2))
            shares.append(share_explained(flow_HWC, camera_23))
            ms.append(milliseconds)
        yield (
            f"| {name} | {np.mean(moves):.2f} | {np.mean(off):.2f} | {np.max(off):.2f} | {np.mean(shares):.0%} "
            f"| {np.mean(ms):.2f} |"
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4, help="textures per scene (default 4)")
    parser.add_argument("--size", type=int, default=224, help="pictures' height and width, pixels")
    parser.add_argument("--quick", action="store_true", help="one texture per scene, a tenth of the real pairs")
    parser.add_argument("--sweep", action="store_true", help="also other settings of DIS")
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="also cuts and neighbours of real recordings")
    options = parser.parse_args()
    pixels.use_one_thread()
    spec = ClipSpec(size_px=options.size)
    seeds = range(1 if options.quick else options.seeds)
    scenes = {scene.name: [render(scene, options.size, seed) for seed in seeds] for scene in SCENES}
    results: dict[str, dict[str, Result]] = {}
    for name, method in methods(spec, sweep=options.sweep).items():
        results[name] = {scene: run_scene(method, pairs, spec.flow_size_px) for scene, pairs in scenes.items()}
        print(f"<!-- {name} -->", flush=True)
    print(
        f"\nOpenCV {cv2.__version__}, {len(seeds)} textures per scene, {options.size} px, one thread. Errors in px.\n"
    )
    shown = {name: r for name, r in results.items() if " smoothing" not in name}
    for table in (summary_table(results), scene_table(shown), camera_table(scenes, spec)):
        print(*table, sep="\n", end="\n\n", flush=True)
    if options.real:
        print(*cut_table(options.real, options.size, share=0.1 if options.quick else 1.0), sep="\n")


if __name__ == "__main__":
    main()
