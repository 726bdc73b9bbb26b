"""What a report points at: damaged videos, files with the same bytes, and videos that look alike to the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import storage, tables
from pipelines.embedding_duplicates import NearDuplicates, near_duplicates

MAX_DAMAGED = 1_000
MAX_SAME_GROUPS = 100
MAX_SAME_IDS = 20
MAX_PAIRS = 24
MAX_COMPARED = 10_000
"""Videos that are compared with each other; of more, a sample."""
_KEY_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Frames that could not be decoded, and were replaced or mended.

    Attributes:
        num_frames: How many, in all videos.
        num_videos: In how many videos.
        frames: How many in each video, the most damaged first; at most ``MAX_DAMAGED`` videos.
    """

    num_frames: int = 0
    num_videos: int = 0
    frames: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SameFiles:
    """Videos with the very same bytes.

    Attributes:
        num_groups: How many different files are there more than once.
        num_videos: How many videos these are.
        groups: Their ids, largest groups first; at most ``MAX_SAME_GROUPS`` groups of ``MAX_SAME_IDS`` ids.
    """

    num_groups: int = 0
    num_videos: int = 0
    groups: list[list[str]] = field(default_factory=list)


def read_damage(output: str) -> Damage:
    """Add up the damaged frames of each video over its clips.

    Raises:
        OutputError: a table is damaged or has another schema version.
    """
    frames: Counter[str] = Counter()
    for table in _tables(output, "predictions", ["video_id", "num_substituted"]):
        hurt = table.filter(pc.greater(table["num_substituted"], 0))
        for video_id, num in zip(hurt["video_id"].to_pylist(), hurt["num_substituted"].to_pylist(), strict=True):
            frames[video_id] += num
    worst = sorted(frames.items(), key=lambda item: (-item[1], item[0]))[:MAX_DAMAGED]
    return Damage(num_frames=frames.total(), num_videos=len(frames), frames=dict(worst))


def read_same_files(output: str) -> SameFiles:
    """Find labelled videos with the same content hash.

    Raises:
        OutputError: a table is damaged or has another schema version.
    """
    keys = [_keys(table) for table in _tables(output, "labels", ["sha256"])]
    values, counts = np.unique(np.concatenate([np.zeros(0, np.uint64), *keys]), return_counts=True)
    repeated = values[counts > 1]
    if not repeated.size:
        return SameFiles()
    ids: dict[str, list[str]] = {}
    for table in _tables(output, "labels", ["video_id", "sha256"]):
        found = table.filter(pa.array(np.isin(_keys(table), repeated)))
        for video_id, sha256 in zip(found["video_id"].to_pylist(), found["sha256"].to_pylist(), strict=True):
            ids.setdefault(sha256, []).append(video_id)
    groups = sorted((sorted(group) for group in ids.values() if len(group) > 1), key=lambda g: (-len(g), g))
    return SameFiles(
        num_groups=len(groups),
        num_videos=sum(map(len, groups)),
        groups=[group[:MAX_SAME_IDS] for group in groups[:MAX_SAME_GROUPS]],
    )


def read_near_duplicates(output: str) -> NearDuplicates:
    """Compare the embeddings of the videos, or of an even sample where there are very many, one for each content.

    Raises:
        OutputError: a table is damaged or has another schema version.
    """
    kept: list[pa.Table] = []
    stride, num_seen, num_kept = 1, 0, 0
    for table in _tables(output, "labels", ["video_id", "sha256", "embedding"]):
        rows = table.replace_schema_metadata(None).append_column(
            "position", pa.array(range(num_seen, num_seen + len(table)), pa.int64())
        )
        kept.append(_every(rows, stride))
        num_seen, num_kept = num_seen + len(table), num_kept + len(kept[-1])
        while num_kept > MAX_COMPARED:
            stride *= 2
            kept = [_every(pa.concat_tables(kept), stride)]
            num_kept = len(kept[0])
    if not kept:
        return NearDuplicates()
    sample = pa.concat_tables(kept)
    _, first_N = np.unique(np.array(sample["sha256"].to_pylist(), np.str_), return_index=True)
    once = sample.take(pa.array(first_N))
    return near_duplicates(once["video_id"].to_pylist(), tables.matrix(once["embedding"]), max_pairs=MAX_PAIRS)


def _every(table: pa.Table, stride: int) -> pa.Table:
    return table.filter(pa.array(table["position"].to_numpy() % stride == 0))


def _keys(table: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Return the first 64 bits of each content hash: enough to tell which are worth a closer look."""
    texts = table["sha256"].to_pylist()
    return np.array([int(text[:_KEY_DIGITS], 16) for text in texts], np.uint64)


def _tables(output: str, name: str, columns: list[str]) -> Iterator[pa.Table]:
    folder = storage.join(output, name)
    for file in storage.names_in(folder):
        if file.endswith(".parquet") and not file.startswith("."):
            yield tables.read_table(storage.join(folder, file), columns)
