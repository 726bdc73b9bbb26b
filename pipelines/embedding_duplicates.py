"""Find videos that look alike to the model: pairs of embeddings with a high cosine, by comparing each with each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

MIN_COSINE = 0.999
BLOCK_CELLS = 1 << 20
"""Pairs that are compared at once: what bounds the memory, whatever the number of videos."""
DIGITS = 5
"""Cosines are told and ordered in so many digits: the last bits depend on the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NearDuplicates:
    """Pairs of videos that look alike.

    Attributes:
        pairs: The two ids, in order, and the cosine of their embeddings; most alike first, then by id.
        num_pairs: How many pairs were found; more than are in ``pairs`` where these were limited.
        num_compared: How many videos were compared with each other.
    """

    pairs: list[tuple[str, str, float]] = field(default_factory=list)
    num_pairs: int = 0
    num_compared: int = 0


def near_duplicates(
    video_ids: Sequence[str],
    embeddings_ND: npt.NDArray[np.float32],
    min_cosine: float = MIN_COSINE,
    max_pairs: int = 100,
) -> NearDuplicates:
    """Compare every video with every other one, a block of rows at a time.

    Args:
        video_ids: Ids of the videos.
        embeddings_ND: Their embeddings, of any length above zero; a row of zeros is like nothing.
        min_cosine: Cosine from which on two videos are alike, -1 to 1.
        max_pairs: Most pairs to return.

    Returns:
        The pairs; the same whatever the order of the videos.

    Raises:
        ValueError: there are not as many embeddings as ids.
    """
    if len(video_ids) != len(embeddings_ND):
        raise ValueError(f"embeddings: got {len(embeddings_ND)} for {len(video_ids)} videos, must be one for each")
    order_N = np.argsort(np.array(video_ids, np.str_), kind="stable")
    unit_ND = _unit(np.nan_to_num(embeddings_ND[order_N].astype(np.float32)))
    best, num_pairs = np.zeros((0, 3)), 0
    block_rows = max(1, BLOCK_CELLS // max(1, len(unit_ND)))
    for first in range(0, len(unit_ND), block_rows):
        found = _pairs_from(unit_ND, slice(first, first + block_rows), min_cosine)
        num_pairs += len(found)
        best = _most_alike(np.concatenate([best, found]), max_pairs)
    ids = [video_ids[i] for i in order_N]
    pairs = [(ids[int(a)], ids[int(b)], round(float(cosine), DIGITS)) for a, b, cosine in best]
    return NearDuplicates(pairs=pairs, num_pairs=num_pairs, num_compared=len(ids))


def _unit(rows_ND: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths_N1 = np.linalg.norm(rows_ND, axis=1, keepdims=True)
    return (rows_ND / np.where(lengths_N1 > 0, lengths_N1, 1)).astype(np.float32)


def _pairs_from(unit_ND: npt.NDArray[np.float32], block: slice, min_cosine: float) -> npt.NDArray[np.float64]:
    """Return rows of (number, higher number, rounded cosine) whose lower number lies in one block."""
    first, block_BD = block.start, unit_ND[block]
    cosines_BM = np.round((block_BD @ unit_ND[first:].T).astype(np.float64), DIGITS)
    is_nothing_M: npt.NDArray[np.bool_] = np.logical_not(np.any(unit_ND[first:] != 0, axis=1))
    is_alike_BM = np.triu(cosines_BM >= min_cosine, k=1) & ~is_nothing_M & ~is_nothing_M[: len(block_BD), None]
    rows, columns = np.nonzero(is_alike_BM)
    return np.stack([rows + first, columns + first, cosines_BM[rows, columns]], axis=1)


def _most_alike(pairs_P3: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.float64]:
    kept_P3 = pairs_P3
    if most and len(pairs_P3) > most:  # sorting millions of pairs takes long; most of them are not even candidates
        lowest = np.partition(pairs_P3[:, 2], -most)[-most]
        kept_P3 = pairs_P3[pairs_P3[:, 2] >= lowest]
    order_P = np.lexsort((kept_P3[:, 1], kept_P3[:, 0], -kept_P3[:, 2]))
    return kept_P3[order_P[:most]]
