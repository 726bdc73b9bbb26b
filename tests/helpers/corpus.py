"""A corpus and a model so small that whole jobs run on them in seconds."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fal_model.model import FALModel
from fal_model.spec import ClipSpec
from pipelines import manifest
from pipelines.standin import StandinCorpus, StandinVideo
from pipelines.standin_classes import standin_taxonomy
from pipelines.standin_files import manifest_row
from pipelines.standin_files import write_videos as write_files
from tests.helpers.serving import TINY

SPEC = ClipSpec(num_frames=4, size_px=32, flow_size_px=8, window_s=1.0)
CLIP_SETTINGS = tuple(
    f"clip.{name}={getattr(SPEC, name)}" for name in ("num_frames", "size_px", "flow_size_px", "window_s")
)
VIDEO_S = 2
CORPUS = StandinCorpus(classes=16, videos_per_class=50, difficulty="easy")
TAXONOMY = standin_taxonomy(CORPUS.classes)
BROKEN = {"empty.mp4": "empty_file", "text.mp4": "not_a_video", "zeros.mkv": "not_a_video"}


def write_model(folder: Path, seed: int = 0) -> Path:
    """Save an untrained model for the classes of the stand-in corpus."""
    torch.manual_seed(seed)
    FALModel(replace(TINY, clip=SPEC), TAXONOMY).save_pretrained(folder)
    return folder


def write_videos(folder: Path, count: int, split: str = "test") -> list[dict[str, Any]]:
    """Write videos of two seconds, and return their manifest rows."""
    videos = short_plans(count, split)
    write_files(videos, str(folder))
    return [manifest_row(video) for video in videos]


def short_plans(count: int, split: str = "test") -> list[StandinVideo]:
    """Plan videos of two seconds, each with what it is made for first."""
    planned = [CORPUS.video(split, index) for index in range(count)]
    return [replace(v, num_frames=VIDEO_S * v.fps, events=v.events[:1], codec="libx264", suffix="mp4") for v in planned]


def write_broken(folder: Path) -> None:
    """Write three files that no run can label."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("Nothing to see here.\n" * 30, encoding="utf-8")
    (folder / "zeros.mkv").write_bytes(bytes(2000))


def write_manifest(folder: Path, counts: dict[str, int]) -> Path:
    """Write so many labelled videos of each split, and the manifest beside them."""
    rows = [row for split, count in counts.items() for row in write_videos(folder, count, split)]
    path = folder / "manifest.jsonl"
    manifest.write_manifest(str(path), rows)
    return path


def digests(folder: Path, *names: str) -> dict[str, str]:
    """Hash every file of a folder, or of the named folders in it, by its path."""
    roots = [folder / name for name in names] or [folder]
    files = [path for root in roots for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
