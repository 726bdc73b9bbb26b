"""Which videos belong together: the same bytes, the same pictures, or what the manifest says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.near_duplicates import LikeVideos

Ints = npt.NDArray[np.int64]
ALIKE = "like:"
"""How the groups begin that a scan has made; the id of their first video follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """What belongs together, by number of the video.

    Attributes:
        first_same: The first video with the same bytes; a video's own number where it is the first.
        near: Pairs of videos, each the first of its bytes, that show the same.
        clusters: The first video of those that are the same or nearly, each video's own number where it is alone.
        groups: Name of the group of each video, clusters and the groups of the manifest joined; None for those alone.
        num_joined: Groups of the manifest that became one with another.
    """

    first_same: Ints
    near: list[LikeVideos]
    clusters: Ints
    groups: list[str | None]
    num_joined: int


def find_alike(
    video_ids: Sequence[str], sha256: Sequence[str], near: Sequence[LikeVideos], given: Sequence[str | None]
) -> Alike:
    """Find out which videos belong together.

    Args:
        video_ids: Ids, rising.
        sha256: Hash of each file.
        near: Pairs of videos that show the same.
        given: Group of each in the manifest.
    """
    first_same = first_with(sha256)
    sets = _Sets(len(video_ids))
    for number, first in enumerate(first_same.tolist()):
        sets.join(first, number)
    for pair in near:
        sets.join(pair.first, pair.second)
    clusters = sets.roots()
    first_of_group: dict[str, int] = {}
    for number, group in enumerate(given):
        if group is not None:
            sets.join(first_of_group.setdefault(group, number), number)
    roots = sets.roots().tolist()
    names: dict[int, str] = {}
    for group, number in first_of_group.items():
        names[roots[number]] = min(names.get(roots[number], group), group)
    num_joined = len(first_of_group) - len(names)
    for root, size in Counter(roots).items():
        if size > 1:
            names.setdefault(root, ALIKE + video_ids[root])
    groups = [names.get(root) for root in roots]
    return Alike(first_same=first_same, near=list(near), clusters=clusters, groups=groups, num_joined=num_joined)


def first_with(values: Sequence[str]) -> Ints:
    """Return for each value where it comes first."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(value, number) for number, value in enumerate(values)], np.int64)


class _Sets:
    """Sets that are joined two at a time; the lowest number stands for its set."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self._find(one), self._find(other)))
        self._parent[high] = low

    def _find(self, number: int) -> int:
        parent = self._parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    def roots(self) -> Ints:
        """Return the lowest number of the set of each."""
        return np.array([self._find(number) for number in range(len(self._parent))], np.int64)
