"""What tests of exporters share: videos of our choice, and writing them in a format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fal_model.taxonomy import Taxonomy
from pipelines.exporters.about import About, Writing
from pipelines.exporters.settings import ExportConfig
from pipelines.exporters.video import Failure, Label, Segment, Video
from tests.helpers.report_folder import TAXONOMY

ODD_IDS = (
    "a/b c.mp4",
    "comma, \"quote\" 'apostrophe'.mp4",
    "line\nbreak\r\ttab.mp4",
    "Ünï/çødé 映像 🎬.mp4",
    '=HYPERLINK("http://x").mp4',
    "<b>&amp;--> .mp4",
    "../../etc/passwd",
    "50%/x?y#z+w&v=1.mp4",
)
"""Ids that break formats."""


def about(taxonomy: Taxonomy | None = TAXONOMY, **settings: Any) -> About:
    """Tell a format about a run."""
    config = ExportConfig(**settings)
    return About(model_id="m1", taxonomy_id="t1", pipeline_id="p1", taxonomy=taxonomy, config=config)


def label(name: str = "run", score: float = 0.75) -> Label:
    """Make a label with its path."""
    return Label(name, tuple(TAXONOMY.path(TAXONOMY.index(name))), score)


def video(video_id: str = "a.mp4", *labels: Label, segments: Sequence[Segment] = (), **changes: Any) -> Video:
    """Make a labelled video of ten seconds."""
    found = labels or (label("sport", 0.875), label("run"))
    values: dict[str, Any] = {
        "uri": f"/videos/{video_id}",
        "sha256": "0" * 64,
        "duration_s": 10.0,
        "top_label": "run",
        "top_path": ("sport", "run"),
        "top_score": 0.75,
        "coverage": 1.0,
    }
    return Video(video_id=video_id, labels=found, segments=tuple(segments), **values | changes)


def failed(video_id: str = "z.mp4", kind: str = "corrupt", message: str = "damaged", **changes: Any) -> Video:
    """Make a video that could not be labelled."""
    return Video(video_id=video_id, uri=f"/videos/{video_id}", failure=Failure("decode", kind, message, 1), **changes)


def written(writing: Writing, folder: Path, videos: Sequence[Video], told: About | None = None) -> dict[str, str]:
    """Write videos in a format and return the files by name."""
    with writing(str(folder), told or about()) as write:
        for one in videos:
            write(one)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes().decode() for path in files}
