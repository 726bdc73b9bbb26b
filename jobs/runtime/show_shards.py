"""Show what is in training shards, on one page."""

from __future__ import annotations

from functools import partial
from typing import Any

from fal_model.errors import ConfigError
from jobs.runtime.cli import DONE, Argument, Outcome
from jobs.runtime.config import FalConfig
from jobs.runtime.progress import Update, progress
from pipelines import shard_page, storage
from pipelines.shard_survey import NO_LABEL, Survey, facts_of, open_sets, read_clip, survey

ARGUMENTS = (
    Argument("input", "folder or s3:// prefix of shards, or one with train, val and test below it"),
    Argument("output", "folder or s3:// prefix for shards.html"),
)


def show_shards(options: dict[str, str], config: FalConfig) -> Outcome:
    """Count what shards hold and write a page with a sample of their clips.

    Raises:
        ConfigError: no shards, shards of different settings, or a label that is none of their classes.
        FalError: the output cannot be written.
    """
    show, output = config.show, storage.absolute(options["output"])
    place = storage.absolute(options["input"])
    sets = open_sets(place)
    spec, tree = facts_of(sets)
    if show.label and show.label not in tree:
        raise ConfigError([f"show.label: got {show.label!r}, which is no class of the shards' taxonomy"])
    storage.check_writable(output)
    surveys: list[Survey] = []
    shares = [show.clips // len(sets) + (i < show.clips % len(sets)) for i in range(len(sets))]
    with progress("reading shards", sum(s.num_clips for s in sets.values()), "clips") as update:
        for (name, shards), share in zip(sets.items(), shares, strict=True):
            before = sum(s.num_clips for s in surveys)
            surveys.append(survey(name, shards, show, share, partial(_tell, update, name, before)))
    rows = [(s.name, read_clip(place)) for s in surveys for place in s.chosen]
    uri = shard_page.write_page(output, options["input"], surveys, rows, spec, tree)
    return Outcome(DONE, _summary(surveys, len(rows)), [*map(_line, surveys), f"page: {uri}"])


def _tell(update: Update, name: str, before: int, done: int) -> None:
    update(before + done, name)


def _line(found: Survey) -> str:
    per_clip = found.file_bytes / max(1, found.num_clips) / 1000
    classes = sum(label != NO_LABEL for label in found.labels)
    return (
        f"{found.name}: {found.num_clips:,} clips of {found.num_videos:,} videos, {classes:,} classes, "
        f"{found.num_shards:,} shards, {per_clip:.1f} kB per clip"
    )


def _summary(surveys: list[Survey], num_shown: int) -> dict[str, Any]:
    return {
        "job": "show_shards",
        "shown": num_shown,
        "splits": {
            s.name: {
                "shards": s.num_shards,
                "videos": s.num_videos,
                "clips": s.num_clips,
                "clips_s": round(s.clips_s, 3),
                "clips_with_timed_labels": s.num_timed,
                "frames": s.num_frames,
                "frames_with_flow": s.num_flows,
                "file_bytes": s.file_bytes,
                "column_bytes": dict(s.column_bytes),
                "clips_by_class": dict(sorted(s.labels.items())),
            }
            for s in surveys
        },
    }
