"""How fast the stand-in corpus is generated on one core, and what it looks like.

Plans, draws and encodes the first training videos of a corpus of 500 classes, for every picture size and difficulty,
in one process with one thread. Rates are by CPU time, so that what else runs on the machine does not count; the last
column is by the clock. With --sheet it writes the picture of all programs in docs/ instead.
Run it as: python bench/standin.py [--quick]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import get_args

import cv2
import numpy as np

from pipelines import pixels
from pipelines.standin import StandinCorpus
from pipelines.standin_classes import APPEARANCES, PAIRS, leaf_id
from pipelines.standin_difficulty import Difficulty, Picture
from pipelines.standin_files import encoded
from pipelines.standin_render import Frame, render_frames
from pipelines.standin_sheet import Example, examples

NUM_VIDEOS = {"tiny": (120, 24), "small": (60, 12), "medium": (24, 4)}
"""Videos of each row of the table, and of a quick run."""
CELL_PX = (64, 48)
LINE_PX = 13
GAP_PX = 2
PAPER, INK = (255, 255, 255), (20, 20, 20)
SHEET_QUALITY = 72


@dataclass(frozen=True, slots=True)
class Row:
    """Means over the videos of one size and difficulty."""

    picture: Picture
    difficulty: Difficulty
    length_s: float
    num_frames: float
    num_bytes: float
    plan_s: float
    draw_s: float
    cpu_s: float
    wall_s: float


def main() -> int:
    """Print the table, or write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer videos")
    parser.add_argument("--sheet", metavar="FILE.jpg", help="write the picture of all programs")
    parser.add_argument("--difficulty", default="standard", choices=get_args(Difficulty), help="of the picture")
    options = parser.parse_args()
    pixels.use_one_thread()
    if options.sheet:
        corpus = StandinCorpus(classes=500, videos_per_class=10, difficulty=options.difficulty)
        Path(options.sheet).write_bytes(pixels.encode_jpeg(sheet(corpus), SHEET_QUALITY))
        return 0
    print("| picture | difficulty | length | frames | file | videos/s per core | plan | draw | encode | by the clock |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for picture, difficulty in product(get_args(Picture), get_args(Difficulty)):
        print(line(measure(picture, difficulty, NUM_VIDEOS[picture][options.quick])), flush=True)
    return 0


def measure(picture: Picture, difficulty: Difficulty, count: int) -> Row:
    """Make the first videos of a corpus, and time each step."""
    corpus = StandinCorpus(classes=500, videos_per_class=10, difficulty=difficulty, picture=picture)
    start_s = time.process_time()
    videos = [corpus.video("train", index) for index in range(count)]
    plan_s = time.process_time() - start_s
    start_s = time.process_time()
    for video in videos:
        for _ in render_frames(video):
            pass
    draw_s = time.process_time() - start_s
    start_s, start_wall_s = time.process_time(), time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        num_bytes = sum(len(encoded(video, scratch)) for video in videos)
    cpu_s, wall_s = time.process_time() - start_s, time.perf_counter() - start_wall_s
    return Row(
        picture=picture,
        difficulty=difficulty,
        length_s=sum(v.duration_s for v in videos) / count,
        num_frames=sum(v.num_frames for v in videos) / count,
        num_bytes=num_bytes / count,
        plan_s=plan_s / count,
        draw_s=draw_s / count,
        cpu_s=(plan_s + cpu_s) / count,
        wall_s=(plan_s + wall_s) / count,
    )


def line(row: Row) -> str:
    """Write a row of the table."""
    shares = (row.plan_s, row.draw_s, row.cpu_s - row.plan_s - row.draw_s)
    plan, draw, encode = (f"{max(share / row.cpu_s, 0):.0%}" for share in shares)
    made = f"{row.length_s:.1f} s | {row.num_frames:.0f} | {row.num_bytes / 1000:.0f} kB"
    return (
        f"| {row.picture} | {row.difficulty} | {made} "
        f"| {1 / row.cpu_s:.1f} | {plan} | {draw} | {encode} | {1 / row.wall_s:.1f} |"
    )


def sheet(corpus: StandinCorpus) -> Frame:
    """Draw one class of each program, both of a pair on one line."""
    leaves = [leaf_id(p, APPEARANCES[i % len(APPEARANCES)]) for i, pair in enumerate(PAIRS) for p in pair]
    strips = [strip(example) for example in examples(corpus, leaves)]
    spacer = np.full((strips[0].shape[0], 10, 3), PAPER, np.uint8)
    lines = [np.concatenate([strips[i], spacer, strips[i + 1]], axis=1) for i in range(0, len(strips), 2)]
    return np.concatenate(lines)


def strip(example: Example) -> Frame:
    """Draw the name of a class above its frames."""
    width_px, height_px = CELL_PX
    cells = []
    for picture in example.pictures:
        cell = np.full((height_px, width_px + GAP_PX, 3), PAPER, np.uint8)
        scale = min(height_px / picture.shape[0], width_px / picture.shape[1])
        small = pixels.resize(picture, round(picture.shape[0] * scale), round(picture.shape[1] * scale))
        cell[: small.shape[0], : small.shape[1]] = small
        cells.append(cell)
    frames = np.concatenate(cells, axis=1)
    title = np.full((LINE_PX, frames.shape[1], 3), PAPER, np.uint8)
    cv2.putText(title, example.node.id, (1, LINE_PX - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.36, INK, 1, cv2.LINE_AA)
    return np.concatenate([title, frames, np.full((4, frames.shape[1], 3), PAPER, np.uint8)])


if __name__ == "__main__":
    sys.exit(main())
