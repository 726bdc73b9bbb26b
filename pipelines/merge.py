"""Turn a part's batch predictions into its final files. Reads only small rows, never video."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fal_model.errors import FalError, OutputError
from pipelines import parts, storage, tables
from pipelines.clip_batches import BatchMeta, ClipMeta, VideoMeta
from pipelines.labels import Labeller, VideoPredictions
from pipelines.predict import ClipOutputs
from pipelines.records import FAILURES, labels_schema, predictions_schema

META_KEY = b"fal_batch"
BUSY_KEY = b"fal_predict_busy_s"
OUTPUTS = ("logits", "frame_logits", "offsets", "embedding")
"""Columns of a batch, in the order of the fields of ``ClipOutputs``."""


def write_batch(
    output: str, part_index: int, batch_index: int, meta: BatchMeta, out: ClipOutputs, busy_s: float
) -> None:
    """Keep the predictions of one batch until its part is complete. Writing it twice leaves the same rows."""
    table = pa.table(
        {
            "logits": _fixed_rows(out.logits_BK),
            "frame_logits": _fixed_rows(_flat(out.frame_logits_BTK)),
            "offsets": _fixed_rows(_flat(out.offsets_BTL2)),
            "embedding": _fixed_rows(out.embedding_BD),
        }
    )
    notes = {META_KEY: meta.to_json().encode(), BUSY_KEY: repr(busy_s).encode()}
    tables.write_table(parts.batch_uri(output, part_index, batch_index), table.replace_schema_metadata(notes))


def _flat(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.reshape(len(values), math.prod(values.shape[1:]))


def _fixed_rows(values_BN: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values_BN).ravel()), values_BN.shape[1])


def merge_part(output: str, part_index: int, num_batches: int, labeller: Labeller) -> parts.PartCounts:
    """Write the predictions, labels and failures of a part, then mark it finished; a finished one is left alone.

    Raises:
        FalError: a video of the part is in no batch, or in both tables, or not all its clips are there once: nothing
            may be lost or counted twice.
        OutputError: the place cannot be written.
    """
    finished = parts.counts_if_finished(output, part_index)
    if finished is not None:  # the process died after the mark, and this is its second run
        return finished
    rows = parts.read_part(output, part_index)
    metas, outputs, predict_busy_s = _read_batches(output, part_index, num_batches)
    videos = {v.video_id: v for meta in metas for v in meta.videos}
    failures = {f.video_id: f for meta in metas for f in meta.failures}
    _check_complete([r["video_id"] for r in rows], list(videos), list(failures), part_index)

    clips: dict[str, list[tuple[ClipMeta, int]]] = {}
    for i, clip in enumerate(clip for meta in metas for clip in meta.clips):
        if clip.video_id in videos:
            clips.setdefault(clip.video_id, []).append((clip, i))
    for video in videos.values():
        _check_clips(video, [clip.clip_index for clip, _ in clips.get(video.video_id, [])], part_index)
    label_rows = [
        labeller.row(v.video_id, v.uri, v.sha256, _of_video(v, clips[v.video_id], outputs, labeller))
        for v in _in_order(rows, videos)
    ]
    failure_rows = [asdict(f) for f in _in_order(rows, failures)]
    embedding_dim = outputs.embedding_BD.shape[1]
    predictions = _prediction_table(_in_order(rows, videos), clips, outputs)
    tables.write_table(parts.table_uri(output, "predictions", part_index), predictions)
    tables.write_table(
        parts.table_uri(output, "labels", part_index),
        pa.Table.from_pylist(label_rows, schema=labels_schema(embedding_dim)),
    )
    tables.write_table(
        parts.table_uri(output, "failures", part_index), pa.Table.from_pylist(failure_rows, schema=FAILURES)
    )
    _write_thumbnails(output, part_index, metas)
    substituted = Counter({v: sum(c.num_substituted for c, _ in clips[v]) for v in videos})
    counts = parts.PartCounts(
        seen=len(rows),
        labelled=len(label_rows),
        failed=len(failure_rows),
        clips=predictions.num_rows,
        failures_by_kind=dict(sorted(Counter(f["kind"] for f in failure_rows).items())),
        prepare_busy_s=round(sum(m.busy_s for m in metas), 3),
        predict_busy_s=round(predict_busy_s, 3),
        substituted=substituted.total(),
        videos_substituted=sum(n > 0 for n in substituted.values()),
        abstained=sum(row["is_abstained"] for row in label_rows),
    )
    parts.mark_finished(output, part_index, counts)
    storage.remove_folder(storage.join(output, "_fal", "batches", parts.part_name(part_index)))
    return counts


def _read_batches(output: str, part_index: int, num_batches: int) -> tuple[list[BatchMeta], ClipOutputs, float]:
    read = [tables.read_table(parts.batch_uri(output, part_index, i)) for i in range(num_batches)]
    metas = [BatchMeta.from_json(t.schema.metadata[META_KEY].decode()) for t in read]
    busy_s = sum(float(t.schema.metadata[BUSY_KEY]) for t in read)
    table = pa.concat_tables([t.replace_schema_metadata(None) for t in read])
    num_clips = sum(len(m.clips) for m in metas)
    if table.num_rows != num_clips:
        raise OutputError(f"part {part_index}: {table.num_rows} predictions for {num_clips} clips; delete the output")
    return metas, ClipOutputs(*(tables.matrix(table[name]) for name in OUTPUTS)), busy_s


def _check_complete(wanted: Sequence[str], labelled: Sequence[str], failed: Sequence[str], part_index: int) -> None:
    if sorted(wanted) != sorted([*labelled, *failed]):
        missing = sorted(set(wanted) - set(labelled) - set(failed))[:3]
        twice = sorted(set(labelled) & set(failed))[:3]
        foreign = sorted({*labelled, *failed} - set(wanted))[:3]
        raise FalError(
            f"part {part_index}: videos in no table: {missing}; in both tables: {twice}; not of this part: {foreign}"
        )


def _check_clips(video: VideoMeta, indices: Sequence[int], part_index: int) -> None:
    is_rising = all(a < b for a, b in pairwise(indices))
    if len(indices) != video.num_clips or not is_rising:
        raise FalError(
            f"part {part_index}: video {video.video_id!r} has {len(indices)} of its {video.num_clips} clips, "
            f"numbered {list(indices[:5])}"
        )


def _in_order(rows: Sequence[dict[str, Any]], found: dict[str, Any]) -> list[Any]:
    return [found[r["video_id"]] for r in rows if r["video_id"] in found]


def _of_video(
    video: VideoMeta, clips: Sequence[tuple[ClipMeta, int]], out: ClipOutputs, labeller: Labeller
) -> VideoPredictions:
    indices = [i for _, i in clips]
    num_classes, num_leaves = len(labeller.taxonomy), len(labeller.taxonomy.leaves)
    return VideoPredictions(
        logits_NK=out.logits_BK[indices],
        frame_logits_NTK=out.frame_logits_BTK[indices].reshape(len(indices), -1, num_classes),
        offsets_NTL2=out.offsets_BTL2[indices].reshape(len(indices), -1, num_leaves, 2),
        embedding_ND=out.embedding_BD[indices],
        windows_s=[(c.start_s, c.end_s) for c, _ in clips],
        frame_times_s=[c.frame_times_s for c, _ in clips],
        covered_s=sum(c.covered_s for c, _ in clips),
        duration_s=video.duration_s,
    )


def _prediction_table(
    videos: Sequence[VideoMeta], clips: dict[str, list[tuple[ClipMeta, int]]], out: ClipOutputs
) -> pa.Table:
    chosen = [(video, clip, i) for video in videos for clip, i in clips[video.video_id]]
    indices = [i for _, _, i in chosen]
    num_classes = out.logits_BK.shape[1]
    num_frames = out.frame_logits_BTK.shape[1] // num_classes
    num_leaves = out.offsets_BTL2.shape[1] // (2 * num_frames)
    schema = predictions_schema(num_classes, num_leaves, num_frames, out.embedding_BD.shape[1])
    columns = {
        "video_id": [v.video_id for v, _, _ in chosen],
        "uri": [v.uri for v, _, _ in chosen],
        "sha256": [v.sha256 for v, _, _ in chosen],
        "duration_s": [v.duration_s for v, _, _ in chosen],
        "clip_index": [c.clip_index for _, c, _ in chosen],
        "start_s": [c.start_s for _, c, _ in chosen],
        "end_s": [c.end_s for _, c, _ in chosen],
        "covered_s": [c.covered_s for _, c, _ in chosen],
        "num_substituted": [c.num_substituted for _, c, _ in chosen],
        "frame_times_s": [c.frame_times_s for _, c, _ in chosen],
        "logits": _fixed_rows(out.logits_BK[indices]),
        "frame_logits": _fixed_rows(out.frame_logits_BTK[indices]),
        "offsets": _fixed_rows(out.offsets_BTL2[indices]),
        "embedding": _fixed_rows(out.embedding_BD[indices]),
    }
    return pa.table(
        [pa.array(columns[f.name], f.type) if isinstance(columns[f.name], list) else columns[f.name] for f in schema],
        schema=schema,
    )


def _write_thumbnails(output: str, part_index: int, metas: Sequence[BatchMeta]) -> None:
    pictures = {video_id: jpeg for meta in metas for video_id, jpeg in meta.thumbnails.items()}
    if pictures:
        storage.write_bytes(parts.thumbnails_uri(output, part_index), json.dumps(pictures).encode())
