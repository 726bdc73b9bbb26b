"""Embeddings of labelled videos, read from the output tables a few parts at a time, and the nearest of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fal_model.errors import ConfigError
from pipelines import label_parts, tables
from pipelines.exporters.source import Part, Source

PARTS_AT_ONCE = 64
"""Parts that are read together, and whose embeddings are in memory at one time."""
NUM_READERS = 8
DIGITS = 5
"""Cosines are told and ordered in so many digits: the last bits depend on the machine."""
SHOWN = ["video_id", "uri", "top_label", "top_score", "duration_s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """One video that was found: how alike it is, and what it was labelled as."""

    video_id: str
    cosine: float
    uri: str
    top_label: str
    top_score: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of labels, ``SHOWN`` and whatever else was asked for, with their embeddings at unit length or zero."""

    rows: pa.Table
    unit_ND: npt.NDArray[np.float32]


def read_blocks(source: Source, columns: Sequence[str] = (), parts: Sequence[Part] | None = None) -> Iterator[Block]:
    """Read the labels of a run, some parts at a time, in the order of its parts.

    Args:
        source: The run.
        columns: Columns of labels besides those that are shown.
        parts: Which parts; None for all.

    Raises:
        OutputError: a table is damaged.
    """
    wanted = [*SHOWN, *columns, "embedding"]
    remaining = iter(source.parts if parts is None else parts)
    with ThreadPoolExecutor(NUM_READERS, thread_name_prefix="fal-embeddings") as pool:
        while chunk := list(islice(remaining, PARTS_AT_ONCE)):
            uris = [label_parts.table_uri(source.place, "labels", part.name) for part in chunk]
            table = pa.concat_tables(pool.map(lambda uri: tables.read_table(uri, wanted), uris))
            yield Block(table.drop_columns(["embedding"]), unit(tables.matrix(table["embedding"])))


def unit(rows_ND: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Give rows unit length; a row of zeros, or with a value that is no number, becomes zeros and is like nothing."""
    clean_ND = np.where(np.isfinite(rows_ND).all(axis=1, keepdims=True), rows_ND, 0).astype(np.float32)
    lengths_N1 = np.linalg.norm(clean_ND, axis=1, keepdims=True)
    return (clean_ND / np.where(lengths_N1 > 0, lengths_N1, 1)).astype(np.float32)


class Nearest:
    """The videos nearest to a query among all that were shown to it; the same whatever their order.

    Args:
        query_D: Embedding, of any length above zero.
        k: How many to keep, ≥ 1.
        without: A video that is not to be found: the one that is asked about.

    Raises:
        ConfigError: the query is zero or no number; nothing is near it.
    """

    def __init__(self, query_D: npt.NDArray[np.float32], k: int, without: str = "") -> None:
        (self._query_D,) = unit(np.asarray(query_D, np.float32)[None])
        if not self._query_D.any():
            raise ConfigError(["search: the embedding asked about is zero or holds no numbers, so nothing is near it"])
        self._k = k
        self._without = without
        self._found: list[Neighbour] = []

    def add(self, block: Block) -> None:
        """Look at some videos more.

        Raises:
            ConfigError: their embeddings are of another width than the query.
        """
        if block.unit_ND.shape[1] != len(self._query_D):
            text = f"search: the embedding asked about has {len(self._query_D)} numbers, those of the labels have "
            raise ConfigError([text + f"{block.unit_ND.shape[1]}; they are of another model"])
        cosines_N = np.round((block.unit_ND @ self._query_D).astype(np.float64), DIGITS)
        cosines_N[~block.unit_ND.any(axis=1)] = -np.inf
        lowest = self._found[-1].cosine if len(self._found) == self._k else -2.0
        candidates = np.flatnonzero(cosines_N >= lowest)
        if len(candidates) > 2 * self._k:  # ties with the last one stay: which of them counts is decided by their ids
            kth = np.partition(cosines_N[candidates], -self._k - 1)[-self._k - 1]
            candidates = candidates[cosines_N[candidates] >= kth]
        rows = block.rows.select(SHOWN).take(pa.array(candidates)).to_pylist()
        found = [
            Neighbour(cosine=float(cosine), **row) for row, cosine in zip(rows, cosines_N[candidates], strict=True)
        ]
        kept = [n for n in (*self._found, *found) if n.video_id != self._without]
        self._found = sorted(kept, key=lambda n: (-n.cosine, n.video_id))[: self._k]

    def found(self) -> list[Neighbour]:
        """Return the nearest, most alike first, then by id."""
        return list(self._found)


def embedding_of(source: Source, video_id: str) -> npt.NDArray[np.float32] | None:
    """Return the embedding of one labelled video at unit length, None if it has no row of labels."""
    at = pc.index(source.manifest["video_id"], video_id).as_py()
    part = next((p for p in source.parts if p.start <= at < p.start + p.size), None)
    if part is None:
        return None
    for block in read_blocks(source, parts=[part]):
        row = pc.index(block.rows["video_id"], video_id).as_py()
        if row >= 0:
            found_D: npt.NDArray[np.float32] = block.unit_ND[row]
            return found_D
    return None


def embedding_of_label(source: Source, label: str) -> tuple[npt.NDArray[np.float32], int]:
    """Average the embeddings of the videos that carry a class, each weighted by the score of that class.

    So the middle of a class is where the model is sure of it; an inner class takes in all classes below it.

    Returns:
        The average, and over how many videos; zeros and 0 where no video carries the class.
    """
    sum_D, num_videos = np.zeros(0), 0
    for block in read_blocks(source, ["labels"]):
        entries = block.rows["labels"].combine_chunks()
        flat = entries.flatten()
        is_label = pc.equal(pc.struct_field(flat, "label"), label).to_numpy(zero_copy_only=False)
        owners = pc.list_parent_indices(entries).to_numpy()[is_label]
        scores = pc.struct_field(flat, "score").to_numpy(zero_copy_only=False)[is_label]
        part_D = scores.astype(np.float64) @ block.unit_ND[owners].astype(np.float64)
        sum_D = part_D if not len(sum_D) else sum_D + part_D
        num_videos += len(owners)
    return sum_D.astype(np.float32), num_videos
