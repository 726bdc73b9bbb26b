"""Put every file of a folder of recordings through the one preprocessing path, and write down what became of each.

Every file takes the real way of the jobs: the decoding child process, the default clip, the default limits. Writes
one row per file as Markdown and, if asked, as CSV; prints the summary per folder.
Run it as: python bench/outcomes.py --output bench/outcomes.md --csv out/outcomes.csv
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from fal_model.errors import VideoError
from fal_model.spec import ClipSpec
from pipelines.isolation import IsolatedPreparer
from pipelines.limits import DecodeLimits

ROOT = Path(__file__).resolve().parents[1]

NO_RECORDINGS = {".csv", ".json", ".md", ".txt"}
NO_COVERAGE = "–"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one file; the text fields are empty where the file did not get that far."""

    folder: str
    file: str
    num_bytes: int
    container: str = ""
    codec: str = ""
    size_px: str = ""
    seconds: str = ""
    frames: str = ""
    clips: str = ""
    coverage: str = ""
    substituted: str = ""
    outcome: str
    ms: float
    message: str = ""


def recordings(folder: Path) -> list[Path]:
    """Return every file under a folder that is not a list of the files beside it."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() not in NO_RECORDINGS)


def try_file(preparer: IsolatedPreparer, root: Path, path: Path) -> Outcome:
    """Prepare one file and note the result."""
    where = path.relative_to(root)
    folder = where.parts[0] if len(where.parts) > 1 else "."
    name = where.relative_to(folder).as_posix()
    facts: dict[str, str] = {}
    message = ""
    start_s = time.perf_counter()
    try:
        with path.open("rb") as file:
            info, clips = preparer.prepare(file)
            facts = {
                "container": info.container.partition(",")[0],
                "codec": info.codec,
                "size_px": f"{info.width_px}×{info.height_px}",
                "seconds": f"{info.duration_s:.2f}",
                "frames": str(info.num_frames),
            }
            num_clips, covered_s, num_substituted = 0, 0.0, 0
            for clip in clips:
                num_clips += 1
                covered_s += clip.covered_s
                num_substituted += clip.num_substituted
        facts |= {
            "clips": str(num_clips) if num_clips == info.num_clips else f"{num_clips} of {info.num_clips}",
            "coverage": f"{min(covered_s / info.duration_s, 1):.2f}",
            "substituted": str(num_substituted),
        }
        outcome = "ok"
    except VideoError as error:
        outcome, message = error.kind.value, error.message
    ms = (time.perf_counter() - start_s) * 1000
    size = path.stat().st_size
    return Outcome(folder=folder, file=name, num_bytes=size, outcome=outcome, ms=round(ms, 1), message=message, **facts)


def summary(outcomes: list[Outcome]) -> list[str]:
    """Return the table of outcomes per folder."""
    lines = [
        "| folder | files | clips | failed | kinds | lowest coverage | files with substituted frames | slowest, ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for folder in [*sorted({o.folder for o in outcomes}), "all"]:
        part = [o for o in outcomes if folder in {o.folder, "all"}]
        good = [o for o in part if o.outcome == "ok"]
        kinds = Counter(o.outcome for o in part if o.outcome != "ok")
        text = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())) or NO_COVERAGE
        lowest = min((o.coverage for o in good), default=NO_COVERAGE)
        replaced = sum(o.substituted != "0" for o in good)
        slowest = max(o.ms for o in part)
        lines.append(
            f"| {folder} | {len(part)} | {len(good)} | {len(part) - len(good)} | {text} | {lowest} | {replaced} "
            f"| {slowest:.0f} |"
        )
    return lines


def table(outcomes: Iterable[Outcome]) -> list[str]:
    """Return one row per file."""
    names = [field.name for field in fields(Outcome)]
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for outcome in outcomes:
        cells = [str(value).replace("|", "\\|") for value in asdict(outcome).values()]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def write_csv(outcomes: list[Outcome], path: Path) -> None:
    """Write one row per file for machines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, [field.name for field in fields(Outcome)], lineterminator="\n")
        rows.writeheader()
        rows.writerows(asdict(outcome) for outcome in outcomes)


def write_markdown(outcomes: list[Outcome], path: Path) -> None:
    """Write the summary and one row per file for people."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = [
        "# What became of every recording",
        "",
        "Written by `python bench/outcomes.py`: each file through the decoding child with the default clip (8 frames",
        "with flow, windows of 10 s) and the default limits. `outcome` is `ok` or the failure's `kind`.",
        "",
        *summary(outcomes),
        "",
        *table(outcomes),
        "",
    ]
    path.write_text("\n".join(text), encoding="utf-8")


def main() -> None:
    """Run every file, show progress, write and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("FAL_REAL_VIDEOS") or str(ROOT.parent / "shared" / "videos")
    parser.add_argument("--input", default=default, help="folder of recordings (FAL_REAL_VIDEOS)")
    parser.add_argument("--output", type=Path, default=Path("out/outcomes.md"), help="Markdown file to write")
    parser.add_argument("--csv", type=Path, help="CSV file to write as well")
    parser.add_argument("--quick", action="store_true", help="every tenth file only")
    arguments = parser.parse_args()
    root = Path(arguments.input).resolve()
    paths = recordings(root)[:: 10 if arguments.quick else 1]
    if not paths:
        sys.exit(f"no recordings under {root}; set FAL_REAL_VIDEOS")
    outcomes: list[Outcome] = []
    with IsolatedPreparer(ClipSpec(), DecodeLimits()) as preparer:
        for number, path in enumerate(paths, 1):
            outcomes.append(try_file(preparer, root, path))
            if number % 20 == 0 or number == len(paths):
                print(f"{number}/{len(paths)} files", file=sys.stderr, flush=True)
    write_markdown(outcomes, arguments.output)
    if arguments.csv is not None:
        write_csv(outcomes, arguments.csv)
    print("\n".join(summary(outcomes)))


if __name__ == "__main__":
    main()
