"""The labelling job's bookkeeping: which videos form a part, which parts are finished, and what another run left.

Layout of an output folder::

    labels/part-<key>.parquet   failures/part-<key>.parquet   predictions/part-<key>.parquet
    _fal/run.json               what the last run was made with
    _fal/taxonomy.json          its classes
    _fal/manifest-<id>.parquet  the manifest of a run, in parts: row group i is part i
    _fal/done/part-<key>.json   the part's files are complete; written last
    _fal/batches/<run>/…        predictions of single batches, until their part is merged
    _fal/thumbnails/part-<key>.json   pictures for the report

A part is named by what its predictions depend on: its videos as they are now, weights, preprocessing, settings. So a
finished part is one whose name is there; another model or a changed video gives other names, and what is left over of
an earlier run is deleted when the new one is complete, never before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fal_model.errors import OutputError
from fal_model.spec import content_id
from pipelines import storage, tables
from pipelines.records import MANIFEST, SCHEMA_VERSION

TABLES = ("labels", "failures", "predictions")
FINGERPRINT = "fingerprint"
PART = "part"
STORED_MANIFEST = MANIFEST.append(pa.field(FINGERPRINT, pa.string())).append(pa.field(PART, pa.string()))
"""The manifest as a run keeps it: what each file looked like when the run began, and which part it is in."""
NUM_READERS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelKey:
    """What decides the tables of a run, besides the videos.

    Attributes:
        weights_id: Content hash of the weights.
        pipeline_id: Content hash of the preprocessing.
        decoding_id: Content hash of the limits and the sizes of batches and work items.
        model_id: Content hash of the model, calibration and class names included.
        taxonomy_id: Content hash of the label tree.
        labelling_id: Content hash of thresholds and other settings that turn predictions into labels.
        schema_version: Of the tables.
    """

    weights_id: str
    pipeline_id: str
    decoding_id: str
    model_id: str
    taxonomy_id: str
    labelling_id: str
    schema_version: int = SCHEMA_VERSION

    @property
    def prediction_id(self) -> str:
        """Return the hash of what predictions depend on."""
        return content_id([self.weights_id, self.pipeline_id, self.decoding_id, self.schema_version])

    @property
    def label_id(self) -> str:
        """Return the hash of what labels depend on."""
        return content_id(asdict(self))


@dataclass(frozen=True, slots=True)
class PartCounts:
    """What a finished part holds, and how long its stages were busy.

    ``substituted`` counts the frames of labelled videos for which another, or a mended one, had to stand in;
    ``videos_substituted`` the videos that have such frames; ``abstained`` those of whose label the model is not sure;
    ``reused`` the videos whose predictions an earlier run had made.
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
    reused: int = 0

    def with_abstained(self, abstained: int) -> PartCounts:
        """Return the same with another number of doubtful videos: all that new labels change."""
        return replace(self, abstained=abstained)


@dataclass(frozen=True, slots=True)
class Mark:
    """What says that a part is finished, and with what."""

    prediction_id: str
    label_id: str
    counts: PartCounts


@dataclass(frozen=True, slots=True)
class PlannedParts:
    """A manifest cut into parts.

    Attributes:
        table: The rows, parts one after the other, as ``STORED_MANIFEST``.
        names: Names of the parts, in the order of the rows.
        sizes: Videos of each.
    """

    table: pa.Table
    names: list[str]
    sizes: list[int]


def plan_parts(manifest: pa.Table, fingerprints: Sequence[str], prediction_id: str, part_videos: int) -> PlannedParts:
    """Cut a manifest into parts.

    Which videos share a part is decided by the hash of their ids, so that a video more or less changes one part, not
    all that come after it.

    Args:
        manifest: Rows of ``MANIFEST``.
        fingerprints: What each file looks like now, see :func:`pipelines.storage.fingerprints`.
        prediction_id: What the predictions depend on besides the videos.
        part_videos: About how many videos a part shall have: between half of it and all of it on average.
    """
    bits = max(0, -(-manifest.num_rows // part_videos) - 1).bit_length()
    ids = manifest["video_id"].to_pylist()
    buckets = np.array([_bucket(video_id, bits) for video_id in ids], np.int64)
    order = np.lexsort((np.arange(len(ids)), buckets))
    rows = manifest.append_column(FINGERPRINT, pa.array(fingerprints, pa.string())).take(pa.array(order))
    _, starts = np.unique(buckets[order], return_index=True)
    borders = [*starts.tolist(), len(ids)]
    names, sizes = [], []
    for start, end in pairwise(borders):
        names.append(_name_of(rows.slice(start, end - start), prediction_id))
        sizes.append(end - start)
    column = pa.array([name for name, size in zip(names, sizes, strict=True) for _ in range(size)], pa.string())
    return PlannedParts(rows.append_column(PART, column), names, sizes)


def _bucket(video_id: str, bits: int) -> int:
    return int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8], "big") >> (64 - bits)


def _name_of(rows: pa.Table, prediction_id: str) -> str:
    columns = [rows[name].to_pylist() for name in ("video_id", "uri", "sha256", FINGERPRINT)]
    return f"part-{content_id([prediction_id, *map(list, zip(*columns, strict=True))])}"


def write_manifest(output: str, parts: PlannedParts) -> str:
    """Keep the manifest of a run in its output folder, a row group for each part, and return where it is.

    It is named by its parts, and written anew each time: splits and labels change without changing any part.
    """
    uri = manifest_uri(output, content_id(parts.names))
    tables.write_groups(uri, parts.table, parts.sizes)
    return uri


def manifest_uri(output: str, manifest_id: str) -> str:
    """Return where a manifest is kept in parts."""
    return storage.join(output, "_fal", f"manifest-{manifest_id}.parquet")


def taxonomy_uri(output: str) -> str:
    """Return where the classes of the last run are kept, as plain data of :class:`fal_model.taxonomy.Taxonomy`."""
    return storage.join(output, "_fal", "taxonomy.json")


def read_part(manifest: str, part_index: int) -> list[dict[str, Any]]:
    """Read the rows of one part of a kept manifest."""
    with storage.open_ranged(manifest) as source:
        rows: list[dict[str, Any]] = pq.ParquetFile(source).read_row_group(part_index).to_pylist()
    return rows


def table_uri(output: str, table: str, part: str) -> str:
    """Return where a part's rows of ``labels``, ``failures`` or ``predictions`` are."""
    return storage.join(output, table, f"{part}.parquet")


def batch_uri(output: str, run: str, part: str, item_index: int, batch_index: int) -> str:
    """Return where the predictions of one batch wait for the merge."""
    return storage.join(output, "_fal", "batches", run, part, f"{item_index:06d}-{batch_index:06d}.parquet")


def begun_uri(output: str, run: str, part: str, item_index: int) -> str:
    """Return what says that a worker has begun a work item."""
    return storage.join(output, "_fal", "batches", run, part, f"{item_index:06d}-begun")


def thumbnails_uri(output: str, part: str) -> str:
    """Return where a part's pictures for the report are."""
    return storage.join(output, "_fal", "thumbnails", f"{part}.json")


def read_thumbnails(output: str, part: str) -> dict[str, str]:
    """Return a part's pictures as JPEG in base64 by video id; none where they are missing or damaged.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        data = json.loads(storage.read_bytes(thumbnails_uri(output, part)))
    except (FileNotFoundError, ValueError):  # they are only decoration
        return {}
    return {str(k): v for k, v in data.items() if isinstance(v, str)} if isinstance(data, dict) else {}


def _mark_uri(output: str, part: str) -> str:
    return storage.join(output, "_fal", "done", f"{part}.json")


def mark_finished(output: str, part: str, mark: Mark) -> None:
    """Say that a part's files are complete. Called after all of them are written."""
    storage.write_bytes(_mark_uri(output, part), json.dumps(asdict(mark)).encode())


def void_labels(output: str, part: str) -> None:
    """Say that the labels of a part are no longer those of its mark, before they are replaced; its predictions stay.

    Raises:
        OutputError: the mark is damaged, or cannot be written.
    """
    mark = read_mark(output, part)
    if mark is not None:
        mark_finished(output, part, replace(mark, label_id=""))


def read_mark(output: str, part: str) -> Mark | None:
    """Return what a part was finished with, None if its files are not complete.

    Raises:
        OutputError: the mark is damaged.
    """
    uri = _mark_uri(output, part)
    try:
        data = json.loads(storage.read_bytes(uri))
        return Mark(data["prediction_id"], data["label_id"], PartCounts(**data["counts"]))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        raise OutputError(f"{uri!r} is damaged; delete it, and the part is done again") from None


def finished_mark(output: str, part: str) -> Mark | None:
    """Return the mark of a part if its three tables are there too; somebody may have deleted one.

    Raises:
        OutputError: the mark is damaged.
    """
    mark = read_mark(output, part)
    is_whole = mark is not None and all(storage.exists(table_uri(output, table, part)) for table in TABLES)
    return mark if is_whole else None


def read_marks(output: str) -> dict[str, Mark]:
    """Return the marks of every part whose three tables are there, by name.

    Raises:
        OutputError: a mark is damaged.
    """
    names = stems(storage.join(output, "_fal", "done"), ".json")
    for table in TABLES:
        names &= stems(storage.join(output, table), ".parquet")
    wanted = sorted(names)
    with ThreadPoolExecutor(NUM_READERS, thread_name_prefix="fal-marks") as pool:
        found = pool.map(lambda name: read_mark(output, name), wanted)
    return {name: mark for name, mark in zip(wanted, found, strict=True) if mark is not None}


@dataclass(frozen=True, slots=True)
class Work:
    """What a run finds, and what is left of it: indices of parts.

    Attributes:
        marks: Every finished part that is there, those of other runs included.
        finished: Nothing to do.
        again: Predictions are there, labels are of other settings: to be labelled again without decoding.
        todo: Nothing is there.
    """

    marks: dict[str, Mark]
    finished: list[int]
    again: list[int]
    todo: list[int]


def work_of(output: str, parts: PlannedParts, key: LabelKey) -> Work:
    """Compare what is planned with what is there.

    Raises:
        OutputError: a mark is damaged.
    """
    marks = read_marks(output)
    work = Work(marks, [], [], [])
    for index, name in enumerate(parts.names):
        mark = marks.get(name)
        if mark is None:
            work.todo.append(index)
        elif mark.label_id != key.label_id:
            work.again.append(index)
        else:
            work.finished.append(index)
    return work


def stems(folder: str, suffix: str) -> set[str]:
    """Return the names in a folder that end so, without the ending."""
    return {name.removesuffix(suffix) for name in storage.names_in(folder) if name.endswith(suffix)}
