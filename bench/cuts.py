"""How many hard cuts the packets alone tell: ``python bench/cuts.py [--videos 12] [--output DIR]``.

Strings shots of 2 to 6 s from different backgrounds together (recordings, where ``FAL_REAL_VIDEOS`` has some, and made
ones), encodes them with every encoder of ``bench/sampling_scenes.py``, and prints Markdown: the share of the cuts that
``cut_frames`` finds within a frame, and the share of what it finds that is a cut. These are used to move the borders
of windows and to choose flow neighbours; flow itself looks at the pictures (``bench/flow.py --real``).
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.sampling import recordings
from bench.sampling_scenes import (
    BLIND_ENCODERS,
    FPS,
    MADE_BACKGROUNDS,
    WEB_ENCODERS,
    Encoder,
    background,
    write_once,
)
from pipelines.limits import DecodeLimits
from pipelines.novelty import cut_frames
from pipelines.pictures import PictureReader

NUM_SHOTS = 8


def main(argv: list[str]) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=12, help="videos of eight shots for each encoder")
    parser.add_argument("--output", type=Path, default=Path("out/bench-cuts"), help="where the videos are kept")
    arguments = parser.parse_args(argv)
    arguments.output.mkdir(parents=True, exist_ok=True)
    print("| encoder | cuts | found | of what is found, cuts |\n|---|---|---|---|")
    for name, encoder in (WEB_ENCODERS | BLIND_ENCODERS).items():
        counts = np.zeros(3, np.int64)
        for seed in range(arguments.videos):
            print(f"\r{name} {seed + 1}/{arguments.videos} ", end="", file=sys.stderr, flush=True)
            counts += _measure(seed, encoder, arguments.output)
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)
        num_cuts, num_hit, num_found = counts.tolist()
        share = f"{num_hit / num_found:.2f}" if num_found else "–"
        print(f"| {name} | {num_cuts} | {num_hit / num_cuts:.2f} | {share} |", flush=True)
    return 0


def _measure(seed: int, encoder: Encoder, folder: Path) -> npt.NDArray[np.int64]:
    """Return how many cuts there are, how many of them were found, and how many were named."""
    _, codec, options, _ = encoder
    rng = np.random.default_rng([seed, 4])
    lengths = rng.integers(2 * FPS, 6 * FPS, NUM_SHOTS)
    path = write_once(folder, (codec, *options.values(), str(seed)), encoder, _shots(seed, lengths.tolist()))
    with path.open("rb") as file:
        reader = PictureReader(file, DecodeLimits())
        named = cut_frames(reader.table)
        reader.close()
    cuts = np.cumsum(lengths)[:-1]
    is_near = np.abs(cuts[:, None] - named[None]) <= 1
    return np.array([len(cuts), is_near.any(axis=1).sum(), len(named)])


def _shots(seed: int, lengths: list[int]) -> Iterator[npt.NDArray[np.uint8]]:
    rng = np.random.default_rng([seed, 5])
    names = [str(path) for path in recordings()] or list(MADE_BACKGROUNDS)
    names = [*rng.permutation(names)[: NUM_SHOTS // 2], *MADE_BACKGROUNDS]
    for length, name in zip(lengths, itertools.cycle(rng.permutation(names)), strict=False):
        yield from itertools.islice(background(str(name), rng), length)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
