"""The labelling job's bookkeeping: fixed parts of the manifest, what is finished, and the final files of a part.

Layout of an output folder::

    labels/part-00000.parquet   failures/part-00000.parquet   predictions/part-00000.parquet
    _fal/run.json               what this folder was made with; another model or setting needs another folder
    _fal/manifest.parquet       the manifest in parts: row group i is part i
    _fal/done/part-00000.json   the part's files are complete; written last
    _fal/batches/part-00000/    predictions of single batches, until the part is merged
    _fal/thumbnails/            pictures for the report
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fal_model.errors import OutputError
from fal_model.spec import ClipSpec, content_id
from pipelines import storage, tables
from pipelines.config import LabelConfig
from pipelines.limits import DecodeLimits
from pipelines.records import SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class RunKey:
    """Everything that decides what the output tables hold. Equal keys give equal tables."""

    manifest_id: str
    model_id: str
    taxonomy_id: str
    pipeline_id: str
    settings_id: str
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class PartCounts:
    """What a finished part holds, and how long its stages were busy.

    ``substituted`` counts the frames of labelled videos for which another, or a mended one, had to stand in;
    ``videos_substituted`` the videos that have such frames; ``abstained`` those of whose label the model is not sure.
    """

    seen: int
    labelled: int
    failed: int
    clips: int
    failures_by_kind: dict[str, int]
    prepare_busy_s: float
    predict_busy_s: float
    substituted: int = 0
    videos_substituted: int = 0
    abstained: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictPlan:
    """What every worker of the labelling graph is told.

    Attributes:
        output: The output folder.
        model_dir: Directory or hub id of the model.
        model_id: What every worker must find there.
        spec: The model's input contract.
        limits: What a video may cost.
        label: Thresholds and sizes.
        thumbnail_share: Share of the videos of which the report keeps pictures.
    """

    output: str
    model_dir: str
    model_id: str
    spec: ClipSpec
    limits: DecodeLimits
    label: LabelConfig
    thumbnail_share: float


def part_name(part_index: int) -> str:
    """Return the name that a part's files share."""
    return f"part-{part_index:05d}"


def table_uri(output: str, table: str, part_index: int) -> str:
    """Return where a part's rows of ``labels``, ``failures`` or ``predictions`` are."""
    return storage.join(output, table, f"{part_name(part_index)}.parquet")


def batch_uri(output: str, part_index: int, batch_index: int) -> str:
    """Return where the predictions of one batch wait for the merge."""
    return storage.join(output, "_fal", "batches", part_name(part_index), f"{batch_index:06d}.parquet")


def thumbnails_uri(output: str, part_index: int) -> str:
    """Return where a part's pictures for the report are."""
    return storage.join(output, "_fal", "thumbnails", f"{part_name(part_index)}.json")


def manifest_uri(output: str) -> str:
    """Return where the manifest is kept in parts."""
    return storage.join(output, "_fal", "manifest.parquet")


def _marker_uri(output: str, part_index: int) -> str:
    return storage.join(output, "_fal", "done", f"{part_name(part_index)}.json")


def open_output(output: str, key: RunKey, manifest: pa.Table, part_videos: int) -> int:
    """Claim an output folder for labelling and write the manifest in parts, or recognise the same run.

    Returns:
        The number of parts.

    Raises:
        OutputError: not writable, holds other files, or belongs to another run; says what differs.
    """
    claim(output, key, ("labels", "failures", "predictions"))
    if not storage.exists(manifest_uri(output)):
        tables.write_table(manifest_uri(output), manifest, row_group_rows=part_videos)
    num_videos: int = manifest.num_rows
    return -(-num_videos // part_videos)


def claim(output: str, key: RunKey, tables_made: Sequence[str]) -> None:
    """Make an output folder this run's, or check that it already is.

    Raises:
        OutputError: not writable, holds tables that no run of FAL began, or belongs to another run.
    """
    storage.check_writable(output)
    key_uri = storage.join(output, "_fal", "run.json")
    if storage.exists(key_uri):
        _check_same_run(output, _read_key(key_uri), key)
        return
    for table in tables_made:
        if storage.names_in(storage.join(output, table)):
            raise OutputError(f"{output!r} already holds {table!r} that this FAL did not begin; use another --output")
    storage.write_bytes(key_uri, (json.dumps(asdict(key), indent=2) + "\n").encode())


def _check_same_run(output: str, stored: dict[str, Any], key: RunKey) -> None:
    mine = asdict(key)
    differing = [name for name in mine if stored.get(name) != mine[name]]
    if differing:
        names = ", ".join(name.removesuffix("_id") for name in differing)
        raise OutputError(
            f"{output!r} was made by another run: {names} differ; use another --output, or delete it to start again"
        )


def _read_key(key_uri: str) -> dict[str, Any]:
    try:
        stored = json.loads(storage.read_bytes(key_uri))
    except ValueError:
        stored = None
    if not isinstance(stored, dict):
        raise OutputError(f"{key_uri!r} is damaged: it does not say which run made the folder; use another --output")
    return stored


def read_part(output: str, part_index: int) -> list[dict[str, Any]]:
    """Read the manifest rows of one part."""
    with storage.open_ranged(manifest_uri(output)) as source:
        rows: list[dict[str, Any]] = pq.ParquetFile(source).read_row_group(part_index).to_pylist()
    return rows


def manifest_id(manifest: pa.Table, fingerprints: Sequence[str]) -> str:
    """Hash what names the videos, what they must hold, and what tells that one has changed."""
    columns = [manifest[name].to_pylist() for name in ("video_id", "uri", "sha256")]
    return content_id([list(row) for row in zip(*columns, fingerprints, strict=True)])


def finished_parts(output: str) -> dict[int, PartCounts]:
    """Return the counts of every part whose files are complete."""
    names = storage.names_in(storage.join(output, "_fal", "done"))
    indices = [int(name[5:-5]) for name in names if name.startswith("part-") and name.endswith(".json")]
    return {index: _read_counts(output, index) for index in indices}


def counts_if_finished(output: str, part_index: int) -> PartCounts | None:
    """Return the counts of one part, None if its files are not complete."""
    return _read_counts(output, part_index) if storage.exists(_marker_uri(output, part_index)) else None


def _read_counts(output: str, part_index: int) -> PartCounts:
    return PartCounts(**json.loads(storage.read_bytes(_marker_uri(output, part_index))))


def mark_finished(output: str, part_index: int, counts: PartCounts) -> None:
    """Say that a part's files are complete. Called after all of them are written."""
    storage.write_bytes(_marker_uri(output, part_index), json.dumps(asdict(counts)).encode())
