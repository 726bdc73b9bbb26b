"""From the parts of a scan to what users take away: the clean manifest, the duplicates, and what leaks between splits.

Reads columns, never whole rows of all videos: about 1.5 kB of memory for each video, most of it while pictures are
compared.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fal_model.errors import OutputError
from fal_model.taxonomy import Taxonomy
from pipelines import parts, storage, tables
from pipelines.config import Duplicates, ScanConfig
from pipelines.near_duplicates import LikeVideos, like_videos
from pipelines.records import DUPLICATES, MANIFEST
from pipelines.scan_groups import Alike, find_alike, first_with
from pipelines.scan_job import ScanCounts

COLUMNS = ["video_id", "sha256", "duration_s", "picture_hashes"]
NO_SPLIT = ""
SAME, NEAR, GROUP = "same_bytes", "near", "group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """One thing that is in more than one split.

    Attributes:
        kind: ``same_bytes``, ``near`` (a cluster) or ``group``.
        name: The group, or the first video.
        splits: How many of its videos are in each split.
        video_ids: One of each split; of near-duplicates the likest two of different splits.
        distance: Bits by which the pictures of these two differ.
    """

    kind: str
    name: str
    splits: dict[str, int]
    video_ids: list[str]
    distance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Files with the very same bytes and different labels."""

    sha256: str
    labels: dict[str, list[str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Videos that are the same, or nearly; ``distance`` is that of the least like pair that joined them."""

    video_ids: list[str]
    splits: list[str]
    num_near: int
    distance: float


@dataclass(slots=True, kw_only=True)
class ScanSummary:
    """What a scan found out about a corpus as a whole.

    Attributes:
        usable: Videos that can be used.
        kept: Those in the clean manifest.
        dropped: Those left out as copies, byte for byte.
        same_bytes: Files that have the bytes of an earlier one.
        near_pairs: Pairs of videos that show nearly the same.
        clusters: Sets of such videos, those that cross splits first.
        groups_joined: Groups of the manifest that became one with another.
        leaks: What is in more than one split, worst first.
        conflicts: The same bytes under different labels.
        classes: Videos of each class in each split, of the clean manifest.
        splits: Videos of each split, of the clean manifest.
        unlabelled: Videos of the clean manifest of which nobody said what they show.
        unknown_labels: Labels of videos or segments that the taxonomy does not know, and how many have them.
        empty_classes: Leaves of the taxonomy that no video has.
    """

    usable: int = 0
    kept: int = 0
    dropped: int = 0
    same_bytes: int = 0
    near_pairs: int = 0
    clusters: list[Cluster] = field(default_factory=list)
    groups_joined: int = 0
    leaks: list[Leak] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    unlabelled: int = 0
    unknown_labels: dict[str, int] = field(default_factory=dict)
    empty_classes: list[str] = field(default_factory=list)


def summarise(output: str, config: ScanConfig, taxonomy: Taxonomy | None) -> ScanSummary:
    """Make the clean manifest and the table of duplicates of a finished scan, and say what was found.

    Raises:
        OutputError: a table cannot be read or is none of this scan, or the output cannot be written.
    """
    videos = tables.read_folder(storage.join(output, "videos"), COLUMNS)
    manifest = tables.read_table(parts.manifest_uri(output))
    if videos is None:  # there was no part at all
        videos = pa.table({name: [] for name in COLUMNS})
    rows = manifest.filter(pc.is_in(manifest["video_id"], value_set=videos["video_id"].cast(pa.string())))
    ids, sha256 = rows["video_id"].to_pylist(), videos["sha256"].to_pylist()
    _check_same_order(output, ids, videos["video_id"].to_pylist())
    near = near_pairs(videos["picture_hashes"], sha256, config)
    alike = find_alike(ids, sha256, near, rows["group"].to_pylist())
    is_copy = alike.first_same != np.arange(len(ids))
    is_kept = ~is_copy if config.duplicates == Duplicates.DROP else np.ones(len(ids), np.bool_)
    filled = {
        "duration_s": videos["duration_s"],
        "sha256": videos["sha256"],
        "group": pa.array(alike.groups, pa.string()),
    }
    clean = pa.table([filled.get(name, rows[name]) for name in MANIFEST.names], schema=MANIFEST)
    kept = clean.filter(pa.array(is_kept))
    tables.write_table(storage.join(output, "manifest.parquet"), kept)
    splits = [split or NO_SPLIT for split in rows["split"].to_pylist()]
    _write_duplicates(output, ids, splits, alike, is_dropped=~is_kept)
    summary = ScanSummary(
        usable=len(ids),
        kept=kept.num_rows,
        dropped=len(ids) - kept.num_rows,
        same_bytes=int(is_copy.sum()),
        near_pairs=len(near),
        clusters=_clusters(ids, splits, alike),
        groups_joined=alike.num_joined,
        leaks=_leaks(ids, splits, alike, rows["group"].to_pylist()),
        conflicts=_conflicts(ids, sha256, alike, rows["labels"].to_pylist()),
    )
    _count_classes(summary, kept, taxonomy)
    return summary


def _check_same_order(output: str, wanted: Sequence[str], found: Sequence[str]) -> None:
    """Refuse tables of scanned videos that are not in the order of the manifest: rows are joined by place."""
    for number, (mine, theirs) in enumerate(zip_longest(wanted, found)):
        if mine != theirs:
            raise OutputError(
                f"{storage.join(output, 'videos')!r}: row {number}: got the video {theirs!r}, must be {mine!r} as in "
                "the manifest; these are not the tables that the scan wrote: delete the folder and scan again"
            )


def near_pairs(column: pa.ChunkedArray, sha256: Sequence[str], config: ScanConfig) -> list[LikeVideos]:
    """Compare the pictures of all different files; those without a hash show nothing and are like nothing."""
    hashes = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    owners, values = pc.list_parent_indices(hashes), pc.list_flatten(hashes)
    is_there = pc.is_valid(values).to_numpy(zero_copy_only=False)
    owner = owners.to_numpy(zero_copy_only=False).astype(np.int64)
    is_first = first_with(sha256) == np.arange(len(sha256))
    wanted = is_there & is_first[owner]
    flat = pc.fill_null(values, 0).to_numpy(zero_copy_only=False).astype(np.uint64)
    return like_videos(flat[wanted], owner[wanted], config.max_distance, config.min_share)


def _write_duplicates(
    output: str, ids: Sequence[str], splits: Sequence[str], alike: Alike, *, is_dropped: np.ndarray[Any, Any]
) -> None:
    copies = np.flatnonzero(alike.first_same != np.arange(len(ids)))
    pairs: list[tuple[str, int, int, int | None, float | None]] = [
        (SAME, int(n), int(alike.first_same[n]), None, None) for n in copies
    ]
    pairs += [(NEAR, p.second, p.first, p.num_matches, p.distance) for p in alike.near]
    rows = [
        {
            "kind": kind,
            "video_id": ids[number],
            "like_id": ids[like],
            "num_matches": matches,
            "distance": distance,
            "split": splits[number] or None,
            "like_split": splits[like] or None,
            "is_dropped": bool(is_dropped[number]),
        }
        for kind, number, like, matches, distance in pairs
    ]
    tables.write_table(storage.join(output, "duplicates.parquet"), pa.Table.from_pylist(rows, schema=DUPLICATES))


def _members(roots: Sequence[Any]) -> dict[Any, list[int]]:
    """Return the numbers of each set of more than one."""
    sets: dict[Any, list[int]] = defaultdict(list)
    for number, root in enumerate(roots):
        if root is not None:
            sets[root].append(number)
    return {root: numbers for root, numbers in sets.items() if len(numbers) > 1}


def _clusters(ids: Sequence[str], splits: Sequence[str], alike: Alike) -> list[Cluster]:
    near: dict[int, list[float]] = defaultdict(list)
    for pair in alike.near:
        near[int(alike.clusters[pair.first])].append(pair.distance)
    found = [
        Cluster(
            video_ids=[ids[n] for n in numbers],
            splits=[splits[n] for n in numbers],
            num_near=len(near[root]),
            distance=max(near[root], default=0.0),
        )
        for root, numbers in _members(alike.clusters.tolist()).items()
    ]
    return sorted(found, key=lambda c: (-len(set(c.splits) - {NO_SPLIT}), -len(c.video_ids), c.distance))


def _leaks(ids: Sequence[str], splits: Sequence[str], alike: Alike, given: Sequence[str | None]) -> list[Leak]:
    found = [
        _leak(SAME, ids[root], numbers, ids, splits) for root, numbers in _members(alike.first_same.tolist()).items()
    ]
    found += _near_leaks(ids, splits, alike)
    groups = [_leak(GROUP, name, numbers, ids, splits) for name, numbers in _members(given).items()]
    found += sorted(groups, key=lambda leak: -sum(leak.splits.values()))
    return [leak for leak in found if len(leak.splits) > 1]


def _near_leaks(ids: Sequence[str], splits: Sequence[str], alike: Alike) -> list[Leak]:
    """Make one leak of each cluster, and show the likest pair of two splits; the likest clusters first."""
    nearest: dict[int, LikeVideos] = {}
    for pair in sorted(alike.near, key=lambda p: (p.distance, -p.num_matches)):
        if NO_SPLIT not in {splits[pair.first], splits[pair.second]} and splits[pair.first] != splits[pair.second]:
            nearest.setdefault(int(alike.clusters[pair.first]), pair)
    members = _members(alike.clusters.tolist())
    leaks = []
    for root, pair in nearest.items():
        leak = _leak(NEAR, ids[root], members[root], ids, splits, pair.distance)
        leaks.append(replace(leak, video_ids=[ids[pair.first], ids[pair.second]]))
    return leaks


def _leak(
    kind: str,
    name: str,
    numbers: Sequence[int],
    ids: Sequence[str],
    splits: Sequence[str],
    distance: float | None = None,
) -> Leak:
    counts = Counter(splits[n] for n in numbers if splits[n] != NO_SPLIT)
    firsts = {splits[n]: ids[n] for n in reversed(numbers)}  # one of each split, to be shown side by side
    shown = sorted({i for split, i in firsts.items() if split != NO_SPLIT})
    return Leak(kind=kind, name=name, splits=dict(sorted(counts.items())), video_ids=shown, distance=distance)


def _conflicts(
    ids: Sequence[str], sha256: Sequence[str], alike: Alike, labels: Sequence[list[str] | None]
) -> list[Conflict]:
    found = []
    for root, numbers in _members(alike.first_same.tolist()).items():
        if len({None if labels[n] is None else frozenset(labels[n] or ()) for n in numbers}) > 1:
            found.append(Conflict(sha256=sha256[root], labels={ids[n]: labels[n] for n in numbers}))
    return found


def _count_classes(summary: ScanSummary, kept: pa.Table, taxonomy: Taxonomy | None) -> None:
    splits = pc.fill_null(kept["split"], NO_SPLIT)
    summary.splits = dict(sorted(Counter(splits.to_pylist()).items()))
    summary.unlabelled = kept["labels"].null_count
    labels = kept["labels"].combine_chunks()
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    of_label = splits.take(pc.list_parent_indices(labels)).to_pylist()
    for label, split in zip(pc.list_flatten(labels).to_pylist(), of_label, strict=True):
        classes[label][split] += 1
    ordered = sorted(classes, key=lambda label: (-classes[label].total(), label))
    summary.classes = {label: dict(sorted(classes[label].items())) for label in ordered}
    if taxonomy is not None:
        timed = pc.struct_field(pc.list_flatten(kept["segments"].combine_chunks()), "label").to_pylist()
        used = Counter({label: classes[label].total() for label in ordered})
        used.update({label: count for label, count in Counter(timed).items() if label not in used})
        summary.unknown_labels = {label: count for label, count in used.items() if label not in taxonomy}
        leaves = [taxonomy.nodes[i].id for i in taxonomy.leaves]
        summary.empty_classes = [leaf for leaf in leaves if leaf not in classes]


def counts_of(counts: Sequence[ScanCounts], found: ScanSummary) -> dict[str, Any]:
    """Add up the parts, for ``summary.json``.

    Raises:
        ArithmeticError: the counts do not add up.
    """
    kinds: Counter[str] = Counter()
    for part in counts:
        kinds.update(part.failures_by_kind)
    seen, failed = sum(c.seen for c in counts), sum(c.failed for c in counts)
    if seen != found.usable + failed or found.usable != found.kept + found.dropped:
        raise ArithmeticError(
            f"seen {seen} is not usable {found.usable} (kept {found.kept} + dropped {found.dropped}) + failed {failed}"
        )
    leaks = Counter(leak.kind for leak in found.leaks)
    return {
        "seen": seen,
        "usable": found.usable,
        "failed": failed,
        "failures_by_kind": dict(sorted(kinds.items())),
        "kept": found.kept,
        "duplicates_dropped": found.dropped,
        "same_bytes": found.same_bytes,
        "near_duplicate_pairs": found.near_pairs,
        "clusters": len(found.clusters),
        "groups_joined": found.groups_joined,
        "leaks": {kind: leaks[kind] for kind in (SAME, NEAR, GROUP)},
        "conflicting_labels": len(found.conflicts),
        "videos_by_split": found.splits,
        "classes": len(found.classes),
        "unlabelled": found.unlabelled,
        "unknown_labels": found.unknown_labels,
        "classes_without_videos": len(found.empty_classes),
    }
