"""How many copies of videos a scan finds, how many others it takes for copies, and how long the search takes.

Copies of real recordings and of stand-in videos are made as people make them (``scan_copies``), scanned like any file,
and compared with their originals under each rule: so many bits may differ, such a share of the pictures must match.
Others are pairs of different recordings: of one source (mostly the same camera, minutes apart) and of two.
Run it as: python bench/scan.py            (--quick: fewer videos; --speed: only the search among many)
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.scan_copies import write_copies
from fal_model.errors import VideoError
from pipelines.isolated_scan import IsolatedScanner
from pipelines.limits import DecodeLimits
from pipelines.near_duplicates import like_videos
from pipelines.picture_hash import hash_pictures

ROOT = Path(__file__).resolve().parents[1]
DISTANCES = (0, 2, 4, 6, 8, 10)
SHARES = (0.25, 0.5, 0.75)
SAME_SOURCE, OTHER_SOURCE = "same source", "other source"
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi")
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Pair:
    """Two videos that are, or are not, copies of each other.

    Attributes:
        what: How the one was made of the other, or where both are from.
        few: Bits by which each picture of the video with fewer differs from the likest of the other; the likest first.
        many: The same from the other's side.
    """

    what: str
    few: tuple[int, ...]
    many: tuple[int, ...]


def real_folder() -> Path:
    """Find the recordings."""
    folder = Path(os.environ.get("FAL_REAL_VIDEOS", ROOT.parent / "shared" / "videos"))
    if not folder.is_dir():
        sys.exit(f"no recordings at {folder}; set FAL_REAL_VIDEOS")
    return folder.resolve()


def hashes_of(scanner: IsolatedScanner, path: Path) -> Hashes:
    """Scan a file and hash its pictures; none where it cannot be scanned."""
    try:
        with path.open("rb") as file:
            pictures = scanner.scan(file).pictures_NHWC
    except VideoError:
        return np.zeros(0, np.uint64)
    return np.array([value for value in hash_pictures(list(pictures)) if value is not None], np.uint64)


def compare(what: str, one: Hashes, other: Hashes) -> Pair:
    """Note for each picture of two videos how unlike the likest of the other is."""
    if min(len(one), len(other)) == 0:
        return Pair(what, (), ())
    few, many = sorted((one, other), key=len)
    distances = np.bitwise_count(few[:, None] ^ many[None])
    return Pair(what, *(tuple(sorted(distances.min(axis=axis).tolist())) for axis in (1, 0)))


def is_found(pair: Pair, max_distance: int, min_share: float) -> bool:
    """Apply a rule as the scan does, but for any distance."""
    count = len(pair.few)
    needed = max(int(np.ceil(min_share * count)), min(2, count))
    return count > 0 and max(pair.few[needed - 1], pair.many[needed - 1]) <= max_distance


def copies(scanner: IsolatedScanner, bases: Sequence[Path], folder: Path) -> Iterator[Pair]:
    """Compare copies of videos with their originals."""
    original = np.zeros(0, np.uint64)
    for _, path, recipe in write_copies(folder, bases):
        found = hashes_of(scanner, path)
        if recipe is None:
            original = found
        elif len(original) > 0:
            yield compare(recipe.name, original, found)
        path.unlink()


def others(scanner: IsolatedScanner, root: Path, group_column: dict[str, str]) -> Iterator[Pair]:
    """Compare all recordings of a set with each other."""
    for name, column in group_column.items():
        with (root / name / "split.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        hashes = [hashes_of(scanner, root / name / row["file"]) for row in rows]
        for i, row in enumerate(rows):
            for j, before in enumerate(rows[:i]):
                kind = SAME_SOURCE if row[column] == before[column] else OTHER_SOURCE
                yield compare(f"{name}, {kind}", hashes[i], hashes[j])


def made_videos(folder: Path) -> list[Path]:
    """List the stand-in videos of a folder, if there is one."""
    return sorted(path for path in folder.rglob("*") if path.suffix in VIDEO_SUFFIXES and "broken" not in path.parts)


def made_pairs(scanner: IsolatedScanner, folder: Path) -> Iterator[Pair]:
    """Compare all stand-in videos with each other, by class, as the manifests beside them say."""
    labels: dict[str, list[str]] = {}
    for manifest in folder.rglob("*.jsonl"):
        rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
        labels |= {Path(row["uri"]).name: row.get("labels") or [] for row in rows}
    found = [(labels.get(path.name, []), hashes_of(scanner, path)) for path in made_videos(folder)]
    for i, (classes, hashes) in enumerate(found):
        for before, others_hashes in found[:i]:
            kind = "the same class" if set(classes) & set(before) else "other classes"
            yield compare(f"stand-in videos of {kind}", hashes, others_hashes)


def bases_of(root: Path, folder: Path, *, is_quick: bool) -> list[Path]:
    """Choose the videos that are copied: evenly out of each set, and stand-in videos if there is a corpus."""
    wanted = {"surveillance-fights": 16, "infrared-aircraft": 8, "falls": 5, "activitynet": 3}
    found: list[Path] = []
    for name, count in wanted.items():
        files = sorted((root / name).rglob("*.mp4"))
        number = max(1, count // 4) if is_quick else count
        found += files[:: max(1, len(files) // number)][:number]
    made = made_videos(folder)
    number = 3 if is_quick else 12
    return found + made[:: max(1, len(made) // number)][:number]


def print_table(pairs: Sequence[Pair]) -> None:
    """Print the share of pairs that each rule takes for near-duplicates."""
    by_kind: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_kind[pair.what].append(pair)
    for share in SHARES:
        print(f"\nAt least {share:.1%} of the pictures, and two, within so many bits:\n")
        print("| pairs | of | " + " | ".join(map(str, DISTANCES)) + " |")
        print("|---|---|" + "---|" * len(DISTANCES))
        for what, kind in by_kind.items():
            cells = [f"{sum(is_found(p, d, share) for p in kind) / len(kind):.1%}" for d in DISTANCES]
            print(f"| {what} | {len(kind)} | " + " | ".join(cells) + " |")


def print_speed(counts: Sequence[int]) -> None:
    """Print how long the search takes among so many videos with eight pictures each, one in fifty a copy."""
    print("\n| videos | pictures | seconds | peak MiB | copies found |")
    print("|---|---|---|---|---|")
    for count in counts:
        random = np.random.default_rng(0)
        hashes = random.integers(0, 2**63, (count, 8), dtype=np.uint64)
        num_copies = count // 50
        turned = np.uint64(1) << random.integers(0, 63, (num_copies, 8, 3), dtype=np.uint64)
        hashes[-num_copies:] = hashes[:num_copies] ^ np.bitwise_xor.reduce(turned, axis=2)
        owners = np.repeat(np.arange(count), 8)
        start = time.perf_counter()
        found = like_videos(hashes.ravel(), owners, 6, 0.25)
        seconds = time.perf_counter() - start
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        right = sum(pair.second - pair.first == count - num_copies for pair in found)
        print(f"| {count:,} | {8 * count:,} | {seconds:.1f} | {peak_mib:,} | {right:,} of {num_copies:,} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer videos")
    parser.add_argument("--speed", action="store_true", help="only the search among many")
    parser.add_argument(
        "--made", type=Path, default=ROOT / "out" / "none", help="folder of stand-in videos to copy too"
    )
    options = parser.parse_args()
    if not options.speed:
        root = real_folder()
        with IsolatedScanner(DecodeLimits()) as scanner, tempfile.TemporaryDirectory() as folder:
            bases = bases_of(root, options.made, is_quick=options.quick)
            print(f"{len(bases)} videos, each copied in every way")
            pairs = list(copies(scanner, bases, Path(folder)))
            pairs += others(scanner, root, {"surveillance-fights": "source", "infrared-aircraft": "group"})
            pairs += list(made_pairs(scanner, options.made))
        print_table(pairs)
    print_speed((2_000, 20_000) if options.quick else (10_000, 50_000, 200_000))


if __name__ == "__main__":
    main()
