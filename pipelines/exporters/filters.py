"""Which labels and segments of a video are exported."""

from __future__ import annotations

from dataclasses import replace

from pipelines.exporters.settings import ExportConfig
from pipelines.exporters.video import Label, Video


def filtered(video: Video, config: ExportConfig) -> Video | None:
    """Keep what the settings ask for; None if that is no label at all. Failures always stay.

    First the branches and the lowest score decide, then of the deepest labels the best are taken, with their parents,
    then the levels. A segment stays if its class stays and its own score is high enough.
    """
    if video.failure is not None or not config.has_filter:
        return video
    labels = [found for found in video.labels if _is_wanted(found, config)]
    if config.top_k:
        labels = _best(replace(video, labels=tuple(labels)), config.top_k)
    labels = [found for found in labels if not config.levels or found.level in config.levels]
    if not labels:
        return None
    kept = {found.label for found in labels}
    segments = [s for s in video.segments if s.label in kept and s.score >= config.min_score]
    return replace(video, labels=tuple(labels), segments=tuple(segments))


def _is_wanted(found: Label, config: ExportConfig) -> bool:
    branches = config.branches
    return found.score >= config.min_score and (not branches or not branches.isdisjoint(found.path))


def _best(video: Video, top_k: int) -> list[Label]:
    """Take the best of the deepest labels, and with them the labels above."""
    best = sorted(video.deepest, key=lambda found: (-found.score, found.label))[:top_k]
    kept = {label for found in best for label in found.path}
    return [found for found in video.labels if found.label in kept]
