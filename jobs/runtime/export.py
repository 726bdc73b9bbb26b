"""Write the labels of a run in the formats of other tools."""

from __future__ import annotations

from dataclasses import asdict

from fal_model.taxonomy import Taxonomy
from jobs.runtime.cli import DONE, Argument, Outcome, say
from jobs.runtime.config import FalConfig
from jobs.runtime.progress import progress
from pipelines import export_job, label_parts, manifest, run_record, storage
from pipelines.export_job import ExportCounts
from pipelines.exporters.settings import ExportConfig, Format
from pipelines.exporters.source import Source, open_source

ARGUMENTS = (
    Argument("input", "output folder of label_corpus, local or s3://"),
    Argument("output", "folder or s3:// prefix; each format gets a folder of its own below it"),
    Argument("taxonomy", "another tree with names than the one that the run keeps", is_required=False),
)


def export(options: dict[str, str], config: FalConfig) -> Outcome:
    """Export a labelling run; the same input and settings give the same bytes.

    Raises:
        ConfigError: an input that is no finished labelling run, settings that do not fit it, or an output folder that
            belongs to another job.
        FalError: the output cannot be written.
    """
    settings = config.export
    place, output = storage.absolute(options["input"]), storage.absolute(options["output"])
    if not settings.formats:
        settings.check(())
    run_record.check_no_run(output)
    source = open_source(place, is_partial=settings.is_partial)
    taxonomy = _taxonomy(source, options["taxonomy"])
    storage.check_writable(output)
    say(f"{source.num_videos:,} videos in {len(source.parts):,} finished parts of {source.num_parts:,}")
    with progress("exporting", source.num_videos, "videos") as update:
        counts = export_job.export(source, output, settings, taxonomy, lambda n: update(n, ""))
    formats = [name.value for name in settings.formats]
    summary = {
        "job": "export",
        "formats": formats,
        **asdict(counts),
        "is_partial": source.num_missing > 0,
        "videos_not_done": source.num_missing,
        "files_of_other_runs": source.num_foreign,
        "model_id": source.key.model_id,
        "taxonomy_id": source.key.taxonomy_id,
        "pipeline_id": source.key.pipeline_id,
    }
    folders = [f"{name}: {storage.join(output, name)}" for name in formats]
    return Outcome(DONE, summary, [*_lines(source, counts), *_hints(counts, settings), *folders])


def _taxonomy(source: Source, asked: str) -> Taxonomy | None:
    """Read the tree that is asked for, or the one that the run keeps; None where there is neither."""
    if asked:
        return manifest.read_taxonomy(asked)
    kept = label_parts.taxonomy_uri(source.place)
    if not storage.exists(kept):
        return None
    taxonomy = manifest.read_taxonomy(kept)
    return taxonomy if taxonomy.taxonomy_id == source.key.taxonomy_id else None


def _lines(source: Source, counts: ExportCounts) -> list[str]:
    left_out = f"left out by the filters {counts.left_out:,}"
    segments = f"segments {counts.segments:,}, left out {counts.segments_left_out:,}"
    lines = [
        f"seen {counts.seen:,} = exported {counts.exported:,} + failed {counts.failed:,} + {left_out}",
        f"labels {counts.labels:,}, left out {counts.labels_left_out:,}; {segments}",
        f"not sure of the answer: {counts.abstained:,} of the exported videos",
    ]
    if counts.not_numbers:
        lines.append(f"labels and segments not exported, whose score or time is no number: {counts.not_numbers:,}")
    if source.num_missing:
        lines.append(f"not labelled yet, so not here: {source.num_missing:,} videos; run label_corpus again")
    if source.num_foreign:
        lines.append(f"files beside the tables that are not of this run, not read: {source.num_foreign:,}")
    return lines


def _hints(counts: ExportCounts, settings: ExportConfig) -> list[str]:
    """Say what a tool cannot reach."""
    formats, is_plain = set(settings.formats), not settings.url_prefix
    num_local = counts.exported + counts.failed - counts.remote
    hints = []
    if Format.LABEL_STUDIO in formats and is_plain and num_local:
        hints.append(f"Label Studio opens no local paths ({num_local:,} videos): see export.url_prefix")
    if Format.FIFTYONE in formats and is_plain and counts.remote:
        hints.append(f"FiftyOne opens no s3:// addresses ({counts.remote:,} videos): see export.url_prefix")
    return hints
