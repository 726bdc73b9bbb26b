"""The output folder of a labelling run, as the export reads it: only the parts of its last run, only what is finished.

Other files in the folder are left alone and counted. Tables of an earlier run may still lie there until a new one is
complete; they are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fal_model.errors import ConfigError, OutputError
from fal_model.taxonomy import Node, Taxonomy
from pipelines import label_parts, run_record, storage, tables
from pipelines.label_parts import LabelKey
from pipelines.records import FAILURES, SCHEMA_VERSION, labels_schema

NUM_READERS = 16
READ = ("labels", "failures")
COLUMNS = [
    *("video_id", "uri", "sha256", "duration_s", "top_label", "top_path", "top_score", "is_abstained"),
    *("labels", "segments", "num_segments_left_out", "coverage"),
]
"""What every format may use; frame times and embeddings are large and read only where one asks for them."""
SPLIT = pa.field("split", pa.string())


@dataclass(frozen=True, slots=True)
class Part:
    """One finished part: its name, and its rows of the manifest."""

    name: str
    start: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A labelling run that can be exported.

    Attributes:
        place: The output folder.
        key: What it was made with.
        manifest: ``video_id`` and ``split`` of all videos, part by part.
        parts: What is finished.
        num_parts: How many there shall be.
        num_foreign: Files in the folders of the tables that are not of this run.
    """

    place: str
    key: LabelKey
    manifest: pa.Table
    parts: list[Part]
    num_parts: int
    num_foreign: int

    @property
    def num_videos(self) -> int:
        """Return how many videos the finished parts have."""
        return sum(part.size for part in self.parts)

    @property
    def num_missing(self) -> int:
        """Return how many videos are not done yet."""
        return int(self.manifest.num_rows) - self.num_videos

    @property
    def ids(self) -> pa.ChunkedArray:
        """Return the ids of the videos in the finished parts."""
        slices = [self.manifest["video_id"].slice(part.start, part.size) for part in self.parts]
        return pa.chunked_array([chunk for found in slices for chunk in found.chunks], pa.string())


def open_source(place: str, *, is_partial: bool = False, section: str = "export") -> Source:
    """Find out what a labelling run has finished.

    Args:
        place: Absolute output folder of ``label_corpus``.
        is_partial: Take what is there of an unfinished run.
        section: The settings that say so, for the message.

    Raises:
        ConfigError: no such folder, of another schema version, or not finished.
        OutputError: it is damaged.
    """
    key, manifest_uri = _last_run(place)
    if key.schema_version != SCHEMA_VERSION:
        problem = (
            f"--input: {place!r} has tables of schema version {key.schema_version}, this FAL reads {SCHEMA_VERSION}; "
            "run label_corpus again with this version"
        )
        raise ConfigError([problem])
    manifest, planned = _read_manifest(manifest_uri)
    names = [set(storage.names_in(storage.join(place, table))) for table in READ]
    there = set.intersection(*names)
    marked = [part for part in planned if f"{part.name}.parquet" in there]
    with ThreadPoolExecutor(NUM_READERS, thread_name_prefix="fal-marks") as pool:
        marks = list(pool.map(lambda part: label_parts.read_mark(place, part.name), marked))
    parts = [p for p, mark in zip(marked, marks, strict=True) if mark is not None and mark.label_id == key.label_id]
    ours = {f"{part.name}.parquet" for part in planned}
    num_foreign = sum(len(found - ours) for found in names)
    source = Source(
        place=place, key=key, manifest=manifest, parts=parts, num_parts=len(planned), num_foreign=num_foreign
    )
    if len(parts) < len(planned) and not is_partial:
        raise ConfigError([_unfinished(source, section)])
    return source


def _last_run(place: str) -> tuple[LabelKey, str]:
    try:
        run = run_record.last_run(place)
    except OutputError as error:
        raise ConfigError([f"--input: {error}"]) from None
    return run.key, run.manifest


def _unfinished(source: Source, section: str) -> str:
    return (
        f"--input: {source.place!r} is not finished: {len(source.parts)} of {source.num_parts} parts, "
        f"{source.num_videos} of {source.manifest.num_rows} videos are done; run label_corpus again, or take what "
        f"there is with {section}.is_partial=true"
    )


def _read_manifest(uri: str) -> tuple[pa.Table, list[Part]]:
    try:
        with storage.open_ranged(uri) as file:
            table = pq.read_table(file, columns=["video_id", "split", "part"], read_dictionary=["part", "split"])
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"cannot read {uri!r}: {error}; run label_corpus again") from None
    names = table["part"].unify_dictionaries().combine_chunks()
    numbers = names.indices.to_numpy()
    borders = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    parts = [Part(names[start].as_py(), start, end - start) for start, end in pairwise(borders)]
    return table.drop_columns(["part"]), parts


def schema_of(source: Source, extra: Sequence[str]) -> pa.Schema:
    """Return the columns of exported rows: those of labels, of failures, and the split of the manifest.

    Args:
        source: The run.
        extra: Further columns of labels.
    """
    names = [*COLUMNS, *extra]
    dim = 1
    for part in source.parts[:1]:
        uri = label_parts.table_uri(source.place, "labels", part.name)
        dim = tables.read_table(uri, ["embedding"]).schema.field("embedding").type.list_size
    fields = [labels_schema(dim).field(name) for name in names]
    return pa.schema([*fields, *(f for f in FAILURES if f.name not in names), SPLIT])


def read_parts(source: Source, schema: pa.Schema) -> Iterator[pa.Table]:
    """Read one finished part after the other: its labels and its failures in one table.

    Raises:
        OutputError: a table is damaged, or does not have the videos that the manifest has.
    """
    wanted = [name for name in schema.names if name not in {*FAILURES.names, "split"}] + ["video_id", "uri"]
    for part in source.parts:
        labels = _table(source, "labels", part, wanted)
        failures = _table(source, "failures", part, FAILURES.names)
        rows = source.manifest.slice(part.start, part.size)
        found = pa.concat_tables([labels, failures], promote_options="default")
        splits = dict(zip(rows["video_id"].to_pylist(), rows["split"].to_pylist(), strict=True))
        ids = found["video_id"].to_pylist()
        if sorted(ids) != sorted(splits):
            raise OutputError(
                f"part {part.name!r} has {len(ids)} rows of labels and failures for the {len(splits)} videos of its "
                "manifest, or rows of other videos; delete its mark in _fal/done and run label_corpus again"
            )
        column = pa.array([splits[video_id] for video_id in ids], pa.string())
        yield found.append_column(SPLIT, column).select(schema.names).cast(schema)


def _table(source: Source, name: str, part: Part, columns: list[str]) -> pa.Table:
    uri = label_parts.table_uri(source.place, name, part.name)
    return tables.read_table(uri, columns).replace_schema_metadata(None)


class FoundTree:
    """Puts together as much of the label tree as the labels of videos show."""

    def __init__(self) -> None:
        self._parents: dict[str, str | None] = {}

    def add(self, table: pa.Table) -> None:
        """Look at the labels of some videos; of each class only once."""
        entries = pa.chunked_array(
            [chunk.flatten() for chunk in table["labels"].chunks], table["labels"].type.value_type
        )
        segments = [chunk.flatten() for chunk in table["segments"].chunks]
        for labels, paths in (
            (pc.struct_field(entries, "label"), pc.struct_field(entries, "path")),
            (table["top_label"], table["top_path"]),
        ):
            for index in _first_of_each(labels):
                path = paths[index].as_py() or []
                self._parents |= {label: path[i - 1] if i else None for i, label in enumerate(path)}
        for chunk in segments:
            for label in pc.unique(pc.struct_field(chunk, "label")).to_pylist():
                self._parents.setdefault(label, None)

    def taxonomy(self) -> Taxonomy | None:
        """Return the tree, names being ids; None where nothing was found."""
        nodes = [Node(label, label, parent) for label, parent in sorted(self._parents.items())]
        return Taxonomy(nodes) if nodes else None


def _first_of_each(labels: pa.ChunkedArray) -> list[int]:
    """Return where each value stands for the first time."""
    numbers = pa.array(range(len(labels)))
    firsts = pa.table({"label": labels, "number": numbers}).group_by("label").aggregate([("number", "min")])
    return [number for number in firsts["number_min"].to_pylist() if number is not None]
