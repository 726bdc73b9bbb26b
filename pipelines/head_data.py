"""Stored embeddings beside what is true of their clips: what a head is fitted to, calibrated and measured on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fal_model.batch import multi_hot
from fal_model.errors import ConfigError
from fal_model.head_fitting import Examples
from fal_model.taxonomy import Taxonomy
from pipelines import label_parts, part_pool, tables
from pipelines.clip_truth import clip_truth
from pipelines.relabelling import StoredRun
from pipelines.splits import SplitConfig, assign_splits

SPLITS = ("train", "val", "test")
COLUMNS = ["video_id", "frame_times_s", "embedding"]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadData:
    """Clips of a stored run whose classes a manifest tells.

    Attributes:
        examples: Clips by split; a split that has none is not there.
        num_videos: Videos by split.
        num_unknown: Labelled videos of the manifest that the run has no predictions of.
        num_unlabelled: Videos of the manifest whose classes are not known.
        num_left_out: Clips left out because there are too many.
    """

    examples: dict[str, Examples]
    num_videos: dict[str, int]
    num_unknown: int
    num_unlabelled: int
    num_left_out: int


@dataclass(frozen=True, slots=True)
class Clips:
    """What was decoded of a video, and into how many clips."""

    sha256: str
    num_clips: int


def read_examples(
    stored: StoredRun, manifest: pa.Table, taxonomy: Taxonomy, split: SplitConfig, max_clips: int
) -> HeadData:
    """Read the embeddings of every labelled video, and divide the videos.

    Videos that were given a split keep it; copies of one file stay together.

    Args:
        stored: The run.
        manifest: What is true, by ``video_id``.
        taxonomy: Classes of the labels.
        split: How videos without a split are divided.
        max_clips: Clips of one split that are taken at most.

    Raises:
        ConfigError: no video of the run is labelled, or no clips are left to fit or to calibrate.
        ManifestError: copies of one file were given different splits.
        OutputError: predictions are damaged.
    """
    rows = manifest.to_pylist()
    truth = {row["video_id"]: row for row in rows if row["labels"] is not None}
    found = _clips(stored, truth)
    known = _known_rows(truth, found)
    if not known:
        problem = (
            f"--manifest: {len(truth)} of its {len(rows)} videos have labels, and {stored.place!r} has predictions of "
            f"none of them; they are matched by video_id, which is there like {stored.video_ids[0]!r}"
        )
        raise ConfigError([problem])
    split_of = assign_splits(known, split).split_of
    chosen = {name: [row for row in known if split_of[row["video_id"]] == name] for name in SPLITS}
    for name in SPLITS[:2]:
        if not chosen[name]:
            problem = (
                f"--manifest: of the {len(known)} labelled videos that the run has predictions of none is in the split "
                f"{name!r}; train is fitted, val calibrates; give more videos, or their splits"
            )
            raise ConfigError([problem])
    taken = {name: _taken(of_split, found, max_clips) for name, of_split in chosen.items() if of_split}
    embeddings = _read_clips(stored, {video_id: places for of_split in taken.values() for video_id, places in of_split})
    examples = {
        name: _examples(of_split, embeddings, {row["video_id"]: row for row in chosen[name]}, found, taxonomy)
        for name, of_split in taken.items()
    }
    num_clips = sum(found[row["video_id"]].num_clips for row in known)
    return HeadData(
        examples=examples,
        num_videos={name: len(of_split) for name, of_split in chosen.items() if of_split},
        num_unknown=len(truth) - len(known),
        num_unlabelled=len(rows) - len(truth),
        num_left_out=num_clips - sum(map(len, examples.values())),
    )


def _clips(stored: StoredRun, wanted: Collection[str]) -> dict[str, Clips]:
    """Count the clips of each wanted video: without their embeddings, of which there may be more than memory holds."""
    found: dict[str, Clips] = {}
    for table in _each_part(stored, wanted, ["video_id", "sha256"]):
        for name, rows in _by_video(table):
            found[name] = Clips(rows["sha256"][0].as_py(), rows.num_rows)
    return found


def _read_clips(stored: StoredRun, wanted: Mapping[str, list[int]]) -> dict[str, pa.Table]:
    """Return those clips of each wanted video that are wanted."""
    tables_of = _each_part(stored, wanted, COLUMNS)
    return {name: rows.take(wanted[name]) for table in tables_of for name, rows in _by_video(table)}


def _each_part(stored: StoredRun, wanted: Collection[str], columns: list[str]) -> Iterator[pa.Table]:
    """Yield the predictions of the wanted videos, part by part as they come."""
    ids = pa.array(sorted(wanted), pa.string())

    def of_part(place: str, name: str) -> pa.Table:
        table = tables.read_table(label_parts.table_uri(place, "predictions", name), columns)
        return table.filter(pc.is_in(table["video_id"], ids))

    return (table for _, table in part_pool.each_part(of_part, stored.place, stored.names))


def _by_video(table: pa.Table) -> list[tuple[str, pa.Table]]:
    ids = table["video_id"].to_pylist()
    starts = [i for i in range(len(ids)) if not i or ids[i] != ids[i - 1]]
    return [(ids[a], table.slice(a, b - a)) for a, b in pairwise([*starts, len(ids)])]


def _known_rows(truth: Mapping[str, Row], found: Mapping[str, Clips]) -> list[Row]:
    """Return the labelled videos that there are predictions of, by id, with the content that was decoded."""
    return [truth[name] | {"sha256": found[name].sha256} for name in sorted(truth.keys() & found.keys())]


def _taken(rows: Sequence[Row], found: Mapping[str, Clips], max_clips: int) -> list[tuple[str, list[int]]]:
    """Take every nth clip of a split, as many as are allowed: which clips of which videos, in order."""
    counts = [found[row["video_id"]].num_clips for row in rows]
    step = -(-sum(counts) // max_clips)
    starts = np.concatenate([[0], np.cumsum(counts)])
    places = [list(range(int(-start % step), count, step)) for start, count in zip(starts, counts, strict=False)]
    return [(row["video_id"], at) for row, at in zip(rows, places, strict=True) if at]


def _examples(
    taken: Sequence[tuple[str, list[int]]],
    embeddings: Mapping[str, pa.Table],
    truth: Mapping[str, Row],
    found: Mapping[str, Clips],
    taxonomy: Taxonomy,
) -> Examples:
    held: list[list[str]] = []
    weights: list[float] = []
    for video_id, places in taken:
        times = embeddings[video_id]["frame_times_s"].to_pylist()
        held += [clip_truth(truth[video_id], times_s).labels for times_s in times]
        weights += [1 / found[video_id].num_clips] * len(places)
    rows = [tables.matrix(embeddings[video_id]["embedding"]) for video_id, _ in taken]
    return Examples(
        embedding_NE=np.concatenate(rows).astype(np.float32),
        labels_NK=multi_hot([[taxonomy.index(x) for x in labels] for labels in held], taxonomy).numpy(),
        weight_N=np.array(weights, np.float32),
    )
