"""Real recordings through every job: learn fights from surveillance clips, then label the odd and the broken files.

Reads the folder named by FAL_REAL_VIDEOS (default: ../shared/videos beside the project) and writes into --output.
Prints the tables that stand in bench/RESULTS.md. Run it as: python bench/real_videos.py --output out/real
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import platform
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from jobs import evaluate, label_corpus, prepare_corpus, train
from pipelines.manifest import write_manifest

ROOT = Path(__file__).resolve().parents[1]

FIGHT_SETTINGS = (
    "loop.epochs=30",
    "loop.batch_clips=14",
    "loop.is_mirrored=true",
    "train.learning_rate=0.0005",
    "train.weight_decay=0.1",
)
VAL_SHARE = 0.2


def real_folder() -> Path:
    """Find the recordings."""
    folder = Path(os.environ.get("FAL_REAL_VIDEOS", ROOT.parent / "shared" / "videos"))
    if not folder.is_dir():
        sys.exit(f"no recordings at {folder}; set FAL_REAL_VIDEOS")
    return folder.resolve()


def fight_rows(folder: Path) -> list[dict[str, str]]:
    """Read the split file; part of the training sources, whole sources only, becomes validation."""
    with (folder / "split.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    learn = Counter(row["source"] for row in rows if row["split"] == "train")
    room = VAL_SHARE * sum(learn.values())
    chosen: set[str] = set()
    # In an order that says nothing about the sources; one that does not fit any more is passed over.
    for source in sorted(learn, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if learn[source] <= room:
            chosen.add(source)
            room -= learn[source]
    for row in rows:
        if row["split"] == "train" and row["source"] in chosen:
            row["split"] = "val"
    return rows


def write_fight_manifests(folder: Path, output: Path) -> dict[str, Path]:
    """Write a manifest to learn from, one to test on, and one of the clips whose frame size gives nothing away."""
    rows = fight_rows(folder)
    chosen = {
        "learn": [r for r in rows if r["split"] != "test"],
        "test": [r for r in rows if r["split"] == "test"],
        "test-strict": [r for r in rows if r["split"] == "test" and not r["other_dataset"]],
    }
    paths: dict[str, Path] = {}
    for name, part in chosen.items():
        paths[name] = output / f"fights-{name}.jsonl"
        write_manifest(
            str(paths[name]),
            [
                {"video_id": r["file"], "uri": str(folder / r["file"]), "labels": [r["label"]], "split": r["split"]}
                for r in part
            ],
        )
    return paths


def call(job: Any, *argv: str | Path) -> int:
    """Run a job in this process and return its exit code."""
    print(f"\n$ python {job.__name__.replace('.', '/')}.py {' '.join(map(str, argv))}", flush=True)
    code: int = job.main([str(a) for a in argv])
    if code not in {0, 3}:
        sys.exit(f"the job ended with exit code {code}")
    return code


def learn_fights(folder: Path, output: Path) -> list[str]:
    """Train on the training sources, test on the others."""
    manifests = write_fight_manifests(folder, output)
    shards, model = output / "fight-shards", output / "fight-train" / "model"
    call(prepare_corpus, "--input", manifests["learn"], "--output", shards)
    call(
        train, "--train", shards / "train", "--val", shards / "val", "--output", output / "fight-train", *FIGHT_SETTINGS
    )
    lines = ["| test clips | n | majority class | top-1 | ECE |", "|---|---|---|---|---|"]
    for name in ("test", "test-strict"):
        place = output / f"fight-{name}"
        call(evaluate, "--model", model, "--input", manifests[name], "--output", place)
        summary = json.loads((place / "summary.json").read_text(encoding="utf-8"))
        labels = Counter(json.loads(line)["labels"][0] for line in manifests[name].read_text().splitlines())
        majority = max(labels.values()) / sum(labels.values())
        found = summary["metrics"]
        lines.append(
            f"| {name} | {summary['num_scored']} | {majority:.3f} | {found['top1']:.3f} | {found['ece']:.3f} |"
        )
    return lines


def label_files(folder: Path, output: Path, model: Path) -> list[str]:
    """Label everything under odd/ and broken/, and count what became of each file."""
    lines = ["| folder | files | seen | labelled | failed | kinds | s |", "|---|---|---|---|---|---|---|"]
    for name in ("odd", "broken"):
        num_files = sum(1 for p in (folder / name).rglob("*") if p.is_file())
        start_s = time.monotonic()
        call(label_corpus, "--input", folder / name, "--output", output / name, "--model", model)
        spent_s = time.monotonic() - start_s
        s = json.loads((output / name / "summary.json").read_text(encoding="utf-8"))
        if not num_files == s["seen"] == s["labelled"] + s["failed"]:
            sys.exit(f"{name}: {num_files} files, but seen {s['seen']}, labelled {s['labelled']}, failed {s['failed']}")
        kinds = ", ".join(f"{k} {n}" for k, n in s["failures_by_kind"].items()) or "–"
        lines.append(
            f"| {name} | {num_files} | {s['seen']} | {s['labelled']} | {s['failed']} | {kinds} | {spent_s:.0f} |"
        )
    return lines


def main() -> None:
    """Run both, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="out/real", help="where everything goes")
    output = Path(parser.parse_args().output).absolute()
    output.mkdir(parents=True, exist_ok=True)
    folder = real_folder()
    fights = learn_fights(folder / "surveillance-fights", output)
    files = label_files(folder, output, output / "fight-train" / "model")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, no GPU"
    print("\n".join(["", f"Machine: {machine}", "", *fights, "", *files]))


if __name__ == "__main__":
    main()
