"""Bookkeeping of jobs that cut a manifest into parts by place: scanning, shards. Labelling has its own.

Layout of an output folder::

    TABLE/part-00000.parquet    rows of a part
    _fal/run.json               what this folder was made with; another input or setting needs another folder
    _fal/manifest.parquet       the manifest in parts: row group i is part i
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fal_model.errors import OutputError
from fal_model.spec import content_id
from pipelines import storage
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


def part_name(part_index: int) -> str:
    """Return the name that a part's files share."""
    return f"part-{part_index:05d}"


def table_uri(output: str, table: str, part_index: int) -> str:
    """Return where a part's rows of ``labels``, ``failures`` or ``predictions`` are."""
    return storage.join(output, table, f"{part_name(part_index)}.parquet")


def manifest_uri(output: str) -> str:
    """Return where the manifest is kept in parts."""
    return storage.join(output, "_fal", "manifest.parquet")


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
