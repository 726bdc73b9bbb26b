"""Write training shards: one Parquet row per clip, row groups as they are filled."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from fal_model.spec import ClipSpec
from fal_model.taxonomy import Taxonomy
from pipelines import pixels, storage
from pipelines.clip_truth import clip_truth
from pipelines.clips import Clip
from pipelines.records import CLIP_SPEC_KEY, SCHEMA_VERSION, SHARD, TAXONOMY_KEY, VERSION_KEY

Row = dict[str, Any]
COMPRESSION_LEVEL = 3
"""Of zstd. Level 1 gives 2 % more bytes, level 6 1 % fewer for twice the time of writing; reading takes the same."""


def shard_row(video: Mapping[str, Any], clip: Clip, jpeg_quality: int) -> Row:
    """Make the shard row of one clip of a labelled video."""
    segments, truth = video["segments"], clip_truth(video, clip.frame_times_s)
    return {
        "video_id": video["video_id"],
        "clip_index": clip.index,
        "start_s": clip.start_s,
        "end_s": clip.end_s,
        "frame_times_s": list(clip.frame_times_s),
        "frames_jpeg": [pixels.encode_jpeg(frame, jpeg_quality) for frame in clip.frames_THWC],
        "flow_q": clip.flow_q_THWC.tobytes(),
        "flow_valid": clip.flow_valid_T.tolist(),
        "camera": clip.camera_T23.ravel().tolist(),
        "labels": truth.labels,
        "frame_labels": truth.frame_labels,
        "segments": None if segments is None else _overlapping(segments, clip.start_s, clip.end_s),
    }


def _overlapping(segments: Sequence[Mapping[str, Any]], start_s: float, end_s: float) -> list[Row]:
    """Return the segments that share time with a window, as they are: they may begin before it and end after it."""
    return [
        {name: s[name] for name in ("label", "start_s", "end_s")}
        for s in segments
        if s["start_s"] < end_s and s["end_s"] > start_s
    ]


class ShardFile:
    """A shard that is being written; holds no more than one row group. The same rows give the same bytes."""

    def __init__(self, file: BinaryIO, spec: ClipSpec, taxonomy: Taxonomy, group_clips: int) -> None:
        metadata = {
            VERSION_KEY: str(SCHEMA_VERSION).encode(),
            CLIP_SPEC_KEY: json.dumps(spec.to_dict()).encode(),
            TAXONOMY_KEY: json.dumps(taxonomy.to_dict()).encode(),
        }
        self._schema = SHARD.with_metadata(metadata)
        # Neither dictionaries nor bounds help with pictures, and they take longer than the compression.
        self._writer = pq.ParquetWriter(
            file,
            self._schema,
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            use_dictionary=False,
            write_statistics=False,
        )
        self._group_clips = group_clips
        self._rows: list[Row] = []

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows."""
        for row in rows:
            self._rows.append(row)
            if len(self._rows) == self._group_clips:
                self._flush()

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        if self._rows:
            self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """Leave the file as it is: the writer must not try to end it later, when it is collected."""
        self._writer.is_open = False

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema), self._group_clips)
        self._rows = []


@contextmanager
def new_shard(uri: str, spec: ClipSpec, taxonomy: Taxonomy, group_clips: int) -> Iterator[ShardFile]:
    """Open a shard to write; it is there once the block ends, and never if the block fails.

    Args:
        uri: Where it goes.
        spec: Clip specification; it travels in the metadata.
        taxonomy: Label tree; it travels along too.
        group_clips: Clips per row group.

    Raises:
        OutputError: the place cannot be written.
    """
    with storage.writing(uri) as file:
        shard = ShardFile(file, spec, taxonomy, group_clips)
        try:
            yield shard
            shard.close()
        except BaseException:  # whatever it was travels on
            shard.abandon()
            raise


def write_shard(uri: str, rows: Iterable[Row], spec: ClipSpec, taxonomy: Taxonomy, group_clips: int) -> None:
    """Write one shard from rows, as :func:`new_shard` does."""
    with new_shard(uri, spec, taxonomy, group_clips) as shard:
        shard.add(rows)
