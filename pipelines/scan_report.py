"""The page that a scan leaves behind: one self-contained file for people, safe to open with hostile videos.

Names and messages come from strangers' files: the template escapes them, and the page has no script at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from fal_model.taxonomy import Taxonomy
from pipelines import charts, page, storage
from pipelines.report import Tile
from pipelines.report_data import MAX_FAILURES_PER_KIND, failure_groups
from pipelines.scan_figures import Figures, read_figures, read_strips
from pipelines.scan_summary import GROUP, NEAR, NO_SPLIT, SAME, Cluster, Leak, ScanSummary

MAX_CLUSTERS = 40
MAX_MEMBERS = 6
OPEN_CLUSTERS = 10
MAX_LEAKS = 200
MAX_PICTURED_LEAKS = 20
MAX_CLASSES = 600
MAX_CONFLICTS = 100
FEW_VIDEOS = 10
LEAK_WORDS = {SAME: "same bytes", NEAR: "nearly the same pictures", GROUP: "one group of the manifest"}
NO_SPLIT_NAME = "no split"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """A class: its name, its videos in each split, and how many that is of the largest class."""

    label: str
    name: str
    is_known: bool
    counts: list[int]
    total: int
    bar: Markup


def write_report(
    output: str,
    title: str,
    summary: Mapping[str, Any],
    found: ScanSummary,
    taxonomy: Taxonomy | None,
    part_videos: int,
) -> str:
    """Write ``report.html`` for a finished scan.

    Args:
        output: Folder of the run, local or ``s3://``.
        title: Headline of the page.
        summary: What ``summary.json`` holds.
        found: What the scan found out about the corpus.
        taxonomy: The label tree, if there is one.
        part_videos: Videos per part.

    Returns:
        The address of the page.

    Raises:
        OutputError: a table cannot be read, or the page cannot be written.
    """
    clusters, leaks = found.clusters[:MAX_CLUSTERS], found.leaks[:MAX_LEAKS]
    pictured = {i for cluster in clusters for i in cluster.video_ids[:MAX_MEMBERS]}
    pictured |= {i for leak in leaks[:MAX_PICTURED_LEAKS] for i in leak.video_ids}
    strips = read_strips(output, pictured, part_videos)
    figures = read_figures(output)
    failures = failure_groups(output)
    splits = [split for split in found.splits if any(split in counts for counts in found.classes.values())]
    text = page.render(
        "scan.html",
        ["report.css", "scan.css"],
        title=title,
        bar=charts.bar,
        distribution=charts.distribution,
        split_name=split_name,
        summary=summary,
        found=found,
        figures=figures,
        tiles=_tiles(summary, figures),
        notes=_notes(found, taxonomy),
        failures=failures,
        max_failures=MAX_FAILURES_PER_KIND,
        splits=splits,
        classes=_classes(found, splits, taxonomy),
        class_tiles=_class_tiles(found, taxonomy),
        clusters=[_shown(cluster) for cluster in clusters],
        leaks=[_leak_row(leak, is_pictured=i < MAX_PICTURED_LEAKS) for i, leak in enumerate(leaks)],
        leak_words=LEAK_WORDS,
        open_clusters=OPEN_CLUSTERS,
        conflicts=found.conflicts[:MAX_CONFLICTS],
        strips={video_id: page.picture(jpeg) for video_id, jpeg in strips.items()},
    )
    target = storage.join(output, "report.html")
    storage.write_bytes(target, text.encode("utf-8", "replace"))
    return target


def split_name(name: str) -> str:
    """Name a split, also the one that is none."""
    return name or NO_SPLIT_NAME


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%} of all" if part and whole else ""


def _tiles(summary: Mapping[str, Any], figures: Figures) -> list[Tile]:
    seen, leaks = summary["seen"], sum(summary["leaks"].values())
    length = f"{page.time(figures.total_s)}, {page.amount(figures.total_bytes, 'B')}" if figures.total_bytes else ""
    return [
        Tile("Videos seen", page.count(seen), length),
        Tile("Usable", page.count(summary["usable"]), _share(summary["usable"], seen), "good"),
        Tile(
            "Failed", page.count(summary["failed"]), _share(summary["failed"], seen), "bad" if summary["failed"] else ""
        ),
        Tile(
            "Same bytes",
            page.count(summary["same_bytes"]),
            f"{summary['duplicates_dropped']:,} dropped" if summary["same_bytes"] else "no file twice",
        ),
        Tile("Near-duplicates", page.count(summary["near_duplicate_pairs"]), "pairs of videos"),
        Tile("Leaks", page.count(leaks), "between splits", "bad" if leaks else "good"),
        Tile("In the manifest", page.count(summary["kept"]), "manifest.parquet"),
    ]


def _notes(found: ScanSummary, taxonomy: Taxonomy | None) -> list[str]:
    """Say what has to be done before anybody trains on this."""
    notes = []
    if found.leaks:
        notes.append(
            f"{len(found.leaks):,} things are in more than one split: a model would be tested on what it has seen."
        )
    if found.conflicts:
        notes.append(f"{len(found.conflicts):,} files are there more than once under different labels.")
    if found.unknown_labels:
        names = ", ".join(list(found.unknown_labels)[:5])
        notes.append(f"{len(found.unknown_labels):,} labels are not in the taxonomy: {names}.")
    if found.groups_joined:
        notes.append(
            f"{found.groups_joined:,} groups of the manifest share videos with another and became one with it."
        )
    if taxonomy is None and found.classes:
        notes.append("Without --taxonomy, labels were not compared with a label tree.")
    return notes


def _classes(found: ScanSummary, splits: list[str], taxonomy: Taxonomy | None) -> list[ClassRow]:
    most = max((sum(counts.values()) for counts in found.classes.values()), default=1)
    rows = []
    for label, counts in list(found.classes.items())[:MAX_CLASSES]:
        is_known = taxonomy is None or label in taxonomy
        name = taxonomy.nodes[taxonomy.index(label)].name if taxonomy is not None and label in taxonomy else label
        total = sum(counts.values())
        shown = [counts.get(split, 0) for split in splits]
        bar = charts.bar(total / most)
        rows.append(ClassRow(label=label, name=name, is_known=is_known, counts=shown, total=total, bar=bar))
    return rows


def _class_tiles(found: ScanSummary, taxonomy: Taxonomy | None) -> list[Tile]:
    totals = sorted(sum(counts.values()) for counts in found.classes.values())
    if not totals:
        return []
    few = sum(total < FEW_VIDEOS for total in totals)
    tiles = [
        Tile("Classes", page.count(len(totals)), f"{found.unlabelled:,} videos without labels"),
        Tile("Largest", page.count(totals[-1]), "videos"),
        Tile("Median", page.count(totals[len(totals) // 2]), "videos"),
        Tile("Smallest", page.count(totals[0]), "videos"),
        Tile("Imbalance", f"{totals[-1] / totals[0]:.3g}×", "largest to smallest"),
        Tile(f"Under {FEW_VIDEOS} videos", page.count(few), "classes", "bad" if few else ""),
    ]
    if taxonomy is not None:
        tiles.append(Tile("Without videos", page.count(len(found.empty_classes)), "leaves of the taxonomy"))
    return tiles


def _shown(cluster: Cluster) -> dict[str, Any]:
    names = sorted(set(cluster.splits) - {NO_SPLIT})
    like = "1 like pair" if cluster.num_near == 1 else f"{cluster.num_near:,} like pairs"
    return {
        "size": len(cluster.video_ids),
        "members": list(zip(cluster.video_ids, cluster.splits, strict=True))[:MAX_MEMBERS],
        "splits": names,
        "is_leak": len(names) > 1,
        "what": f"{like}, up to {cluster.distance:.1f} bits apart" if cluster.num_near else "the same bytes",
    }


def _leak_row(leak: Leak, *, is_pictured: bool) -> dict[str, Any]:
    return {
        "kind": leak.kind,
        "name": leak.name,
        "splits": ", ".join(f"{split} {count:,}" for split, count in leak.splits.items()),
        "video_ids": leak.video_ids,
        "distance": "" if leak.distance is None else f"{leak.distance:.1f} bits",
        "is_pictured": is_pictured,
    }
