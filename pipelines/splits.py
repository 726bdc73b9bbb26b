"""Splits that keep apart what would leak: videos of one group or one content go whole to one split, classes evenly.

The same manifest gives the same splits on any machine and in any order of rows: everything is ordered by hashes of
video ids. Splits that are given already are kept, so a corpus that grows keeps its old ones.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fal_model.errors import ConfigError, ManifestError
from fal_model.ranges import Range, range_problems

MAX_PROBLEMS = 30
NO_LABEL = ""
"""Videos without any label are divided as if that were a class."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig:
    """How videos are divided.

    Attributes:
        shares: Share of each split, of all videos; together 1.
        cover_units: A class of at least so many units (videos that nothing binds to others, or groups) is put into
            every split, whatever that does to the shares; a smaller class where the shares put it.
        seed: Another seed draws other splits.
        keeps_given: Leave videos where the manifest has put them; False divides all of them anew.
    """

    shares: dict[str, float] = field(default_factory=lambda: {"train": 0.8, "val": 0.1, "test": 0.1})
    cover_units: Annotated[int, Range(ge=2)] = 10
    seed: Annotated[int, Range(ge=0, lt=2**31)] = 0
    keeps_given: bool = True

    def __post_init__(self) -> None:
        problems = range_problems(self) + _share_problems(self.shares)
        if problems:
            raise ConfigError([f"split.{p}" for p in problems])


def _share_problems(shares: Mapping[str, float]) -> list[str]:
    problems = [f"shares.{name}: got {s!r}, must be > 0 and ≤ 1" for name, s in shares.items() if not 0 < s <= 1]
    if "" in shares:
        problems.append("shares: a split needs a name")
    if not problems and not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        problems.append(f"shares: got {dict(shares)}, must be 1 together, not {sum(shares.values()):g}")
    return problems


@dataclass(frozen=True, slots=True)
class Gap:
    """A class that some split has no video of.

    Attributes:
        label: The class.
        num_units: Units that carry it.
        missing: The splits without it.
        reason: Why, for a person.
    """

    label: str
    num_units: int
    missing: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPlan:
    """Where every video goes.

    Attributes:
        split_of: Split of each video, by id.
        counts: Videos of each class in each split; ``NO_LABEL`` are those without a label.
        num_units: Units in all.
        largest_unit: Videos of the largest.
        num_given: Videos whose split was given.
        num_forced: Units put where their class had none yet, and not where the shares would have put them.
        gaps: Classes that are not in every split.
    """

    split_of: dict[str, str]
    counts: dict[str, dict[str, int]]
    num_units: int
    largest_unit: int
    num_given: int
    num_forced: int
    gaps: list[Gap]

    def sizes(self) -> dict[str, int]:
        """Count the videos of each split, by name."""
        return dict(sorted(Counter(self.split_of.values()).items()))


def assign_splits(rows: Sequence[Mapping[str, Any]], config: SplitConfig) -> SplitPlan:
    """Give every row of a manifest a split.

    Rows of one ``group`` or of one ``sha256`` belong together, also by way of others: such a unit goes whole to one
    split. Classes are divided one after the other, the rarest first, each unit to the split that lacks most of its
    class; no unit is put where the shares are reached already unless its class would else be missing there. A given
    split that has no share is kept and takes no part in the shares.

    Args:
        rows: Rows of a manifest, in any order, each id once.
        config: Shares and rules.

    Raises:
        ManifestError: rows that belong together were given different splits; all of them are listed.
    """
    units = _units(rows, config)
    table = _Table(units, config)
    for unit in units:
        if unit.given is not None:
            table.put(unit, unit.given)
    table.divide([unit for unit in units if unit.given is None])
    split_of = {video_id: unit.split for unit in units for video_id in unit.video_ids}
    return SplitPlan(
        split_of=dict(sorted(split_of.items())),
        counts={label: dict(sorted(found.items())) for label, found in sorted(table.videos.items())},
        num_units=len(units),
        largest_unit=max((unit.size for unit in units), default=0),
        num_given=sum(unit.size for unit in units if unit.given is not None),
        num_forced=table.num_forced,
        gaps=table.gaps(),
    )


@dataclass(slots=True)
class _Unit:
    """Videos that belong together; ``key`` orders units, ``labels`` counts their videos of each class."""

    key: bytes
    video_ids: list[str]
    labels: Counter[str]
    given: str | None
    split: str = ""

    @property
    def size(self) -> int:
        return len(self.video_ids)


def _units(rows: Sequence[Mapping[str, Any]], config: SplitConfig) -> list[_Unit]:
    members: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row, root in zip(rows, _roots(rows), strict=True):
        members[root].append(row)
    units: list[_Unit] = []
    problems: list[str] = []
    for found in members.values():
        given = {str(row["split"]): row["video_id"] for row in _by_id(found, reverse=True) if row["split"]}
        if config.keeps_given and len(given) > 1:
            where = ", ".join(f"{video_id!r} to {split!r}" for split, video_id in sorted(given.items()))
            problems.append(f"{len(found)} videos of one group or content were given different splits: {where}")
        units.append(
            _Unit(
                key=min(_hash(config.seed, row["video_id"]) for row in found),
                video_ids=[row["video_id"] for row in _by_id(found)],
                labels=Counter(label for row in found for label in _labels(row)),
                given=min(given) if config.keeps_given and given else None,
            )
        )
    if problems:
        more = [f"… and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        raise ManifestError(sorted(problems)[:MAX_PROBLEMS] + more)
    return sorted(units, key=lambda unit: (-unit.size, unit.key))


def _by_id(rows: Iterable[Mapping[str, Any]], *, reverse: bool = False) -> list[Mapping[str, Any]]:
    return sorted(rows, key=lambda row: str(row["video_id"]), reverse=reverse)


def _hash(seed: int, video_id: str) -> bytes:
    return hashlib.sha256(f"{seed}/{video_id}".encode()).digest()


def _labels(row: Mapping[str, Any]) -> set[str]:
    return {*(row["labels"] or []), *(s["label"] for s in row["segments"] or [])} or {NO_LABEL}


def _roots(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Name the unit of each row by one of its rows: those joined by a group or a content, also by way of others."""
    parent = list(range(len(rows)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, row in enumerate(rows):
        for name, value in (("group", row["group"]), ("sha256", (row["sha256"] or "").lower())):
            if value:
                parent[root(i)] = root(first.setdefault((name, value), i))
    return [root(i) for i in range(len(rows))]


class _Table:
    """How full each split is, in all and of each class, while units are put."""

    def __init__(self, units: Sequence[_Unit], config: SplitConfig) -> None:
        self.shares, self.cover_units = config.shares, config.cover_units
        self.names = sorted(self.shares, key=lambda name: (-self.shares[name], name))
        self.total, self.filled = 0, Counter[str]()
        self.videos: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.num_forced = 0
        self._label_total: Counter[str] = Counter()
        self._units: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._num_units: Counter[str] = Counter()
        self._num_open: Counter[str] = Counter()
        for unit in units:
            if unit.given is None or unit.given in self.shares:
                self.total += unit.size
                self._label_total.update(unit.labels)
            self._num_units.update(unit.labels.keys())
            self._num_open.update(unit.labels.keys())

    def put(self, unit: _Unit, split: str) -> None:
        """Put a unit into a split."""
        unit.split = split
        self.filled[split] += unit.size
        for label, count in unit.labels.items():
            self.videos[label][split] += count
            self._units[label][split] += 1
            self._num_open[label] -= 1

    def divide(self, units: Sequence[_Unit]) -> None:
        """Put units, in their order, class by class, always the class with the fewest units left."""
        of_label: defaultdict[str, list[_Unit]] = defaultdict(list)
        for unit in units:
            for label in unit.labels:
                of_label[label].append(unit)
        waiting = [(self._num_open[label], label) for label in of_label]
        heapq.heapify(waiting)
        while waiting:
            num_open, label = heapq.heappop(waiting)
            if num_open != self._num_open[label]:
                continue  # an older entry; a newer one is there too
            touched: set[str] = set()
            for unit in of_label[label]:
                if not unit.split:
                    self.put(unit, self._choose(unit, label))
                    touched.update(unit.labels)
            for other in touched:
                if self._num_open[other]:
                    heapq.heappush(waiting, (self._num_open[other], other))

    def _choose(self, unit: _Unit, label: str) -> str:
        open_names = [n for n in self.names if self.filled[n] < self.shares[n] * self.total] or self.names
        lack = self._lack(unit, label)
        best = max(open_names, key=lambda name: lack[name])
        main = self.names[0]
        if self._num_units[label] < self.cover_units and not self._units[label][main] and main in open_names:
            best = main  # a class too small for every split is learnt before it is tested
        for other in sorted(unit.labels, key=lambda x: (self._num_open[x], x)):
            missing = self._missing(other)
            is_due = self._num_units[other] >= self.cover_units and self._num_open[other] <= len(missing)
            if is_due and best not in missing:
                self.num_forced += 1
                return max(missing, key=lambda name: lack[name])
        return best

    def _missing(self, label: str) -> list[str]:
        return [name for name in self.names if not self._units[label][name]]

    def _lack(self, unit: _Unit, label: str) -> dict[str, float]:
        """Return how many videos of a class each split still lacks; what it lacks of the others counts a little too.

        Without the latter, three videos each of many classes would all go to the largest split.
        """
        of_label, total = self.videos[label], self._label_total[label]
        others = {name: self.filled[name] - of_label[name] for name in self.names}
        num_others = sum(others.values())
        found = {}
        for name, share in self.shares.items():
            behind = share * num_others - others[name]
            found[name] = share * total - of_label[name] + max(-unit.size, min(unit.size, behind))
        return found

    def gaps(self) -> list[Gap]:
        """List the classes that a split with a share has nothing of."""
        found = []
        for label, num_units in sorted(self._num_units.items()):
            missing = self._missing(label)
            if label == NO_LABEL or not missing:
                continue
            if num_units < len(self.names):
                reason = f"{num_units} units for {len(self.names)} splits"
            elif num_units < self.cover_units:
                reason = f"fewer than split.cover_units ({self.cover_units}) units"
            else:
                reason = "given splits, or other labels of the same videos, left none"
            found.append(Gap(label, num_units, tuple(missing), reason))
        return found
