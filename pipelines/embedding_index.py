"""An index over the embeddings of a labelling run, for more videos than are compared one by one in good time.

It only names candidates: these are then read from the tables and compared exactly, so a cosine is never an estimate.
See docs/adr/0009-search-index.md for the library and the kind of index.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fal_model.errors import ConfigError, OutputError
from fal_model.spec import content_id
from pipelines.embeddings import Block, read_blocks
from pipelines.exporters.source import Source

_LOG = logging.getLogger(__name__)
FORMAT = 1
PREFIX = "index-"
ROWS_PER_CELL = 40
"""Embeddings per cell that the cells are learned from; the library warns below 39."""
SEED = 0


@dataclass(frozen=True, slots=True)
class EmbeddingIndex:
    """An index in memory, and which rows its numbers stand for.

    Attributes:
        library: The index of the library.
        starts: Number of the first row of each part, and of all rows.
    """

    library: Any  # the library's own type is only there where it is installed
    starts: npt.NDArray[np.int64]

    def candidates(self, source: Source, query_D: npt.NDArray[np.float32], count: int, num_probes: int) -> Block:
        """Read the rows that are probably nearest.

        Args:
            source: The run that the index was made of.
            query_D: Embedding at unit length.
            count: How many rows.
            num_probes: Cells that are looked into; more find more and take longer.
        """
        self.library.nprobe = num_probes
        numbers = self.library.search(query_D[None].astype(np.float32), count)[1][0]
        numbers = np.sort(numbers[numbers >= 0])
        owners = np.searchsorted(self.starts, numbers, side="right") - 1
        parts = np.unique(owners)
        # Where the rows of each of these parts begin when they are read one after the other.
        begins = np.concatenate([[0], np.cumsum(np.diff(self.starts)[parts])])
        places = begins[np.searchsorted(parts, owners)] + numbers - self.starts[owners]
        tables, rows, start = [], [], 0
        for block in read_blocks(source, parts=[source.parts[int(part)] for part in parts]):
            mine = places[(places >= start) & (places < start + len(block.unit_ND))] - start
            tables.append(block.rows.take(pa.array(mine)))
            rows.append(block.unit_ND[mine])
            start += len(block.unit_ND)
        return Block(pa.concat_tables(tables), np.concatenate(rows))


def library() -> Any:
    """Import the library.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import faiss
    except ImportError:
        text = "search: so many videos are searched with an index, which takes the extra 'fal-video[index]' (faiss-cpu)"
        raise ConfigError([f"{text}; install it, or set search.exact_rows to more than there are videos"]) from None
    return faiss


def index_folder(source: Source, folder: Path) -> Path:
    """Return where the index of a run is kept: by what its rows are, so that other rows never meet an old index."""
    return folder / f"{PREFIX}{content_id([FORMAT, source.key.label_id, [part.name for part in source.parts]])}"


def open_index(source: Source, folder: Path) -> EmbeddingIndex | None:
    """Read the index of a run, None if there is none yet.

    Raises:
        ConfigError: the library is not installed.
        OutputError: the index is damaged.
    """
    place = index_folder(source, folder)
    if not place.is_dir():
        return None
    faiss = library()
    try:
        counts = json.loads((place / "rows.json").read_text(encoding="utf-8"))
        found = faiss.read_index(str(place / "embeddings.faiss"))
    except (OSError, ValueError, RuntimeError) as error:
        raise OutputError(f"the search index {str(place)!r} is damaged ({error}); delete it") from None
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    if len(counts) != len(source.parts) or found.ntotal != starts[-1]:
        raise OutputError(f"the search index {str(place)!r} is of other rows; delete it")
    return EmbeddingIndex(found, starts)


def build_index(source: Source, folder: Path, report: Callable[[int], None]) -> EmbeddingIndex:
    """Make the index of a run and keep it; it appears whole or not at all, and those of other rows go.

    A folder that cannot be written, as that of a read-only run, costs the time of the next search and not this one.

    Args:
        source: The run.
        folder: Where indices are kept.
        report: Told how many videos are in it.

    Raises:
        ConfigError: the library is not installed.
    """
    faiss = library()
    sample_ND = _sample(source)
    num_cells = _num_cells(source.num_videos, len(sample_ND))
    made = faiss.index_factory(sample_ND.shape[1], f"IVF{num_cells},SQ8", faiss.METRIC_INNER_PRODUCT)
    made.cp.seed = SEED
    made.train(sample_ND)
    counts: list[int] = []
    for part in source.parts:
        (block,) = read_blocks(source, parts=[part])
        made.add(block.unit_ND)
        counts.append(len(block.unit_ND))
        report(made.ntotal)
    _keep(faiss, made, counts, index_folder(source, folder))
    return EmbeddingIndex(made, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def _num_cells(num_rows: int, num_sampled: int) -> int:
    """Choose about the square root of the rows, as a power of two, if the sample is large enough for so many."""
    wanted = 1 << round(math.log2(max(1.0, math.sqrt(num_rows))))
    return max(1, min(wanted, num_sampled // ROWS_PER_CELL))


def _sample(source: Source) -> npt.NDArray[np.float32]:
    """Take whole parts by chance, until there are enough rows to learn the cells from."""
    wanted = ROWS_PER_CELL * _num_cells(source.num_videos, ROWS_PER_CELL * source.num_videos)
    order = np.random.default_rng(SEED).permutation(len(source.parts))
    taken, num_rows = [], 0
    for number in order:
        (block,) = read_blocks(source, parts=[source.parts[int(number)]])
        taken.append(block.unit_ND)
        num_rows += len(block.unit_ND)
        if num_rows >= wanted:
            break
    return np.concatenate(taken)


def _keep(faiss: Any, made: Any, counts: list[int], place: Path) -> None:
    unfinished = place.with_name(f".{place.name}-{uuid.uuid4().hex[:8]}")
    try:
        unfinished.mkdir(parents=True)
        faiss.write_index(made, str(unfinished / "embeddings.faiss"))
        (unfinished / "rows.json").write_text(json.dumps(counts), encoding="utf-8")
        unfinished.rename(place)
    except (OSError, RuntimeError) as error:
        if not place.is_dir():  # else another search has made the same one in the meantime
            _LOG.warning("the search index is not kept, the next search makes it again: %s", error)
        return
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    for other in place.parent.glob(f"{PREFIX}*"):
        if other != place:
            shutil.rmtree(other, ignore_errors=True)
