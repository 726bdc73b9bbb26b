"""Write the labels of a run in the formats of other tools, in one pass, sorted by ``video_id``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from fal_model.errors import ConfigError
from fal_model.taxonomy import Taxonomy
from pipelines import storage
from pipelines.exporters import (
    activitynet,
    fiftyone,
    jsonl,
    label_studio,
    plain_csv,
    rekognition,
    webvtt,
)
from pipelines.exporters.about import About, Write, Writing
from pipelines.exporters.filters import filtered
from pipelines.exporters.settings import ExportConfig, Format
from pipelines.exporters.sorting import SortedRows
from pipelines.exporters.source import FoundTree, Source, read_parts, schema_of
from pipelines.exporters.video import Video, video_of

WRITING: Mapping[Format, Writing] = {
    Format.ACTIVITYNET: activitynet.writing,
    Format.CSV: plain_csv.writing,
    Format.FIFTYONE: fiftyone.writing,
    Format.JSONL: jsonl.writing,
    Format.LABEL_STUDIO: label_studio.writing,
    Format.REKOGNITION: rekognition.writing,
    Format.REKOGNITION_TIMESTAMPS: rekognition.writing_timestamps,
    Format.WEBVTT: webvtt.writing,
}
UPDATE_EVERY = 500


@dataclass(slots=True, kw_only=True)
class ExportCounts:
    """What was exported; ``seen = exported + failed + left_out`` always.

    Attributes:
        seen: Videos of the finished parts.
        exported: Labelled videos that were written.
        failed: Videos that could not be labelled; written as such.
        left_out: Labelled videos of which the filters left no label.
        abstained: Of ``exported``, those of whose label the model is not sure.
        remote: Of all that were written, those in S3.
        labels: Labels written.
        labels_left_out: By the filters, those of ``left_out`` included.
        segments: Segments written.
        segments_left_out: By the filters, those of ``left_out`` included.
        not_numbers: Labels and segments not written, because a score or a time is no number.
    """

    seen: int = 0
    exported: int = 0
    failed: int = 0
    left_out: int = 0
    abstained: int = 0
    remote: int = 0
    labels: int = 0
    labels_left_out: int = 0
    segments: int = 0
    segments_left_out: int = 0
    not_numbers: int = 0

    def add(self, video: Video, kept: Video | None) -> None:
        """Count a video and what the filters kept of it."""
        self.seen += 1
        self.exported += kept is not None and kept.failure is None
        self.failed += video.failure is not None
        self.left_out += kept is None
        self.abstained += kept is not None and kept.is_abstained
        self.remote += kept is not None and storage.is_remote(kept.uri)
        labels, segments = (len(kept.labels), len(kept.segments)) if kept is not None else (0, 0)
        self.labels += labels
        self.segments += segments
        self.labels_left_out += len(video.labels) - labels
        self.segments_left_out += len(video.segments) - segments
        self.not_numbers += video.num_not_numbers


def export(
    source: Source,
    output: str,
    config: ExportConfig,
    taxonomy: Taxonomy | None = None,
    update: Callable[[int], object] = lambda _: None,
) -> ExportCounts:
    """Write every format that is asked for into a folder of its own below the output.

    Args:
        source: The labelling run.
        output: Absolute output folder.
        config: What is written.
        taxonomy: The tree of the labels; None takes as much of it as they show.
        update: Told now and then how many videos are written.

    Raises:
        ConfigError: no format, classes that are not there, or a tree that is not that of the labels.
        OutputError: a table is damaged, or the output cannot be written.
    """
    _check_tree(source, taxonomy)
    schema = schema_of(source, _extra_columns(config))
    found = FoundTree()
    with SortedRows(source.ids, schema) as rows:
        for table in read_parts(source, schema):
            rows.add(table)
            found.add(table)
        about = _about(source, config, taxonomy or found.taxonomy())
        config.check([node.id for node in about.nodes])
        return _write(rows, about, output, update)


def _write(rows: SortedRows, about: About, output: str, update: Callable[[int], object]) -> ExportCounts:
    counts = ExportCounts()
    with ExitStack() as opened:
        writers: list[Write] = [
            opened.enter_context(WRITING[name](storage.join(output, name.value), about))
            for name in about.config.formats
        ]
        for row in rows.rows():
            video = video_of(row)
            kept = filtered(video, about.config)
            counts.add(video, kept)
            if kept is not None:
                for write in writers:
                    write(kept)
            if counts.seen % UPDATE_EVERY == 0:
                update(counts.seen)
    update(counts.seen)
    return counts


def _about(source: Source, config: ExportConfig, taxonomy: Taxonomy | None) -> About:
    key = source.key
    return About(
        model_id=key.model_id,
        taxonomy_id=key.taxonomy_id,
        pipeline_id=key.pipeline_id,
        taxonomy=taxonomy,
        config=config,
    )


def _check_tree(source: Source, taxonomy: Taxonomy | None) -> None:
    wanted = source.key.taxonomy_id
    if taxonomy is not None and taxonomy.taxonomy_id != wanted:
        raise ConfigError(
            [f"--taxonomy: got a tree with taxonomy_id {taxonomy.taxonomy_id}, the labels were made with {wanted}"]
        )


def _extra_columns(config: ExportConfig) -> list[str]:
    formats = set(config.formats)
    has_times = formats & {Format.JSONL, Format.REKOGNITION_TIMESTAMPS}
    has_embeddings = config.has_embeddings and formats & {Format.JSONL, Format.FIFTYONE}
    return [*(["frame_times_s"] if has_times else []), *(["embedding"] if has_embeddings else [])]
