"""Made-up outputs of labelling runs, predictions included, of any size and over any classes."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fal_model.calibration import Calibration
from fal_model.taxonomy import Taxonomy
from pipelines import label_parts, labelling_record, run_record, tables
from pipelines.config import LabelConfig
from pipelines.label_parts import LabelKey, Mark, PartCounts
from pipelines.labelling import label_table, with_receipt
from pipelines.labelling_record import LabellingRecord
from pipelines.labels import Labeller
from pipelines.limits import DecodeLimits
from pipelines.receipts import Receipt
from pipelines.records import FAILURES, MANIFEST, predictions_schema
from pipelines.run_record import Settings

NUM_FRAMES, EMBEDDING_DIM = 8, 512
WINDOW_S = 10.0
UNLIKELY, LIKELY = -5.0, 3.0
FAILED_EVERY = 50


def key_of(tree: Taxonomy, config: LabelConfig) -> LabelKey:
    """Return what a made-up run was made with."""
    return LabelKey(
        weights_id="made up",
        pipeline_id="made up",
        decoding_id="made up",
        model_id="made up",
        taxonomy_id=tree.taxonomy_id,
        labelling_id=labelling_record.labelling_id(config),
    )


def write_run(
    output: str,
    tree: Taxonomy,
    num_videos: int,
    *,
    clips_per_video: int = 3,
    config: LabelConfig | None = None,
    calibration: Calibration | None = None,
    embedding_dim: int = EMBEDDING_DIM,
    seed: int = 0,
) -> list[str]:
    """Write a finished run of made-up videos, of which one in fifty failed, and return the names of its parts."""
    settings = config or LabelConfig()
    key, dice = key_of(tree, settings), np.random.default_rng(seed)
    ids = [f"video-{number:06d}" for number in range(num_videos)]
    rows = pa.Table.from_pylist([{"video_id": i, "uri": f"/corpus/{i}.mp4"} for i in ids], schema=MANIFEST)
    parts = label_parts.plan_parts(rows, ["1:1"] * num_videos, key.prediction_id, settings.part_videos)
    run_record.begin(output, key, label_parts.write_manifest(output, parts), Settings(settings, DecodeLimits()))
    known = calibration or Calibration()
    record = LabellingRecord(source=tree, taxonomy=tree, calibration=known, model_id=key.model_id)
    labelling_record.write(output, key, record)
    labeller = Labeller(tree, known, settings, key.model_id, key.pipeline_id)
    start = 0
    for name, size in zip(parts.names, parts.sizes, strict=True):
        mine = parts.table["video_id"].slice(start, size).to_pylist()
        start += size
        predictions = made_up_predictions(
            [i for i in mine if not is_lost(i)], tree, clips_per_video, embedding_dim, dice
        )
        _write_part(output, name, mine, predictions, labeller, key)
    return parts.names


def is_lost(video_id: str) -> bool:
    """Tell whether a video could not be labelled."""
    return int(video_id[-6:]) % FAILED_EVERY == FAILED_EVERY - 1


def _write_part(
    output: str, name: str, ids: list[str], predictions: pa.Table, labeller: Labeller, key: LabelKey
) -> None:
    lost = [i for i in ids if is_lost(i)]
    failures = [
        {"video_id": i, "uri": f"/corpus/{i}.mp4", "stage": "decode", "kind": "corrupt", "message": "", "attempts": 1}
        for i in lost
    ]
    labels = label_table(predictions, labeller)
    held = {
        "predictions": predictions,
        "labels": labels,
        "failures": pa.Table.from_pylist(failures, schema=FAILURES),
    }
    for table, rows in held.items():
        tables.write_table(label_parts.table_uri(output, table, name), rows)
    kinds = {"corrupt": len(lost)} if lost else {}
    counts = PartCounts(len(ids), len(ids) - len(lost), len(lost), predictions.num_rows, kinds, 1.0, 0.5)
    label_parts.mark_finished(output, name, Mark(key.prediction_id, key.label_id, counts))


def made_up_predictions(
    ids: list[str], tree: Taxonomy, clips_per_video: int, embedding_dim: int, dice: np.random.Generator
) -> pa.Table:
    """Make predictions in which up to three leaves of each video hold, at some of its frames, and little else."""
    num, num_classes, num_leaves = len(ids) * clips_per_video, len(tree), len(tree.leaves)
    logits_NK = dice.normal(UNLIKELY, 1.0, (num, num_classes)).astype(np.float32)
    frames_NTK = dice.normal(UNLIKELY, 1.0, (num, NUM_FRAMES, num_classes)).astype(np.float16)
    for video in range(len(ids)):
        first = video * clips_per_video
        for leaf in dice.choice(tree.leaves, int(dice.integers(0, 4))):
            path = list(tree.path_indices(int(leaf)))
            clip = first + int(dice.integers(clips_per_video))
            begin, end = sorted(dice.integers(0, NUM_FRAMES + 1, 2).tolist())
            logits_NK[clip, path] = dice.normal(LIKELY, 1.0, len(path))
            frames_NTK[clip, begin:end, path] = dice.normal(LIKELY, 1.0)
    embedding_ND = dice.normal(size=(num, embedding_dim)).astype(np.float32)
    embedding_ND /= np.linalg.norm(embedding_ND, axis=1, keepdims=True)
    numbers = [number for _ in ids for number in range(clips_per_video)]
    of_clip = [video_id for video_id in ids for _ in range(clips_per_video)]
    offsets = dice.integers(0, 256, (num, NUM_FRAMES * num_leaves * 2)).astype(np.uint8)
    columns = {
        "video_id": of_clip,
        "uri": [f"/corpus/{i}.mp4" for i in of_clip],
        "sha256": [hashlib.sha256(i.encode()).hexdigest() for i in of_clip],
        "duration_s": [WINDOW_S * clips_per_video] * num,
        "clip_index": numbers,
        "start_s": [WINDOW_S * number for number in numbers],
        "end_s": [WINDOW_S * (number + 1) for number in numbers],
        "covered_s": [WINDOW_S] * num,
        "num_substituted": [0] * num,
        "input_sha256": [
            hashlib.sha256(f"{i} {n}".encode()).hexdigest() for i, n in zip(of_clip, numbers, strict=True)
        ],
        "frame_times_s": [[WINDOW_S * (n + (t + 0.5) / NUM_FRAMES) for t in range(NUM_FRAMES)] for n in numbers],
        "logits": _lists(logits_NK),
        "frame_logits": _lists(frames_NTK.reshape(num, NUM_FRAMES * num_classes)),
        "offsets": _lists(offsets),
        "embedding": _lists(embedding_ND),
    }
    schema = predictions_schema(num_classes, num_leaves, NUM_FRAMES, embedding_dim)
    arrays = [pa.array(v, schema.field(n).type) if isinstance(v, list) else v for n, v in columns.items()]
    receipt = Receipt(
        decoding={"ffmpeg": ["8"]},
        prediction={"torch": ["2"]},
        batch_clips=16,
        weights_id="made up",
        pipeline_id="made up",
    )
    return with_receipt(pa.table(arrays, schema=schema), receipt.to_json())


def _lists(values_NX: npt.NDArray[np.generic]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values_NX.ravel()), values_NX.shape[1])


def text_of(tree: Taxonomy) -> str:
    """Return a tree as the JSON of a taxonomy file."""
    return json.dumps(tree.to_dict())
