"""How often 8 frames catch a short event, and at what cost: ``python bench/sampling.py [--scenes 96] [--output DIR]``.

Makes videos of 20 to 60 s in which one thing happens for 0.3 to 1 s (``bench/sampling_scenes.py``), chooses 8 frames of
each in every way there is, and prints Markdown: share of events with at least one frame in them, the largest hole
between two frames as a share of the video, frames decoded. Half of the backgrounds are recordings, where
``FAL_REAL_VIDEOS`` (or ``../shared/videos``) has some.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.sampling_scenes import (
    BLIND_ENCODERS,
    SIZE_PX,
    WEB_ENCODERS,
    Scene,
    scenes,
    write_scene,
)
from fal_model.spec import Sampling
from pipelines import pixels, sampling
from pipelines.clips import LOOK_SIZE_PX
from pipelines.frame_table import FrameTable
from pipelines.limits import DecodeLimits
from pipelines.novelty import Novelty
from pipelines.pictures import PictureReader

ROOT = Path(__file__).resolve().parents[1]

NUM_FRAMES = 8
METHODS = ("random", "uniform", "keyframes", "key_moments", "thorough", "oracle")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one method made of one scene."""

    is_hit: bool
    hole: float
    num_decoded: int


def main(argv: list[str]) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=96, help="web-like videos; half as many of the blind kind")
    parser.add_argument("--first", type=int, default=0, help="first seed; other seeds are other videos")
    parser.add_argument("--output", type=Path, default=Path("out/bench-sampling"), help="where the videos are kept")
    arguments = parser.parse_args(argv)
    arguments.output.mkdir(parents=True, exist_ok=True)
    backgrounds = recordings()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; ", end="")
    print(f"{len(backgrounds)} recordings as backgrounds")
    groups = {
        "web-like": scenes(arguments.scenes, WEB_ENCODERS, backgrounds, arguments.first),
        "blind": scenes(arguments.scenes // 2, BLIND_ENCODERS, backgrounds, arguments.first),
    }
    for name, chosen in groups.items():
        results = [_measure(scene, arguments.output, f"{name} {i + 1}/{len(chosen)}") for i, scene in enumerate(chosen)]
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
        _print_tables(name, chosen, results)
    return 0


def recordings() -> list[Path]:
    """Return the recordings that serve as backgrounds, if there are any."""
    root = Path(os.environ.get("FAL_REAL_VIDEOS", ROOT.parent / "shared" / "videos"))
    return [*sorted((root / "falls").glob("*.mp4")), *sorted((root / "activitynet").glob("*.mp4"))]


def _measure(scene: Scene, folder: Path, progress: str) -> dict[str, Outcome]:
    print(f"\r{progress}", end="", file=sys.stderr, flush=True)
    path = write_scene(scene, folder)
    return {method: _try(method, scene, path) for method in METHODS}


def _try(method: str, scene: Scene, path: Path) -> Outcome:
    """Choose frames of the whole video as one clip, and decode what that takes."""
    with path.open("rb") as file:
        reader = PictureReader(file, DecodeLimits())
        frames = _choose(method, scene, reader)
        table, num_decoded = reader.table, reader.video.num_decoded
        reader.close()
    times_s = table.times_s[frames]
    start_s, end_s = scene.event_s
    is_hit = bool(((times_s >= start_s - 1e-3) & (times_s < end_s - 1e-3)).any())
    holes_s = np.diff([0.0, *times_s, table.duration_s])
    return Outcome(is_hit, float(holes_s.max()) / table.duration_s, num_decoded)


def _choose(method: str, scene: Scene, reader: PictureReader) -> list[int]:
    table = reader.table
    window = (0.0, table.duration_s)
    if method in {"random", "oracle"}:
        strata: sampling.Strata = [(frame,) for frame in _blind_choice(table, scene, is_oracle=method == "oracle")]
    else:
        strata = sampling.plan_frames(table, Novelty(table), window, NUM_FRAMES, Sampling(method))
    pictures = reader.pictures(sorted({frame for candidates in strata for frame in candidates}), SIZE_PX)
    looks = {frame: pixels.thumbnail(picture.rgb_HWC, LOOK_SIZE_PX) for frame, picture in pictures.items()}
    return sampling.settle(strata, looks, table.times_s)


def _blind_choice(table: FrameTable, scene: Scene, *, is_oracle: bool) -> list[int]:
    """Draw a frame of each stratum; the oracle takes the middle of the event in its stratum."""
    rng = np.random.default_rng([scene.seed, 9])
    edges = np.searchsorted(table.times_s, np.linspace(0, table.duration_s, NUM_FRAMES + 1))
    frames = [int(rng.integers(a, max(a + 1, b))) for a, b in itertools.pairwise(edges)]
    if is_oracle:
        middle = int(np.searchsorted(table.times_s, sum(scene.event_s) / 2))
        frames[int(np.searchsorted(edges, middle, side="right")) - 1] = middle
    return frames


def _print_tables(name: str, chosen: list[Scene], results: list[dict[str, Outcome]]) -> None:
    print(f"\n### {name}: {len(chosen)} videos\n")
    print("| method | events hit | largest hole, median | frames decoded, mean | of uniform's, mean of ratios |")
    print("|---|---|---|---|---|")
    for method in METHODS:
        outcomes = [result[method] for result in results]
        ratios = [r[method].num_decoded / r["uniform"].num_decoded for r in results]
        print(
            f"| {method} | {_share(outcomes):.2f} | {np.median([o.hole for o in outcomes]):.2f} "
            f"| {np.mean([o.num_decoded for o in outcomes]):.0f} | {np.mean(ratios):.2f} (most {max(ratios):.2f}) |"
        )
    for title, key in (
        ("encoder", lambda scene: scene.encoder),
        ("event", lambda scene: scene.event),
        ("background", lambda scene: scene.background if "/" not in scene.background else "recordings"),
    ):
        _print_split(title, chosen, results, key)


def _print_split(
    title: str, chosen: list[Scene], results: list[dict[str, Outcome]], key: Callable[[Scene], str]
) -> None:
    print(f"\n| {title} | n | uniform | key_moments | thorough | cost of key_moments |\n|---|---|---|---|---|---|")
    for value in sorted({key(scene) for scene in chosen}):
        part = [result for scene, result in zip(chosen, results, strict=True) if key(scene) == value]
        shares = " | ".join(
            f"{_share(r[method] for r in part):.2f}" for method in ("uniform", "key_moments", "thorough")
        )
        cost = np.mean([r["key_moments"].num_decoded / r["uniform"].num_decoded for r in part])
        print(f"| {value} | {len(part)} | {shares} | {cost:.2f} |")


def _share(outcomes: Iterable[Outcome]) -> float:
    return float(np.mean([outcome.is_hit for outcome in outcomes]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
