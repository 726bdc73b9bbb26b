"""A finished output folder of the labelling job, bookkeeping included, with rows of our choice."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from fal_model.taxonomy import Taxonomy
from pipelines import label_parts, run_record, tables
from pipelines.config import LabelConfig
from pipelines.label_parts import LabelKey, Mark, PartCounts, PlannedParts
from pipelines.limits import DecodeLimits
from pipelines.records import FAILURES, MANIFEST, labels_schema
from pipelines.run_record import Settings
from tests.helpers.report_folder import TAXONOMY

COUNTS = PartCounts(0, 0, 0, 0, {}, 0.0, 0.0)


def key_of(taxonomy: Taxonomy = TAXONOMY) -> LabelKey:
    """Return what the run of :func:`write_output` was made with."""
    return LabelKey(
        weights_id="w",
        pipeline_id="p",
        decoding_id="d",
        model_id="m",
        taxonomy_id=taxonomy.taxonomy_id,
        labelling_id="l",
    )


def write_output(
    folder: Path,
    labels: Sequence[Mapping[str, Any]] = (),
    failures: Sequence[Mapping[str, Any]] = (),
    *,
    part_videos: int = 2,
    splits: Mapping[str, str] | None = None,
    unfinished: Collection[int] = (),
    key: LabelKey | None = None,
    dim: int | None = None,
) -> PlannedParts:
    """Write an output folder as the labelling job leaves it.

    Args:
        folder: Where.
        labels: Rows of ``labels``, see :func:`tests.helpers.report_folder.label_row`.
        failures: Rows of ``failures``.
        part_videos: About how many videos a part has.
        splits: Splits by ``video_id``.
        unfinished: Numbers of parts that are not done yet.
        key: What the run was made with.
        dim: Width of the embeddings; that of the first label if not given.
    """
    output, run = str(folder), key or key_of()
    rows = {row["video_id"]: row for row in (*labels, *failures)}
    listed = [{"video_id": v, "uri": r["uri"], "split": (splits or {}).get(v)} for v, r in rows.items()]
    manifest = pa.Table.from_pylist(listed, schema=MANIFEST)
    parts = label_parts.plan_parts(manifest, ["1:1"] * len(rows), run.prediction_id, part_videos)
    settings = Settings(LabelConfig(), DecodeLimits())
    run_record.begin(output, run, label_parts.write_manifest(output, parts), settings)
    ids = parts.table["video_id"].to_pylist()
    width = dim or (len(labels[0]["embedding"]) if labels else 2)
    for number, (name, size) in enumerate(zip(parts.names, parts.sizes, strict=True)):
        mine, ids = ids[:size], ids[size:]
        if number not in unfinished:
            write_part(folder, name, [rows[video_id] for video_id in mine], run, width)
    return parts


def write_part(folder: Path, name: str, rows: Sequence[Mapping[str, Any]], key: LabelKey, dim: int = 2) -> None:
    """Write the tables of one part, and its mark."""
    labels = [dict(row) for row in rows if "kind" not in row]
    failures = [dict(row) for row in rows if "kind" in row]
    for table, found, schema in (("labels", labels, labels_schema(dim)), ("failures", failures, FAILURES)):
        uri = label_parts.table_uri(str(folder), table, name)
        tables.write_table(uri, pa.Table.from_pylist(found, schema=schema))
    mark = Mark(key.prediction_id, key.label_id, replace(COUNTS, seen=len(rows)))
    label_parts.mark_finished(str(folder), name, mark)
