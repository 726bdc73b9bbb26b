"""Stored embeddings beside what is true of their clips: what a head is fitted to, calibrated and measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
COLUMNS = ["video_id", "sha256", "frame_times_s", "embedding"]
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
    found = _read_clips(stored, set(truth))
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
    examples, num_left_out = {}, 0
    for name, of_split in chosen.items():
        if of_split:
            examples[name], more = _examples(of_split, found, taxonomy, max_clips)
            num_left_out += more
    return HeadData(
        examples=examples,
        num_videos={name: len(of_split) for name, of_split in chosen.items() if of_split},
        num_unknown=len(truth) - len(known),
        num_unlabelled=len(rows) - len(truth),
        num_left_out=num_left_out,
    )


def _read_clips(stored: StoredRun, wanted: set[str]) -> dict[str, pa.Table]:
    """Return the clips of each wanted video."""
    ids = pa.array(sorted(wanted), pa.string())

    def of_part(place: str, name: str) -> pa.Table:
        table = tables.read_table(label_parts.table_uri(place, "predictions", name), COLUMNS)
        return table.filter(pc.is_in(table["video_id"], ids))

    parts = dict(part_pool.each_part(of_part, stored.place, stored.names))
    return {name: part for table in parts.values() for name, part in _by_video(table)}


def _by_video(table: pa.Table) -> list[tuple[str, pa.Table]]:
    ids = table["video_id"].to_pylist()
    starts = [i for i in range(len(ids)) if not i or ids[i] != ids[i - 1]]
    return [(ids[a], table.slice(a, b - a)) for a, b in pairwise([*starts, len(ids)])]


def _known_rows(truth: Mapping[str, Row], found: Mapping[str, pa.Table]) -> list[Row]:
    """Return the labelled videos that there are predictions of, by id, with the content that was decoded."""
    return [truth[name] | {"sha256": found[name]["sha256"][0].as_py()} for name in sorted(truth.keys() & found.keys())]


def _examples(
    rows: Sequence[Row], found: Mapping[str, pa.Table], taxonomy: Taxonomy, max_clips: int
) -> tuple[Examples, int]:
    embeddings, labels, weights = [], [], []
    for row in rows:
        clips = found[row["video_id"]]
        embeddings.append(tables.matrix(clips["embedding"]))
        labels += [clip_truth(row, times_s).labels for times_s in clips["frame_times_s"].to_pylist()]
        weights += [1 / clips.num_rows] * clips.num_rows
    step = -(-len(weights) // max_clips)
    hot_NK = multi_hot([[taxonomy.index(label) for label in held] for held in labels[::step]], taxonomy).numpy()
    taken = Examples(
        embedding_NE=np.concatenate(embeddings)[::step].astype(np.float32),
        labels_NK=hot_NK,
        weight_N=np.array(weights[::step], np.float32),
    )
    return taken, len(weights) - len(taken)
