"""Turn a part's batch predictions into its final files. Reads only small rows, never video."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fal_model.errors import FailureKind, FalError, OutputError
from pipelines import label_parts, receipts, storage, tables
from pipelines.clip_batches import BatchMeta, ClipMeta, ClipOutputs, Failure, KnownVideo, VideoMeta
from pipelines.label_parts import Mark, PartCounts
from pipelines.labelling import GROUP_CLIPS, OUTPUTS, label_table
from pipelines.labels import Labeller
from pipelines.receipts import Receipt
from pipelines.records import FAILURES, RECEIPT_KEY, predictions_schema
from pipelines.video_ranges import Joined, join_ranges

META_KEY = b"fal_batch"
PREDICTED_KEY = b"fal_predicted"


@dataclass(frozen=True, slots=True, kw_only=True)
class MergePlan:
    """What every merge of a run is told.

    Attributes:
        output: The output folder.
        manifest: Where the manifest is kept in parts.
        run: Name of this run's folder of batches.
        prediction_id: What the predictions depend on besides the videos.
        label_id: What the labels depend on besides the videos.
        weights_id: Content hash of the weights, for the receipt.
        batch_clips: Clips per model batch, for the receipt.
        sizes: Classes, leaves, frames of a clip, and numbers of an embedding.
        labeller: What turns predictions into labels.
    """

    output: str
    manifest: str
    run: str
    prediction_id: str
    label_id: str
    weights_id: str
    batch_clips: int
    sizes: tuple[int, int, int, int]
    labeller: Labeller


Batch = tuple[int, int]
"""Number of a work item within its part, and of a batch within that."""


def write_batch(uri: str, meta: BatchMeta, out: ClipOutputs, busy_s: float, versions: dict[str, str]) -> None:
    """Keep the predictions of one batch until its part is complete. Writing it twice leaves the same rows.

    Args:
        uri: Where, see :func:`pipelines.label_parts.batch_uri`.
        meta: Everything of the batch that is not an array.
        out: The predictions.
        busy_s: How long they took, seconds.
        versions: What predicted, see :meth:`pipelines.predict.ClipPredictor.versions`.

    Raises:
        OutputError: the place cannot be written.
    """
    table = pa.table(
        {
            "logits": _fixed_rows(out.logits_BK),
            "frame_logits": _fixed_rows(_flat(out.frame_logits_BTK)),
            "offsets": _fixed_rows(_flat(out.offsets_BTL2)),
            "embedding": _fixed_rows(out.embedding_BD),
        }
    )
    predicted = json.dumps({"busy_s": busy_s, "versions": versions})
    notes = {META_KEY: meta.to_json().encode(), PREDICTED_KEY: predicted.encode()}
    tables.write_table(uri, table.replace_schema_metadata(notes))


def _flat(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.reshape(len(values), math.prod(values.shape[1:]))


def _fixed_rows(values_BN: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values_BN).ravel()), values_BN.shape[1])


def merge_part(
    plan: MergePlan, part_index: int, part: str, batches: Sequence[Batch], lost: Sequence[Failure] = ()
) -> PartCounts:
    """Write the predictions, labels and failures of a part, then mark it finished; a finished one is left alone.

    Args:
        plan: What every merge is told.
        part_index: Row group of the manifest.
        part: Name of the part.
        batches: All batches of the part that count.
        lost: Videos that no worker survived.

    Returns:
        What the part holds.

    Raises:
        FalError: a video of the part is in no batch, or in both tables, or not all its clips are there once: nothing
            may be lost or counted twice.
        OutputError: the place cannot be written.
    """
    mark = label_parts.finished_mark(plan.output, part)
    if mark is not None and (mark.prediction_id, mark.label_id) == (plan.prediction_id, plan.label_id):
        return mark.counts  # the process died after the mark, and this is its second run
    rows = label_parts.read_part(plan.manifest, part_index)
    read = _read_batches(plan, part, sorted(batches), lost)
    _check_complete([r["video_id"] for r in rows], read, part)
    label_parts.void_labels(plan.output, part)  # a mark may be there whose tables are gone
    said = _write_predictions(plan, rows, read, part)
    failures = [asdict(read.failures[r["video_id"]]) for r in rows if r["video_id"] in read.failures]
    tables.write_table(label_parts.table_uri(plan.output, "labels", part), said.labels)
    failed = pa.Table.from_pylist(failures, schema=FAILURES)
    tables.write_table(label_parts.table_uri(plan.output, "failures", part), failed)
    _write_thumbnails(plan, part, read)
    counts = _counts(said, failed, read)
    label_parts.mark_finished(plan.output, part, Mark(plan.prediction_id, plan.label_id, counts))
    storage.remove_folder(storage.join(plan.output, "_fal", "batches", plan.run, part))
    return counts


def label_again(plan: MergePlan, part: str) -> PartCounts:
    """Make the labels of a finished part anew from its predictions, and mark it.

    Raises:
        OutputError: the part is not finished or damaged, or the place cannot be written.
    """
    mark = label_parts.finished_mark(plan.output, part)
    if mark is None or mark.prediction_id != plan.prediction_id:
        raise OutputError(f"{part} of {plan.output!r} has no predictions to label; run the job again")
    predictions = tables.read_table(label_parts.table_uri(plan.output, "predictions", part))
    labels = label_table(predictions, plan.labeller)
    label_parts.void_labels(plan.output, part)  # killed in between, they are neither the old ones nor the new
    tables.write_table(label_parts.table_uri(plan.output, "labels", part), labels)
    counts = mark.counts.with_abstained(_num_abstained(labels))
    label_parts.mark_finished(plan.output, part, Mark(plan.prediction_id, plan.label_id, counts))
    return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """All batches of a part, and what they say by video id; clips come with their rows in ``outputs``."""

    outputs: ClipOutputs
    clips: dict[str, list[tuple[ClipMeta, int]]]
    videos: dict[str, VideoMeta]
    known: dict[str, KnownVideo]
    failures: dict[str, Failure]
    thumbnails: dict[str, str]
    receipt: Receipt
    prepare_busy_s: float
    predict_busy_s: float


def _read_batches(plan: MergePlan, part: str, batches: Sequence[Batch], lost: Sequence[Failure]) -> _Read:
    uris = [label_parts.batch_uri(plan.output, plan.run, part, item, batch) for item, batch in batches]
    read = [tables.read_table(uri) for uri in uris]
    metas = [BatchMeta.from_json(t.schema.metadata[META_KEY].decode()) for t in read]
    predicted = [json.loads(t.schema.metadata[PREDICTED_KEY]) for t in read]
    table = pa.concat_tables([_no_rows(plan), *(t.replace_schema_metadata(None) for t in read)])
    if table.num_rows != sum(len(m.clips) for m in metas):
        raise OutputError(f"{part}: {table.num_rows} predictions for {sum(len(m.clips) for m in metas)} clips")
    clips: dict[str, list[tuple[ClipMeta, int]]] = {}
    for i, clip in enumerate(clip for meta in metas for clip in meta.clips):
        clips.setdefault(clip.video_id, []).append((clip, i))
    for of_video in clips.values():
        of_video.sort(key=lambda pair: pair[0].clip_index)  # a range that was done again comes after later ones
    found = join_ranges([v for meta in metas for v in meta.videos], [f for meta in metas for f in meta.failures], lost)
    outputs = ClipOutputs(*(tables.matrix(table[name]) for name in OUTPUTS))
    _fail_without_numbers(found, clips, outputs)
    return _Read(
        outputs=outputs,
        clips=clips,
        videos=found.videos,
        known={v.video_id: v for meta in metas for v in meta.known},
        failures=found.failures,
        thumbnails={i: jpeg for meta in metas for i, jpeg in meta.thumbnails.items()},
        receipt=Receipt(
            decoding=receipts.gathered(m.versions for m in metas if m.clips),
            prediction=receipts.gathered(p["versions"] for p, m in zip(predicted, metas, strict=True) if m.clips),
            batch_clips=plan.batch_clips,
            weights_id=plan.weights_id,
            pipeline_id=plan.labeller.pipeline_id,
        ),
        prepare_busy_s=sum(m.busy_s for m in metas),
        predict_busy_s=sum(p["busy_s"] for p in predicted),
    )


def _fail_without_numbers(found: Joined, clips: Mapping[str, list[tuple[ClipMeta, int]]], outputs: ClipOutputs) -> None:
    """Make failures of the videos of which the model said something that is no number: it would pass as any label."""
    is_number_N = outputs.are_numbers()
    for video_id, of_video in clips.items():
        bad = [clip.clip_index for clip, place in of_video if not is_number_N[place]]
        if bad and video_id in found.videos:
            text = f"the model gives values that are no numbers for {len(bad)} of {len(of_video)} clips, first {bad[0]}"
            video = found.videos.pop(video_id)
            found.failures[video_id] = Failure(
                video_id=video_id,
                uri=video.uri,
                stage="predict",
                kind=FailureKind.INTERNAL_ERROR.value,
                message=text,
            )


def _no_rows(plan: MergePlan) -> pa.Table:
    """Return the outputs of no clip: of a part all of whose videos are lost there is no batch."""
    schema = predictions_schema(*plan.sizes)
    return pa.schema([schema.field(name) for name in OUTPUTS]).empty_table()


def _check_complete(wanted: Sequence[str], read: _Read, part: str) -> None:
    labelled = [*read.videos, *read.known]
    if sorted(wanted) != sorted([*labelled, *read.failures]):
        missing = sorted(set(wanted) - set(labelled) - set(read.failures))[:3]
        twice = sorted(set(labelled) & set(read.failures))[:3]
        foreign = sorted({*labelled, *read.failures} - set(wanted))[:3]
        raise FalError(f"{part}: videos in no table: {missing}; in both tables: {twice}; not of this part: {foreign}")
    for video in read.videos.values():
        _check_clips(video, [clip.clip_index for clip, _ in read.clips.get(video.video_id, [])], part)


def _check_clips(video: VideoMeta, indices: Sequence[int], part: str) -> None:
    is_rising = all(a < b for a, b in pairwise(indices))
    if len(indices) != video.num_clips or not is_rising:
        raise FalError(
            f"{part}: video {video.video_id!r} has {len(indices)} of its {video.num_clips} clips, "
            f"numbered {list(indices[:5])}"
        )


@dataclass(slots=True)
class _Said:
    """The labels of a part, and what is counted of its predictions."""

    labels: pa.Table
    num_clips: int = 0
    substituted: Counter[str] = field(default_factory=Counter)


def _write_predictions(plan: MergePlan, rows: Sequence[dict[str, Any]], read: _Read, part: str) -> _Said:
    """Write the predictions of a part, some videos at a time, and label these: a part of long videos is large."""
    names = sorted({known.part for known in read.known.values()})
    receipt = read.receipt
    for name in names:
        receipt = receipt.with_other(_receipt_of(plan, name))
    schema = predictions_schema(*plan.sizes)
    schema = schema.with_metadata({**(schema.metadata or {}), RECEIPT_KEY: receipt.to_json()})
    said = _Said(label_table(schema.empty_table(), plan.labeller))
    labels = [said.labels]
    with tables.table_writer(label_parts.table_uri(plan.output, "predictions", part), schema) as write:
        for table in _some_predictions(plan, rows, read, part, schema):
            write(table, None)
            labels.append(label_table(table, plan.labeller))
            said.num_clips += table.num_rows
            columns = (table[name].to_pylist() for name in ("video_id", "num_substituted"))
            for video_id, num in zip(*columns, strict=True):
                said.substituted[video_id] += num
    said.labels = pa.concat_tables(labels).combine_chunks()
    return said


def _some_predictions(
    plan: MergePlan, rows: Sequence[dict[str, Any]], read: _Read, part: str, schema: pa.Schema
) -> Iterator[pa.Table]:
    """Put the videos of a part together in its order, some at a time: those just predicted, and those known before."""
    # Mostly one earlier part holds all of them; where files were renamed, each of them may be in another one.
    stored = lru_cache(maxsize=2)(partial(_stored_part, plan))
    pieces: list[pa.Table] = [schema.empty_table()]
    num_clips = 0
    for row in rows:
        video_id = row["video_id"]
        if video_id in read.videos:
            pieces.append(new_rows(read.videos[video_id], read.clips[video_id], read.outputs, schema))
        elif video_id in read.known:
            known = read.known[video_id]
            pieces.append(_known_rows(known, stored(known.part), part, schema))
        else:
            continue
        num_clips += pieces[-1].num_rows
        if num_clips >= GROUP_CLIPS:
            yield pa.concat_tables(pieces).combine_chunks()
            pieces, num_clips = [], 0
    if pieces:
        yield pa.concat_tables(pieces).combine_chunks()


def _receipt_of(plan: MergePlan, name: str) -> Receipt:
    schema = tables.read_schema(label_parts.table_uri(plan.output, "predictions", name))
    return Receipt.from_json(schema.metadata[RECEIPT_KEY])


def _stored_part(plan: MergePlan, name: str) -> pa.Table:
    return tables.read_table(label_parts.table_uri(plan.output, "predictions", name))


def _known_rows(known: KnownVideo, stored: pa.Table, part: str, schema: pa.Schema) -> pa.Table:
    """Take the clips of a video from an earlier part, under the name and address that it has now."""
    same = stored.filter(pc.equal(stored["sha256"], known.sha256))
    first = same["video_id"][0].as_py() if same.num_rows else None
    rows = same.filter(pc.equal(same["video_id"], first))  # the same file may be there under several names
    if not rows.num_rows:
        raise FalError(f"{part}: the predictions of video {known.video_id!r} are no longer in {known.part}")
    columns = dict(zip(rows.column_names, rows.columns, strict=True))
    for name, value in (("video_id", known.video_id), ("uri", known.uri)):
        columns[name] = pa.array([value] * rows.num_rows, pa.string())
    # A new table of the same columns: what was read carries notes of its reader, which would be written too.
    return pa.table([columns[field.name] for field in schema], schema=schema)


def new_rows(video: VideoMeta, clips: Sequence[tuple[ClipMeta, int]], out: ClipOutputs, schema: pa.Schema) -> pa.Table:
    """Make the rows of ``predictions`` of one video.

    Args:
        video: The whole video.
        clips: Its clips in order, each with its row in ``out``.
        out: Outputs of many clips.
        schema: Of the table.
    """
    indices = [i for _, i in clips]
    num = len(clips)
    columns = {
        "video_id": [video.video_id] * num,
        "uri": [video.uri] * num,
        "sha256": [video.sha256] * num,
        "duration_s": [video.duration_s] * num,
        "clip_index": [c.clip_index for c, _ in clips],
        "start_s": [c.start_s for c, _ in clips],
        "end_s": [c.end_s for c, _ in clips],
        "covered_s": [c.covered_s for c, _ in clips],
        "num_substituted": [c.num_substituted for c, _ in clips],
        "input_sha256": [c.input_sha256 for c, _ in clips],
        "frame_times_s": [c.frame_times_s for c, _ in clips],
        "logits": _fixed_rows(out.logits_BK[indices]),
        "frame_logits": _fixed_rows(out.frame_logits_BTK[indices]),
        "offsets": _fixed_rows(out.offsets_BTL2[indices]),
        "embedding": _fixed_rows(out.embedding_BD[indices]),
    }
    return pa.table(
        [pa.array(columns[f.name], f.type) if isinstance(columns[f.name], list) else columns[f.name] for f in schema],
        schema=schema,
    )


def _write_thumbnails(plan: MergePlan, part: str, read: _Read) -> None:
    pictures = dict(read.thumbnails)
    for name in sorted({known.part for known in read.known.values()}):
        stored = label_parts.read_thumbnails(plan.output, name)
        pictures |= {i: stored[i] for i, known in read.known.items() if known.part == name and i in stored}
    if pictures:
        in_order = {i: pictures[i] for i in sorted(pictures)}
        storage.write_bytes(label_parts.thumbnails_uri(plan.output, part), json.dumps(in_order).encode())


def _num_abstained(labels: pa.Table) -> int:
    return int(pc.sum(labels["is_abstained"]).as_py() or 0)


def _counts(said: _Said, failures: pa.Table, read: _Read) -> PartCounts:
    kinds = Counter(failures["kind"].to_pylist())
    labelled, failed = said.labels.num_rows, failures.num_rows
    return PartCounts(
        seen=labelled + failed,
        labelled=labelled,
        failed=failed,
        clips=said.num_clips,
        failures_by_kind=dict(sorted(kinds.items())),
        prepare_busy_s=round(read.prepare_busy_s, 3),
        predict_busy_s=round(read.predict_busy_s, 3),
        substituted=said.substituted.total(),
        videos_substituted=sum(n > 0 for n in said.substituted.values()),
        abstained=_num_abstained(said.labels),
        reused=len(read.known),
    )
