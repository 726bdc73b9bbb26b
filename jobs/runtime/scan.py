"""Probe every video of a corpus, and leave a clean manifest, tables of what was found, and a report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fal_model.errors import ConfigError
from fal_model.taxonomy import Taxonomy
from jobs.runtime.cli import DONE, TOO_MANY_FAILED, Argument, Outcome, say
from jobs.runtime.config import FalConfig
from jobs.runtime.progress import progress
from jobs.runtime.session import ray_session
from pipelines import manifest, scan_job, scan_report, scan_summary, storage
from pipelines.scan_job import ScanCounts, ScanPlan

ARGUMENTS = (
    Argument("input", "folder, glob, manifest (.parquet, .csv, .jsonl) or s3:// prefix of videos"),
    Argument("output", "folder or s3:// prefix for the clean manifest, tables, summary and report"),
    Argument("taxonomy", "label tree (.yaml, .json, .csv) that the labels are compared with", is_required=False),
    Argument("deep", "decode every frame of every video and count those that are damaged", is_flag=True),
)


def scan_corpus(options: dict[str, str], config: FalConfig) -> Outcome:
    """Scan a corpus; run again after any interruption, it goes on where it stopped.

    Raises:
        ConfigError: input, manifest, taxonomy or settings that cannot be used.
        FalError: the output cannot be written, or a stage broke.
    """
    table, num_hidden = manifest.load_input(options["input"])
    if table.num_rows == 0:
        raise ConfigError([f"--input: {options['input']!r} holds no videos"])
    taxonomy = manifest.read_taxonomy(options["taxonomy"]) if options["taxonomy"] else None
    scan = replace(config.scan, is_deep=True) if options["deep"] else config.scan
    plan = ScanPlan(output=storage.absolute(options["output"]), limits=config.limits, scan=scan)
    num_parts = scan_job.open_output(plan, table)
    before = scan_job.finished(plan.output)
    say(f"{table.num_rows} videos in {num_parts} parts, {len(before)} parts finished before")
    counts = _run(plan, config, table.num_rows, num_parts, before)
    say("comparing pictures, and writing the clean manifest and the report")
    found = scan_summary.summarise(plan.output, scan, taxonomy)
    summary = scan_summary.counts_of(counts, found) | {
        "job": "scan_corpus",
        "hidden_files_skipped": num_hidden,
    }
    is_over = summary["failed"] > scan.max_failed_share * summary["seen"]
    summary["is_over_failed_share"] = is_over
    report_uri = scan_report.write_report(plan.output, options["input"], summary, found, taxonomy, scan.part_videos)
    return Outcome(TOO_MANY_FAILED if is_over else DONE, summary, _lines(summary, plan.output, report_uri, taxonomy))


def _run(
    plan: ScanPlan, config: FalConfig, num_videos: int, num_parts: int, before: dict[int, ScanCounts]
) -> list[ScanCounts]:
    if len(before) == num_parts:
        say("every video is scanned already")
        return [before[i] for i in range(num_parts)]
    seen_before = sum(c.seen for c in before.values())
    with ray_session(config.ray):
        from pipelines import graph

        with progress("scanning", num_videos, "videos", seen_before) as update:

            def show(now: graph.Progress) -> None:
                update(now.num_videos, f"{now.num_failed} failed")

            return graph.scan_corpus(plan, config.resources, num_parts, show)


def _lines(summary: dict[str, Any], output: str, report_uri: str, taxonomy: Taxonomy | None) -> list[str]:
    kinds = ", ".join(f"{k} {n}" for k, n in summary["failures_by_kind"].items()) or "none"
    leaks = summary["leaks"]
    lines = [
        f"seen {summary['seen']} = usable {summary['usable']} + failed {summary['failed']}",
        f"usable {summary['usable']} = kept {summary['kept']} + duplicates dropped {summary['duplicates_dropped']}",
        f"failures: {kinds}",
        f"near-duplicates: {summary['near_duplicate_pairs']} pairs; {summary['clusters']} clusters of like videos",
        f"in more than one split: {leaks['same_bytes']} files, {leaks['near']} clusters, {leaks['group']} groups",
    ]
    if summary["conflicting_labels"]:
        lines.append(f"same bytes under different labels: {summary['conflicting_labels']}")
    if taxonomy is not None:
        unknown, empty = len(summary["unknown_labels"]), summary["classes_without_videos"]
        lines.append(f"labels that the taxonomy does not know: {unknown}; its classes without a video: {empty}")
    return [*lines, f"clean manifest: {storage.join(output, 'manifest.parquet')}", f"report: {report_uri}"]
