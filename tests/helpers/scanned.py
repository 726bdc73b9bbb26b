"""A small corpus with every kind of copy and fault, for the tests of the scan."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.config import ScanConfig
from pipelines.limits import DecodeLimits
from pipelines.manifest import read_manifest
from pipelines.pixels import resize
from pipelines.scan_job import PartScanner, ScanPlan, open_output
from pipelines.video_writer import write_video
from tests.helpers.corpus import BROKEN, write_broken
from tests.helpers.video import Frame, texture

NUM_FRAMES = 20
FPS = 10
USABLE = 9
FAILED = len(BROKEN) + 2
ROWS: list[dict[str, Any]] = [
    {"video_id": "black", "labels": ["day"], "split": "train"},
    {"video_id": "black2", "labels": ["night"], "split": "test"},
    {"video_id": "bright", "labels": ["run"], "split": "val", "group": "park"},
    {"video_id": "bytes", "labels": ["walk"], "split": "test"},
    {"video_id": "first", "labels": ["run"], "split": "train", "duration_s": 2.0},
    {"video_id": "other", "labels": ["walk"], "split": "train", "group": "street"},
    {"video_id": "other2", "labels": ["walk", "run"], "split": "val", "group": "street", "duration_s": 60.0},
    {"video_id": "small", "labels": ["run"], "split": "train"},
    {"video_id": "third", "labels": None, "split": None},
    {"video_id": "gone", "labels": ["run"], "split": "train"},
    {"video_id": "changed", "labels": ["run"], "split": "train", "sha256": "0" * 64},
    *({"video_id": name, "labels": ["run"], "split": "train"} for name in BROKEN),
]
SUFFIX = {"small": ".avi"}


def scene(seed: int, num_frames: int = NUM_FRAMES) -> Iterator[Frame]:
    """Yield a camera that moves slowly over a picture of its own."""
    whole = texture(96, 160 + num_frames, seed)
    return (whole[:, number : number + 160] for number in range(num_frames))


def write_scene(path: Path, frames: Iterator[Frame], codec: str = "libx264") -> Path:
    """Encode frames."""
    options = {"preset": "veryfast", "crf": "26"} if codec == "libx264" else {"qscale": "6"}
    write_video(path, frames, fps=FPS, codec=codec, options=options, keyframe_interval=10)
    return path


def brighter(frame: Frame) -> Frame:
    """Raise brightness and contrast."""
    brighter_HWC: Frame = np.clip(frame * 1.1 + 15, 0, 255).astype(np.uint8)
    return brighter_HWC


def write_scanned(folder: Path) -> Path:
    """Write the corpus, and return its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    write_broken(folder)
    write_scene(folder / "first.mp4", scene(1))
    shutil.copy(folder / "first.mp4", folder / "bytes.mp4")
    write_scene(folder / "bright.mp4", map(brighter, scene(1)))
    write_scene(folder / "small.avi", (resize(frame, 48, 80) for frame in scene(1)), "mpeg4")
    for seed, name in enumerate(("other", "other2", "third"), start=2):
        write_scene(folder / f"{name}.mp4", scene(seed))
    for name, count in (("black", NUM_FRAMES), ("black2", NUM_FRAMES + 5)):
        write_scene(folder / f"{name}.mp4", (np.zeros((96, 160, 3), np.uint8) for _ in range(count)))
    shutil.copy(folder / "third.mp4", folder / "changed.mp4")
    manifest = folder / "manifest.jsonl"
    lines = [
        json.dumps({"uri": name_of(row["video_id"]), **{k: v for k, v in row.items() if v is not None}}) for row in ROWS
    ]
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


def name_of(video_id: str) -> str:
    """Return the name of a video's file."""
    return video_id if "." in video_id else video_id + SUFFIX.get(video_id, ".mp4")


def scan_into(output: Path | str, manifest: Path | str, config: ScanConfig) -> ScanPlan:
    """Scan a corpus in this process and its child, part by part, without a summary."""
    plan = ScanPlan(output=str(output), limits=DecodeLimits(), scan=config)
    with PartScanner(plan) as scanner:
        for part_index in range(open_output(plan, read_manifest(str(manifest)))):
            scanner.write(part_index)
    return plan
