"""From a table of predictions to the table of labels: the one way, for a corpus just decoded and for one stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fal_model.errors import OutputError
from fal_model.localization import OFFSET_STEPS
from fal_model.taxonomy import Taxonomy
from fal_model.thresholds import listed
from pipelines import tables
from pipelines.clip_batches import ClipOutputs
from pipelines.labels import Labeller, VideoPredictions, coverage, mean_embedding, times_of
from pipelines.records import RECEIPT_KEY, SCORED_LABEL, labels_schema

GROUP_CLIPS = 2048
"""Clips that are labelled, or written, at once, whatever the length of the videos; of one video all are."""
OUTPUTS = ("logits", "frame_logits", "offsets", "embedding")
"""Columns of raw outputs, in the order of the fields of ``ClipOutputs``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVideo:
    """One video of a predictions table: its name, its bytes, and everything that was predicted of it."""

    video_id: str
    uri: str
    sha256: str
    predictions: VideoPredictions


def label_table(predictions: pa.Table, labeller: Labeller) -> pa.Table:
    """Label every video of a predictions table, in the order in which they stand there.

    Args:
        predictions: Rows of ``predictions``, the clips of a video one after the other.
        labeller: Classes, calibration and thresholds; the classes must be as many as the predictions have.

    Returns:
        Rows of ``labels``, with the receipt of the predictions.

    Raises:
        OutputError: the predictions are of another number of classes, or a video's clips are not together.
    """
    schema = labels_schema(predictions.schema.field("embedding").type.list_size)
    found = [_labels_of(some, labeller, schema) for some in _some_videos(predictions)]
    table = pa.concat_tables(found).combine_chunks() if found else schema.empty_table()
    return with_receipt(table, (predictions.schema.metadata or {}).get(RECEIPT_KEY))


def _some_videos(predictions: pa.Table) -> Iterator[pa.Table]:
    """Yield the rows of some videos at a time: labelling takes several times the memory of what is labelled.

    Raises:
        OutputError: a video's clips are not together.
    """
    borders, seen = [0], set[str]()
    end = 0
    for video_id, run in groupby(predictions["video_id"].to_pylist()):
        if video_id in seen:
            raise OutputError(f"the clips of video {video_id!r} do not stand together in the predictions")
        seen.add(video_id)
        start, end = end, end + sum(1 for _ in run)
        if end - borders[-1] > GROUP_CLIPS and start > borders[-1]:
            borders.append(start)
    yield from (predictions.slice(a, b - a) for a, b in pairwise([*borders, end] if end else []))


def _labels_of(predictions: pa.Table, labeller: Labeller, schema: pa.Schema) -> pa.Table:
    """Do for all videos together what :meth:`pipelines.labels.Labeller.row` does for one, column by column."""
    videos, rules = list(stored_videos(predictions, labeller)), labeller.rules()
    held = [video.predictions for video in videos]
    scores_VK = _best_of_clips(labeller.scores(np.concatenate([v.logits_NK for v in held])), held)
    is_listed_VK = listed(scores_VK, rules.thresholds_K, labeller.taxonomy)
    top_V = rules.leaves[scores_VK[:, rules.leaves].argmax(axis=1)]
    top_score_V = scores_VK[np.arange(len(videos)), top_V]
    ids, paths = _names(labeller.taxonomy)
    found = [labeller.segments(rules, is_listed_K, v) for is_listed_K, v in zip(is_listed_VK, held, strict=True)]
    columns = {
        "video_id": [video.video_id for video in videos],
        "uri": [video.uri for video in videos],
        "sha256": [video.sha256 for video in videos],
        "duration_s": [v.duration_s for v in held],
        "top_label": ids.take(pa.array(top_V)),
        "top_path": paths.take(pa.array(top_V)),
        "top_score": top_score_V,
        "is_abstained": ~(top_score_V >= labeller.calibration.abstain_below),  # what is no number is not sure
        "labels": _label_lists(scores_VK, is_listed_VK, labeller, (ids, paths)),
        "segments": [[labeller.segment_row(s) for s in labeller.best(segments)] for segments in found],
        "num_segments_left_out": [max(0, len(segments) - labeller.config.max_segments) for segments in found],
        "embedding": _fixed(np.stack([mean_embedding(v.embedding_ND) for v in held])),
        "frame_times_s": [times_of(v.frame_times_s) for v in held],
        "coverage": [coverage(v.covered_s, v.duration_s) for v in held],
        "model_id": [labeller.model_id] * len(videos),
        "taxonomy_id": [labeller.taxonomy.taxonomy_id] * len(videos),
        "pipeline_id": [labeller.pipeline_id] * len(videos),
    }
    arrays = [c if isinstance(c := columns[f.name], pa.Array) else pa.array(c, f.type) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _best_of_clips(scores_NK: npt.NDArray[np.float32], held: Sequence[VideoPredictions]) -> npt.NDArray[np.float32]:
    """Return the highest score of each video's clips, which stand one video after the other."""
    starts = np.cumsum([0, *(len(v.logits_NK) for v in held[:-1])])
    best_VK: npt.NDArray[np.float32] = np.maximum.reduceat(scores_NK, starts, axis=0)
    return best_VK


@lru_cache(maxsize=8)  # trees are known by what they are, not by their content: a new one is looked at again
def _names(taxonomy: Taxonomy) -> tuple[pa.StringArray, pa.ListArray]:
    ids = pa.array([node.id for node in taxonomy.nodes], pa.string())
    return ids, pa.array([taxonomy.path(i) for i in range(len(taxonomy))], pa.list_(pa.string()))


def _label_lists(
    scores_VK: npt.NDArray[np.float32],
    is_listed_VK: npt.NDArray[np.bool_],
    labeller: Labeller,
    names: tuple[pa.StringArray, pa.ListArray],
) -> pa.ListArray:
    """Return the labels of every video, best first; of equal scores the parent's comes first."""
    video, label = np.nonzero(is_listed_VK)
    order = np.lexsort((label, -scores_VK[video, label], video))
    video, label = video[order], label[order]
    first_V = np.searchsorted(video, np.arange(len(scores_VK)))
    is_kept = np.arange(len(video)) - first_V[video] < labeller.config.max_labels
    video, label = video[is_kept], label[is_kept]
    borders = np.searchsorted(video, np.arange(len(scores_VK) + 1))
    ids, paths = names
    fields = {
        "label": ids.take(pa.array(label)),
        "path": paths.take(pa.array(label)),
        "level": pa.array(np.array(labeller.taxonomy.levels, np.int32)[label]),
        "score": pa.array(scores_VK[video, label]),
    }
    entries = pa.StructArray.from_arrays([fields[f.name] for f in SCORED_LABEL], fields=list(SCORED_LABEL))
    return pa.ListArray.from_arrays(pa.array(borders, pa.int32()), entries, type=pa.list_(SCORED_LABEL))


def _fixed(values_VD: npt.NDArray[np.float32]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values_VD.ravel()), values_VD.shape[1])


def with_receipt(table: pa.Table, receipt: bytes | None) -> pa.Table:
    """Write a receipt into the file metadata of a table; None leaves it as it is."""
    if receipt is None:
        return table
    return table.replace_schema_metadata((table.schema.metadata or {}) | {RECEIPT_KEY: receipt})


def stored_videos(predictions: pa.Table, labeller: Labeller) -> Iterator[StoredVideo]:
    """Yield the videos of a predictions table in its order.

    Raises:
        OutputError: the predictions are of another number of classes.
    """
    _check_sizes(predictions.schema, labeller)
    out = outputs_of(predictions)
    plain = predictions.drop_columns([*OUTPUTS]).to_pydict()
    for _, run in groupby(range(predictions.num_rows), key=plain["video_id"].__getitem__):
        yield _stored_video(plain, list(run), out, labeller)


def _check_sizes(schema: pa.Schema, labeller: Labeller) -> None:
    column, wanted = ("logits", len(labeller.source))
    if labeller.head is not None:
        column, wanted = ("embedding", labeller.head.embedding_dim)
    found = schema.field(column).type.list_size
    if found != wanted and column == "logits":
        raise OutputError(f"the predictions are of {found} classes, the taxonomy has {wanted}")
    if found != wanted:
        raise OutputError(f"the predictions have embeddings of {found} numbers, the head takes {wanted}")


def outputs_of(predictions: pa.Table) -> ClipOutputs:
    """Return the raw outputs of a predictions table, grids still flat, without Python objects."""
    return ClipOutputs(*(tables.matrix(predictions[name]) for name in OUTPUTS))


def _stored_video(
    plain: dict[str, Sequence[Any]], rows: list[int], out: ClipOutputs, labeller: Labeller
) -> StoredVideo:
    first, span = rows[0], slice(rows[0], rows[-1] + 1)
    said = _said(out, span, len(plain["frame_times_s"][first]), labeller)
    predictions = VideoPredictions(
        logits_NK=said.logits_BK,
        frame_logits_NTK=said.frame_logits_BTK,
        offsets_NTL2=said.offsets_BTL2,
        embedding_ND=said.embedding_BD,
        windows_s=[(plain["start_s"][i], plain["end_s"][i]) for i in rows],
        frame_times_s=[plain["frame_times_s"][i] for i in rows],
        covered_s=sum(plain["covered_s"][i] for i in rows),
        duration_s=plain["duration_s"][first],
    )
    return StoredVideo(
        video_id=plain["video_id"][first],
        uri=plain["uri"][first],
        sha256=plain["sha256"][first],
        predictions=predictions,
    )


def _said(out: ClipOutputs, span: slice, num_frames: int, labeller: Labeller) -> ClipOutputs:
    """Return what is said of the clips of one video: by the model, or by the head.

    A head sees a clip as a whole: its classes hold during the whole window or not at all. It is asked video by video,
    for the last bits of a product depend on how many rows there are, and one video must give what it gave among many.
    """
    num_classes, num_leaves = len(labeller.source), len(labeller.source.leaves)
    embedding_ND = out.embedding_BD[span]
    if labeller.head is None:
        return ClipOutputs(
            out.logits_BK[span],
            _grid(out.frame_logits_BTK[span], num_classes),
            _grid(out.offsets_BTL2[span], num_leaves, 2),
            embedding_ND,
        )
    logits_NK = labeller.head.logits(embedding_ND)
    num = len(logits_NK)
    return ClipOutputs(
        logits_NK,
        np.broadcast_to(logits_NK[:, None], (num, num_frames, num_classes)),
        np.broadcast_to(np.uint8(OFFSET_STEPS), (num, num_frames, num_leaves, 2)),
        embedding_ND,
    )


def _grid(flat_NX: npt.NDArray[Any], *last: int) -> npt.NDArray[Any]:
    """Give the flat columns of a table their last axes back, the one before them being the frames."""
    num_frames = flat_NX.shape[1] // int(np.prod(last))
    return flat_NX.reshape(len(flat_NX), num_frames, *last)
