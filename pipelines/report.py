"""The page that a labelling run leaves behind: one self-contained file for people, safe to open with hostile videos.

Names and messages come from strangers' files. The template escapes them, the script only ever writes text nodes, and
the page's content security policy allows exactly one script and no address outside the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from fal_model.taxonomy import Taxonomy
from pipelines import charts, page, storage
from pipelines.report_data import MAX_FAILURES_PER_KIND, ReportData, Truth, label_tree, page_data, read_report_data

__all__ = ["Truth", "write_report"]

METRIC_NAMES = {
    "top1": "Top-1",
    "top5": "Top-5",
    "map": "mAP",
    "segmentmap": "Segment mAP",
    "ece": "Calibration error (ECE)",
    "keptshare": "Kept",
    "kepttop1": "Top-1 of what is kept",
}
METRIC_NOTES = {
    "top1": "best label is true",
    "top5": "one of the five best is true",
    "map": "mean over classes",
    "segmentmap": "when it happens, not only what",
    "ece": "lower is better",
    "keptshare": "not abstained from: the model is sure",
    "kepttop1": "best label is true",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One number at the top of the page."""

    name: str
    value: str
    note: str = ""
    style: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """How long one stage worked; ``chart`` compares it with the stage that worked longest."""

    name: str
    facts: str
    chart: Markup
    is_bottleneck: bool


def write_report(
    output: str, title: str, summary: dict[str, Any], taxonomy: Taxonomy, truth: Truth | None = None
) -> str:
    """Write ``report.html`` for a finished labelling run.

    Args:
        output: Folder of the run, local or ``s3://``.
        title: Headline of the page.
        summary: What ``summary.json`` holds; what is missing is shown as a dash.
        taxonomy: The model's label tree.
        truth: What is known about the videos; adds the section on how good the labels are.

    Returns:
        The address of the page.

    Raises:
        OutputError: a table cannot be read, or the page cannot be written.
    """
    data = read_report_data(output, truth)
    target = storage.join(output, "report.html")
    storage.write_bytes(target, _render(data, title, summary, taxonomy, truth).encode("utf-8", "replace"))
    return target


def _render(data: ReportData, title: str, summary: Mapping[str, Any], taxonomy: Taxonomy, truth: Truth | None) -> str:
    return page.render(
        "report.html",
        ["report.css"],
        "report.js",
        title=title,
        bar=charts.bar,
        data=data,
        num_leaves=len(taxonomy.leaves),
        num_leaves_found=sum(data.num_top[taxonomy.nodes[i].id] > 0 for i in taxonomy.leaves),
        tiles=_tiles(data, summary),
        notes=_notes(data, summary),
        stages=_stages(summary),
        facts=_facts(summary),
        truth=truth,
        metrics=_metrics(truth),
        confusions=_confusions(truth, taxonomy),
        reliability=charts.reliability(truth.reliability) if truth and truth.reliability else "",
        histogram=charts.histogram(data.bins, data.wrong_bins, "score of the top label"),
        tree=label_tree(data, taxonomy),
        max_failures=MAX_FAILURES_PER_KIND,
        page_data=page.script_json(page_data(data, taxonomy, truth)),
        pictures=page.script_json(data.pictures),
    )


def _tiles(data: ReportData, summary: Mapping[str, Any]) -> list[Tile]:
    labelled = _number(summary, "labelled", data.num_labelled)
    failed = _number(summary, "failed", data.num_failed)
    seen = _number(summary, "seen", data.num_labelled + data.num_failed)
    share = f"{failed / seen:.1%} of all" if failed and seen else ""
    notes = [f"{labelled / seen:.1%} of all"] if labelled and seen else []
    notes += [f"not sure of {page.count(data.num_abstained)}"] if data.num_abstained else []
    return [
        Tile(
            "Videos seen",
            page.count(seen),
            f"{page.time(data.total_duration_s)} of video" if data.total_duration_s else "",
        ),
        Tile(
            "Labelled",
            page.count(labelled),
            ", ".join(notes),
            "good" if labelled else "",
        ),
        Tile("Failed", page.count(failed), share, "bad" if failed else ""),
        Tile("Clips", page.count(_number(summary, "clips"))),
        Tile("Wall time", page.time(_number(summary, "wall_s"))),
        Tile("Videos per second", page.rate(_number(summary, "videos_per_s")), "end to end"),
    ]


def _notes(data: ReportData, summary: Mapping[str, Any]) -> list[str]:
    """Say what a reader could otherwise get wrong."""
    notes = [
        f"The run's summary counts {summary[name]} {name} videos, its tables hold {held}."
        for name, held in (("labelled", data.num_labelled), ("failed", data.num_failed))
        if summary.get(name, held) != held
    ]
    if len(data.videos) < data.num_labelled:
        notes.append(
            f"All counts cover {data.num_labelled:,} videos; {len(data.videos):,} of them are listed below: the least "
            "certain ones, those with pictures, and an even sample of the rest."
        )
    return notes


def _stages(summary: Mapping[str, Any]) -> list[Stage]:
    stages = summary.get("stages")
    figures = stages.values() if isinstance(stages, Mapping) else ()
    longest_s = max((_number(v, "busy_s") or 0.0 for v in figures if isinstance(v, Mapping)), default=0.0)
    rows = []
    for name, found in stages.items() if isinstance(stages, Mapping) else ():
        values = found if isinstance(found, Mapping) else {}  # a stage without figures
        busy_s = _number(values, "busy_s")
        share = busy_s / longest_s if busy_s is not None and longest_s else None
        rate = _number(values, "videos_per_busy_s")
        facts = [
            f"{page.time(busy_s)} of work" if busy_s is not None else "",
            f"{page.rate(rate)} videos per second of work" if rate is not None else "",
        ]
        is_bottleneck = name == summary.get("bottleneck")
        chart = charts.bar(share or 0.0, style="strong" if is_bottleneck else "")
        rows.append(Stage(str(name), " · ".join(f for f in facts if f), chart, is_bottleneck))
    return rows


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List what the labels were made with."""
    ids = [(name.removesuffix("_id"), summary.get(name)) for name in ("model_id", "taxonomy_id", "pipeline_id")]
    versions = summary.get("versions")
    pairs = [*ids, *(versions.items() if isinstance(versions, Mapping) else ())]
    return [(str(name), str(value)) for name, value in pairs if value is not None]


def _metrics(truth: Truth | None) -> list[Tile]:
    """Name the measured scores; the well-known ones come first, whatever way their names are written."""
    if truth is None:
        return []
    known = list(METRIC_NAMES)
    plain = {name: re.sub(r"[^a-z0-9]", "", name.lower()) for name in truth.metrics}
    ordered = sorted(plain, key=lambda name: known.index(plain[name]) if plain[name] in known else len(known))
    return [
        Tile(METRIC_NAMES.get(plain[n], n), _metric(truth.metrics[n]), METRIC_NOTES.get(plain[n], "")) for n in ordered
    ]


def _metric(value: float) -> str:
    if not math.isfinite(value):
        return page.DASH
    return f"{value:.1%}" if 0 <= value <= 1 else f"{value:,.4g}"


def _confusions(truth: Truth | None, taxonomy: Taxonomy) -> list[dict[str, Any]]:
    def name(label: str) -> str:
        return taxonomy.nodes[taxonomy.index(label)].name if label in taxonomy else label

    pairs = truth.confusions if truth else []
    most = max((count for _, _, count in pairs), default=1)
    return [
        {"truth": t, "truth_name": name(t), "found": f, "found_name": name(f), "count": n, "bar": charts.bar(n / most)}
        for t, f, n in pairs
    ]


def _number(values: Mapping[str, Any], name: str, default: float | None = None) -> float | None:
    """Read a number that may be missing or not a number."""
    value = values.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else default
