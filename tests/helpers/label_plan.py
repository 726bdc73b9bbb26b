"""A labelling run without its command line: a plan for the workers and the parts, or the whole in one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from fal_model.model import FALModel
from pipelines import label_parts, labelling_record, manifest, relabelling, run_record, storage, tables
from pipelines.config import LabelConfig
from pipelines.label_parts import LabelKey, PlannedParts
from pipelines.label_run import Item
from pipelines.label_stages import LabelPlan, PrepareItems
from pipelines.labelling_record import LabellingRecord
from pipelines.labels import Labeller
from pipelines.limits import DecodeLimits
from pipelines.merge import MergePlan, merge_part
from pipelines.predict_stage import PredictBatches
from pipelines.run_record import Settings

BATCH_CLIPS = 4


def begin_run(
    videos: Path,
    output: Path,
    model_dir: Path,
    part_videos: int,
    label: LabelConfig | None = None,
    piece_windows: int = 1000,
) -> tuple[LabelPlan, PlannedParts]:
    """Write down the manifest of a run over a folder of videos, and return what its workers are told."""
    config = replace(label or LabelConfig(), batch_clips=BATCH_CLIPS, piece_windows=piece_windows)
    model = FALModel.from_pretrained(model_dir)
    meta = model.meta()
    key = LabelKey(
        weights_id=relabelling.weights_id(meta),
        pipeline_id=model.config.clip.pipeline_id,
        decoding_id="d",
        model_id=meta.model_id,
        taxonomy_id=model.taxonomy.taxonomy_id,
        labelling_id=labelling_record.labelling_id(config),
    )
    table, _ = manifest.load_input(str(videos))
    looks = storage.fingerprints(table["uri"].to_pylist())
    parts = label_parts.plan_parts(table, looks, key.prediction_id, part_videos)
    spec = model.config.clip
    manifest_uri = label_parts.write_manifest(str(output), parts)
    run_record.begin(str(output), key, manifest_uri, Settings(config, DecodeLimits()))
    record = LabellingRecord(
        source=model.taxonomy, taxonomy=model.taxonomy, calibration=model.calibration, model_id=meta.model_id
    )
    labelling_record.write(str(output), key, record)
    merge = MergePlan(
        output=str(output),
        manifest=manifest_uri,
        run="run",
        prediction_id=key.prediction_id,
        label_id=key.label_id,
        weights_id=key.weights_id,
        batch_clips=BATCH_CLIPS,
        sizes=(len(model.taxonomy), len(model.taxonomy.leaves), spec.num_frames, model.config.embedding_dim),
        labeller=Labeller(model.taxonomy, model.calibration, config, meta.model_id, spec.pipeline_id),
    )
    plan = LabelPlan(
        merge=merge,
        model_dir=str(model_dir),
        model_id=meta.model_id,
        spec=spec,
        limits=DecodeLimits(),
        known="",
        thumbnail_share=0.0,
        stall_s=600.0,
        piece_windows=piece_windows,
    )
    return plan, parts


def item_table(part: str, item_index: int = 3, videos: Sequence[int] = (), attempt: int = 1) -> pa.Table:
    """Return a work item of the first part, as the decoding stage is handed it."""
    item = Item(part_index=0, part=part, item_index=item_index, videos=list(videos), attempt=attempt)
    return pa.Table.from_pylist([asdict(item)])


def label_in_process(videos: Path, output: Path, model_dir: Path, label: LabelConfig) -> list[dict[str, Any]]:
    """Label a folder of videos through the job's own stages, without Ray, and return the rows of ``labels``."""
    plan, parts = begin_run(videos, output, model_dir, 1000, label)
    preparing, predicting = PrepareItems(plan), PredictBatches(plan)
    acks = [predicting(row).to_pylist()[0] for row in preparing(item_table(parts.names[0]))]
    preparing.preparer.close()
    batches = [(ack["item_index"], ack["batch_index"]) for ack in acks]
    merge_part(plan.merge, 0, parts.names[0], batches, [])
    rows: list[dict[str, Any]] = tables.read_table(
        label_parts.table_uri(str(output), "labels", parts.names[0])
    ).to_pylist()
    return rows
