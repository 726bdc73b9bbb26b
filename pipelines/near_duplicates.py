"""Find videos that share pictures, among millions, without comparing each with each.

The 63 bits of a hash are cut into nine blocks of seven. Two hashes that differ in at most six bits agree in at least
three whole blocks, so hashes are sorted by each choice of three blocks (there are 84) and only those that fall together
are compared: a handful among millions. What is found is exactly what comparing everything would find, but for pictures
that very many videos share; there each is compared with so many others only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

BLOCK_BITS = 7
NUM_BLOCKS = 9
MAX_DISTANCE = 6
"""Bits in which hashes may differ so that three blocks are sure to agree."""
MAX_SHARED = 64
"""Videos with the very same picture that are compared each with each; of more, each with the next one only."""
MAX_TOGETHER = 1024
"""Pictures that agree in three blocks, as those of empty streets at night may, with which one is compared."""
CHUNK = 1 << 21
"""Comparisons in memory at a time."""
NONE = 255
"""A distance that no two hashes have."""


@dataclass(frozen=True, slots=True)
class LikeVideos:
    """Two videos that show the same.

    Attributes:
        first: Number of the one.
        second: Number of the other, higher.
        num_matches: Pictures of each that have a like one in the other.
        distance: Bits by which these differ, on average.
    """

    first: int
    second: int
    num_matches: int
    distance: float


def like_videos(hashes: Hashes, owners: Ints, max_distance: int, min_share: float) -> list[LikeVideos]:
    """Find all pairs of videos that share enough pictures.

    Args:
        hashes: Hash of each picture of every video, 63 bits.
        owners: Number of the video that each belongs to, from 0, not falling.
        max_distance: Bits in which like pictures may differ, 0 to ``MAX_DISTANCE``.
        min_share: Part of the pictures, of the video that has fewer, that must have a like one; and never less than two
            pictures, unless it has only one.

    Returns:
        The pairs, in order.

    Raises:
        ValueError: a distance that the search is not made for.
    """
    if not 0 <= max_distance <= MAX_DISTANCE:
        raise ValueError(f"like_videos: got max_distance {max_distance}, must be 0 to {MAX_DISTANCE}")
    table = _Table(hashes, owners)
    pairs = _candidates(hashes, owners, max_distance)
    found: list[LikeVideos] = []
    step = max(1, CHUNK // max(1, table.width**2))
    for start in range(0, len(pairs), step):
        found += _check(table, pairs[start : start + step], max_distance, min_share)
    return found


class _Table:
    """The hashes with a row for each video."""

    def __init__(self, hashes: Hashes, owners: Ints) -> None:
        num_videos = int(owners[-1]) + 1 if len(owners) > 0 else 0
        column = np.arange(len(owners)) - np.searchsorted(owners, owners)
        self.width = int(column.max(initial=-1)) + 1
        self.hashes_VP = np.zeros((num_videos, self.width), np.uint64)
        self.is_there_VP = np.zeros((num_videos, self.width), np.bool_)
        self.hashes_VP[owners, column] = hashes
        self.is_there_VP[owners, column] = True


def _candidates(hashes: Hashes, owners: Ints, max_distance: int) -> Ints:
    """Return the pairs of videos that have at least one like picture, ``N x 2``, in order, each once."""
    base = int(owners[-1]) + 1 if len(owners) > 0 else 1
    values, place = np.unique(hashes, return_inverse=True)
    # A video's own repeats count once.
    value_of, owner = np.divmod(np.unique(place.astype(np.int64) * base + owners), base)
    starts = np.searchsorted(value_of, np.arange(len(values) + 1))
    found = [np.zeros(0, np.int64)]
    for pairs in (*_chains(owner, starts), *_crossed(owner, starts, _like_values(values, max_distance))):
        low, high = np.sort(pairs, axis=1).T
        found.append(np.unique((low * base + high)[low != high]))
    return np.stack(np.divmod(np.unique(np.concatenate(found)), base), axis=1)


def _chains(owner: Ints, starts: Ints) -> Iterator[Ints]:
    """Pair each video with the next one of those that have a picture in common with too many others."""
    for value in np.flatnonzero(np.diff(starts) > MAX_SHARED):
        group = owner[starts[value] : starts[value + 1]]
        yield np.stack([group[:-1], group[1:]], axis=1)


def _crossed(owner: Ints, starts: Ints, like: Iterator[Ints]) -> Iterator[Ints]:
    """Pair the videos that have a value with those that have a like one."""
    counts = np.minimum(np.diff(starts), MAX_SHARED)
    for pairs in like:
        ours, theirs = pairs.T
        ends = np.cumsum(counts[ours] * counts[theirs])
        for row, back in _spread(ends):
            at = counts[ours[row]] * counts[theirs[row]] - back
            width = counts[theirs[row]]
            yield np.stack([owner[starts[ours[row]] + at // width], owner[starts[theirs[row]] + at % width]], axis=1)


def _like_values(values: Hashes, max_distance: int) -> Iterator[Ints]:
    """Yield pairs of places of values within the distance, each pair once; first every value with itself."""
    yield np.stack([np.arange(len(values))] * 2, axis=1)
    for blocks in combinations(range(NUM_BLOCKS), NUM_BLOCKS - MAX_DISTANCE):
        keys = _key(values, blocks)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        after = np.arange(1, len(keys) + 1)
        stop = np.minimum(np.searchsorted(keys, keys, side="right"), after + MAX_TOGETHER)
        for row, back in _spread(np.cumsum(stop - after)):
            yield _within(values, order[row], order[stop[row] - back], blocks, max_distance)


def _key(values: Hashes, blocks: tuple[int, ...]) -> Ints:
    key = np.zeros(len(values), np.int64)
    for block in blocks:
        key = (key << BLOCK_BITS) | _block(values, block)
    return key


def _block(values: Hashes, block: int) -> Ints:
    part = (values >> np.uint64(block * BLOCK_BITS)) & np.uint64((1 << BLOCK_BITS) - 1)
    return part.astype(np.int64)


def _spread(ends: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Count through rows that have several members, so many members at a time.

    Args:
        ends: Members up to the end of each row.

    Yields:
        The row of each member, and how many members, itself included, are left in that row.
    """
    total = int(ends[-1]) if len(ends) > 0 else 0
    for begin in range(0, total, CHUNK):
        flat = np.arange(begin, min(total, begin + CHUNK))
        row = np.searchsorted(ends, flat, side="right").astype(np.int64)
        yield row, ends[row] - flat


def _within(values: Hashes, left: Ints, right: Ints, blocks: tuple[int, ...], max_distance: int) -> Ints:
    """Keep the pairs within the distance, unless an earlier choice of blocks has them."""
    differing = values[left] ^ values[right]
    is_like = np.bitwise_count(differing) <= max_distance
    left, right, differing = left[is_like], right[is_like], differing[is_like]
    is_first = np.ones(len(left), np.bool_)
    for block in range(blocks[-1]):
        if block not in blocks:
            is_first &= _block(differing, block) != 0
    return np.stack([left[is_first], right[is_first]], axis=1)


def _check(table: _Table, pairs: Ints, max_distance: int, min_share: float) -> list[LikeVideos]:
    first, second = pairs.T
    is_pair = table.is_there_VP[first][:, :, None] & table.is_there_VP[second][:, None, :]
    distances = np.bitwise_count(table.hashes_VP[first][:, :, None] ^ table.hashes_VP[second][:, None, :])
    distances = np.where(is_pair, distances, NONE)
    of_first, of_second = distances.min(axis=2), distances.min(axis=1)
    matches_first, matches_second = of_first <= max_distance, of_second <= max_distance
    num_matches = np.minimum(matches_first.sum(1), matches_second.sum(1))
    fewer = np.minimum(table.is_there_VP[first].sum(1), table.is_there_VP[second].sum(1))
    needed = np.maximum(np.ceil(min_share * fewer), np.minimum(2, fewer))
    total = np.where(matches_first, of_first, 0).sum(1, dtype=np.int64)
    mean = total / np.maximum(1, matches_first.sum(1))
    return [
        LikeVideos(int(first[i]), int(second[i]), int(num_matches[i]), float(mean[i]))
        for i in np.flatnonzero(num_matches >= needed)
    ]
