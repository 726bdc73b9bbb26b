"""The model's stage of the labelling graph: batches of clips become predictions, kept in the output folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from fal_model.errors import FalError
from pipelines import clip_batches, label_parts
from pipelines.clip_batches import BatchMeta
from pipelines.label_stages import LabelPlan, StallGuard, text_of
from pipelines.merge import write_batch
from pipelines.predict import ClipPredictor

ACKS = pa.schema(
    [
        ("part_index", pa.int32()),
        ("item_index", pa.int32()),
        ("batch_index", pa.int32()),
        ("is_last", pa.bool_()),
        ("num_videos", pa.int32()),
        ("num_failed", pa.int32()),
        ("num_clips", pa.int32()),
        ("prepare_busy_s", pa.float64()),
        ("predict_busy_s", pa.float64()),
        (
            "more",
            pa.list_(pa.struct([("video_id", pa.string()), ("next_window", pa.int64()), ("num_windows", pa.int64())])),
        ),
        ("error", pa.string()),
    ]
)


class PredictBatches:
    """Stage: batches in, one acknowledgement each out (1:1); pixels end here, predictions go to the output folder."""

    def __init__(self, plan: LabelPlan) -> None:
        self.plan = plan
        self._predictor: ClipPredictor | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Predict the batches of ``batch``, one after the other."""
        acks = []
        for row in batch.to_pylist():
            try:
                with StallGuard(self.plan.stall_s):
                    acks.append(self._one(row))
            except Exception as error:  # noqa: BLE001 - whatever it is, the driver must hear of it, and Ray would retry
                acks.append(_ack(row, error=text_of(error)))
        return pa.Table.from_pylist(acks, schema=ACKS)

    def _one(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["error"]:
            return _ack(row, error=row["error"])
        predictor = self._loaded()
        start = time.monotonic()
        meta = BatchMeta.from_json(row["meta"])
        size = self.plan.merge.batch_clips
        outputs = predictor.predict(clip_batches.arrays_of(row, self.plan.spec), size)
        busy_s = time.monotonic() - start
        place = self.plan.merge.output, self.plan.merge.run, row["part"], row["item_index"], row["batch_index"]
        write_batch(label_parts.batch_uri(*place), meta, outputs, busy_s, predictor.versions())
        return _ack(row, meta, busy_s)

    def _loaded(self) -> ClipPredictor:
        if self._predictor is None:
            predictor = ClipPredictor.load(self.plan.model_dir)
            found = predictor.model.model_id
            if found != self.plan.model_id:
                where, wanted = self.plan.model_dir, self.plan.model_id
                raise FalError(f"model {where!r} is {found} on this worker, the job began with {wanted}")
            self._predictor = predictor
        return self._predictor


def _ack(
    row: Mapping[str, Any], meta: BatchMeta | None = None, predict_busy_s: float = 0.0, error: str = ""
) -> dict[str, Any]:
    told = meta or BatchMeta()
    # A long video counts once, with its beginning.
    begun = [video for video in told.videos if video.first_window == 0]
    return {name: row[name] for name in ("part_index", "item_index", "batch_index", "is_last")} | {
        "num_videos": len(begun) + len(told.known) + sum(f.first_window == 0 for f in told.failures),
        "num_failed": len(told.failures),
        "num_clips": len(told.clips),
        "prepare_busy_s": told.busy_s,
        "predict_busy_s": predict_busy_s,
        "more": [
            {"video_id": video.video_id, "next_window": video.next_window, "num_windows": video.num_windows}
            for video in begun
            if video.next_window < video.num_windows
        ],
        "error": error,
    }
