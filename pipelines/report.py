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
from pipelines.embedding_duplicates import MIN_COSINE
from pipelines.report_data import MAX_FAILURES_PER_KIND, MAX_VIDEOS, ReportData, Truth, read_report_data
from pipelines.report_rows import label_tree, page_data

__all__ = ["Truth", "write_report"]

METRIC_NAMES = {
    "top1": "Top-1",
    "top5": "Top-5",
    "map": "mAP",
    "segmentmap": "Segment mAP",
    "ece": "Calibration error (ECE)",
    "recallat1": "Recall@1 of embeddings",
    "recallat5": "Recall@5 of embeddings",
    "keptshare": "Kept",
    "kepttop1": "Top-1 of what is kept",
}
METRIC_NOTES = {
    "top1": "best label is true",
    "top5": "one of the five best is true",
    "map": "mean over classes",
    "segmentmap": "when it happens, not only what",
    "recallat1": "the nearest other video has a label in common",
    "recallat5": "one of the five nearest has",
    "ece": "lower is better",
    "keptshare": "not abstained from: the model is sure",
    "kepttop1": "best label is true",
}
FULLY_BUSY = 0.7
"""A stage that works for a smaller share of the run than this does not hold it up."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One number at the top of the page."""

    name: str
    value: str
    note: str = ""
    style: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """How long one stage worked.

    Attributes:
        share: Share of the time of the run that its workers were busy; where the summary does not say, its working
            time compared with that of the stage that worked longest.
    """

    name: str
    facts: str
    share: float
    is_share_of_run: bool
    chart: Markup
    is_bottleneck: bool


def write_report(
    output: str,
    title: str,
    summary: dict[str, Any],
    taxonomy: Taxonomy,
    truth: Truth | None = None,
    *,
    max_videos: int = MAX_VIDEOS,
    settings: Mapping[str, Any] | None = None,
) -> str:
    """Write ``report.html`` for a finished labelling run.

    Args:
        output: Folder of the run, local or ``s3://``.
        title: Headline of the page.
        summary: What ``summary.json`` holds; what is missing is shown as a dash.
        taxonomy: The model's label tree.
        truth: What is known about the videos; adds the section on how good the labels are.
        max_videos: About how many videos are listed one by one; all are counted.
        settings: What the run was asked to do, by section, as it is to be shown.

    Returns:
        The address of the page.

    Raises:
        OutputError: a table cannot be read, or the page cannot be written.
    """
    data = read_report_data(output, truth, max_videos)
    target = storage.join(output, "report.html")
    storage.write_bytes(
        target, _render(data, title, summary, taxonomy, truth, settings or {}).encode("utf-8", "replace")
    )
    return target


def _render(
    data: ReportData,
    title: str,
    summary: Mapping[str, Any],
    taxonomy: Taxonomy,
    truth: Truth | None,
    settings: Mapping[str, Any],
) -> str:
    stages = _stages(summary)
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
        stages=stages,
        bottleneck=_bottleneck(stages),
        facts=_facts(summary),
        versions=_versions(data, summary),
        settings=_settings(settings),
        near=_near(data),
        truth=truth,
        metrics=_metrics(truth, well_known=True),
        more_metrics=[(tile.name, tile.value) for tile in _metrics(truth, well_known=False)],
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
    damage = data.damage
    return [
        Tile(
            "Videos seen",
            page.count(seen),
            f"{page.time(data.total_duration_s)} of video" if data.total_duration_s else "",
        ),
        Tile(
            "Labelled",
            page.count(labelled),
            f"{labelled / seen:.1%} of all" if labelled and seen else "",
            "good" if labelled else "",
        ),
        Tile("Failed", page.count(failed), share, "bad" if failed else ""),
        Tile(
            "Not sure",
            page.count(data.num_abstained),
            f"{data.num_abstained / data.num_labelled:.1%} of the labelled" if data.num_labelled else "",
            "warm" if data.num_abstained else "",
        ),
        Tile(
            "Damaged frames",
            page.count(damage.num_frames),
            f"in {page.count(damage.num_videos)} video{'s' * (damage.num_videos != 1)}" if damage.num_videos else "",
            "warm" if damage.num_frames else "",
        ),
        Tile("Clips", page.count(_number(summary, "clips"))),
        Tile("Wall time", page.time(_number(summary, "wall_s"))),
        Tile(
            "Videos per second",
            page.rate(_number(summary, "videos_per_s") or None),
            "nothing was left to do" if summary.get("parts_done_now") == 0 else "end to end",
        ),
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
            "certain ones, the best and the least certain one of each label, those with pictures, damage or a double, "
            "and an even sample of the rest."
        )
    if len(data.pictures) < data.num_pictured:
        notes.append(f"Of {data.num_pictured:,} videos with key frames, {len(data.pictures):,} are shown with them.")
    return notes


def _near(data: ReportData) -> str:
    """Say how many pairs of videos look alike, and among how many; nothing where there are none."""
    near = data.near
    if not near.pairs:
        return ""
    few = f", of which {len(near.pairs):,} are shown" if len(near.pairs) < near.num_pairs else ""
    pairs = f"{near.num_pairs:,} pair{'s' * (near.num_pairs != 1)}"
    sample = ", a sample" if near.num_compared < data.num_labelled - data.same.num_videos else ""
    return f"{pairs} with a cosine of {MIN_COSINE} or more{few}; {near.num_compared:,} videos were compared{sample}"


def _stages(summary: Mapping[str, Any]) -> list[Stage]:
    stages = summary.get("stages")
    figures = stages.values() if isinstance(stages, Mapping) else ()
    longest_s = max((_number(v, "busy_s") or 0.0 for v in figures if isinstance(v, Mapping)), default=0.0)
    rows = []
    for name, found in stages.items() if isinstance(stages, Mapping) else ():
        values = found if isinstance(found, Mapping) else {}  # a stage without figures
        busy_s, of_run = _number(values, "busy_s") or 0.0, _number(values, "busy_share")
        share = of_run if of_run is not None else busy_s / longest_s if longest_s else 0.0
        # The stage with most work holds the run up only where it was at work all the time.
        is_bottleneck = name == summary.get("bottleneck") and (of_run is None or of_run >= FULLY_BUSY)
        chart = charts.bar(share, style="strong" if is_bottleneck else "")
        rows.append(Stage(str(name), _stage_facts(values), share, of_run is not None, chart, is_bottleneck))
    return rows


def _stage_facts(values: Mapping[str, Any]) -> str:
    busy_s, rate, workers = (_number(values, n) for n in ("busy_s", "videos_per_busy_s", "workers"))
    facts = [
        f"{page.count(workers)} worker{'s' * (workers != 1)}" if workers else "",
        f"{page.time(busy_s)} of work" if busy_s is not None else "",
        f"{page.rate(rate)} videos per second of work" if rate is not None else "",
    ]
    return " · ".join(fact for fact in facts if fact)


def _bottleneck(stages: list[Stage]) -> str:
    """Say what held the run up, as far as the stages tell."""
    known = [stage for stage in stages if stage.is_share_of_run]
    if not known:
        return ""
    busiest = max(known, key=lambda stage: stage.share)
    if busiest.share < FULLY_BUSY:
        return (
            f"No stage was busy for more than {busiest.share:.0%} of the time: starting up, waiting for storage or a "
            "corpus too small for so many workers held the run up."
        )
    return f"{busiest.name} held the run up: its workers were busy {busiest.share:.0%} of the time."


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List what the labels were made with."""
    ids = ((name.removesuffix("_id"), summary.get(name)) for name in ("model_id", "taxonomy_id", "pipeline_id"))
    return [(name, str(value)) for name, value in ids if value is not None]


def _versions(data: ReportData, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List what ran: of the driver what the summary says, of the workers what the tables say."""
    told = summary.get("versions")
    found = {str(name): str(value) for name, value in told.items()} if isinstance(told, Mapping) else {}
    if data.receipt:
        workers = data.receipt.decoding | data.receipt.prediction
        found |= {name: ", ".join(values) for name, values in workers.items()}
    return list(found.items())


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List settings as they are written on the command line."""
    rows = []
    for section, values in settings.items():
        pairs = values.items() if isinstance(values, Mapping) else [("", values)]
        rows += [(f"{section}.{name}".rstrip("."), str(value)) for name, value in pairs]
    return rows


def _metrics(truth: Truth | None, *, well_known: bool) -> list[Tile]:
    """Name the measured scores that people know, whatever way their names are written; or all the others."""
    if truth is None:
        return []
    known = list(METRIC_NAMES)
    plain = {name: re.sub(r"[^a-z0-9]", "", name.lower()) for name in truth.metrics}
    wanted = [name for name in plain if (plain[name] in known) == well_known]
    ordered = sorted(wanted, key=lambda name: known.index(plain[name])) if well_known else wanted
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
