"""JSON Lines: everything there is of a video in one line, as in a row of the tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from pipelines import storage
from pipelines.exporters.about import About, Write
from pipelines.exporters.text import json_text
from pipelines.exporters.video import Video

FILE = "videos.jsonl"


@contextmanager
def writing(folder: str, about: About) -> Iterator[Write]:
    """Write ``videos.jsonl``; a video that failed has ``failure`` instead of labels."""
    ids = {"model_id": about.model_id, "taxonomy_id": about.taxonomy_id, "pipeline_id": about.pipeline_id}
    with storage.writing(storage.join(folder, FILE)) as file:
        yield lambda video: _write(file, video, ids, has_embedding=about.config.has_embeddings)


def _write(file: Any, video: Video, ids: dict[str, str], *, has_embedding: bool) -> None:
    row = failed(video) if video.failure is not None else labelled(video) | ids
    if has_embedding and video.failure is None:
        row["embedding"] = video.embedding
    file.write((json_text(row) + "\n").encode())


def failed(video: Video) -> dict[str, Any]:
    """Return the line of a video that could not be labelled."""
    failure = None if video.failure is None else asdict(video.failure)
    return {"video_id": video.video_id, "uri": video.uri, "split": video.split, "failure": failure}


def labelled(video: Video) -> dict[str, Any]:
    """Return the line of a video, without embedding and hashes of the model."""
    labels = [{"label": x.label, "path": x.path, "level": x.level, "score": x.score} for x in video.labels]
    return {
        "video_id": video.video_id,
        "uri": video.uri,
        "split": video.split,
        "sha256": video.sha256,
        "duration_s": video.duration_s,
        "top_label": video.top_label or None,
        "top_path": video.top_path,
        "top_score": video.top_score,
        "is_abstained": video.is_abstained,
        "labels": labels,
        "segments": [asdict(segment) for segment in video.segments],
        "num_segments_left_out": video.num_segments_left_out,
        "frame_times_s": video.frame_times_s,
        "coverage": video.coverage,
    }
