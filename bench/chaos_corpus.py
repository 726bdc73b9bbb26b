"""A corpus of small videos and a small model for trials that run the whole labelling job many times."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import torch

from fal_model.model import FALModel
from fal_model.presets import preset
from fal_model.spec import ClipSpec
from pipelines.standin import StandinCorpus
from pipelines.standin_classes import standin_taxonomy
from pipelines.standin_files import write_videos

ROOT = Path(__file__).resolve().parents[1]
SPEC = ClipSpec(num_frames=4, size_px=64, flow_size_px=16, window_s=1.0)
BROKEN = {"empty.mp4": b"", "zeros.mkv": bytes(2000), "text.mp4": b"Nothing to see here.\n" * 30}
TABLES = ("labels", "failures", "predictions")
PART_VIDEOS = 4
PIECE_WINDOWS = 4
"""Few enough that some of the videos are shared out among workers."""
CLASSES = 16


def ensure_corpus(work: Path, num_videos: int) -> list[str]:
    """Write videos, damaged files among them, and a model, if they are not there; return the job's command."""
    videos = work / f"videos-{num_videos}"
    if not videos.exists():
        corpus = StandinCorpus(classes=CLASSES, videos_per_class=10 * num_videos, difficulty="easy")
        made = work / "making"
        write_videos([corpus.video("test", index) for index in range(num_videos)], str(made))
        for name, data in BROKEN.items():
            (made / name).write_bytes(data)
        made.rename(videos)
    return job_command(videos, ensure_model(work), PART_VIDEOS)


def ensure_model(work: Path) -> Path:
    """Save a small untrained model, if it is not there, and return its folder."""
    model = work / "model"
    if not model.exists():
        torch.manual_seed(0)
        FALModel(replace(preset("fal-nano"), clip=SPEC), standin_taxonomy(CLASSES)).save_pretrained(model)
    return model


def job_command(videos: Path, model: Path, part_videos: int) -> list[str]:
    """Return the labelling job's command, to which ``--output`` is still to be added."""
    settings = [
        f"label.part_videos={part_videos}",
        f"label.piece_windows={PIECE_WINDOWS}",
        "label.batch_clips=4",
        "tracking.is_enabled=false",
    ]
    script = str(ROOT / "jobs" / "label_corpus.py")
    return [sys.executable, script, "--input", str(videos), "--model", str(model), *settings, "label.threshold=0.05"]


def digests(output: Path) -> dict[str, str]:
    """Hash every file of the output tables by its path."""
    files = [path for table in TABLES for path in sorted((output / table).glob("*.parquet"))]
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
