"""Labels anew from a finished labelling run, in a folder of their own. Reads predictions, never a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fal_model.calibration import Calibration
from fal_model.class_head import ClassHead
from fal_model.errors import ConfigError, OutputError
from fal_model.pretrained import ModelMeta
from fal_model.spec import content_id
from pipelines import label_leftovers, label_parts, labelling_record, run_record, storage, tables
from pipelines.config import LabelConfig
from pipelines.label_parts import LabelKey, Mark, PartCounts
from pipelines.labelling import label_table
from pipelines.labelling_record import LabellingRecord
from pipelines.labels import Labeller
from pipelines.records import SCHEMA_VERSION
from pipelines.regrouping import regroup
from pipelines.run_record import LastRun, Settings

KEPT = ("predictions", "failures")
"""Tables that stay as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A finished labelling run.

    Attributes:
        place: Its output folder.
        run: What made it.
        names: Its parts, in the order of the manifest.
        video_ids: Its videos.
        record: How its labels follow from its predictions.
    """

    place: str
    run: LastRun
    names: list[str]
    video_ids: list[str]
    record: LabellingRecord


def open_run(place: str, *, are_labels_read: bool = False) -> StoredRun:
    """Open a labelling run whose predictions are all there.

    Args:
        place: Absolute output folder of ``label_corpus`` or ``relabel``.
        are_labels_read: Its labels must be finished too: those of a relabelling that was stopped are of two settings.

    Raises:
        ConfigError: no such folder, of another schema version, or not finished.
        OutputError: it is damaged.
    """
    try:
        run = run_record.last_run(place)
    except OutputError as error:
        raise ConfigError([f"--input: {error}"]) from None
    if run.key.schema_version != SCHEMA_VERSION:
        problem = (
            f"--input: {place!r} has tables of schema version {run.key.schema_version}, this FAL reads "
            f"{SCHEMA_VERSION}; run label_corpus again with this version"
        )
        raise ConfigError([problem])
    manifest = _read_manifest(run.manifest)
    names = list(dict.fromkeys(manifest["part"].to_pylist()))
    marks = label_parts.read_marks(place)
    done = {name for name in names if name in marks and marks[name].prediction_id == run.key.prediction_id}
    if are_labels_read:
        done = {name for name in done if marks[name].label_id == run.key.label_id}
    if len(done) < len(names):
        num = pc.sum(pc.is_in(manifest["part"], pa.array(sorted(done), pa.string()))).as_py() or 0
        problem = (
            f"--input: {place!r} is not finished: {len(done)} of {len(names)} parts, {num} of {manifest.num_rows} "
            f"videos are done; run {'label_corpus or relabel' if are_labels_read else 'label_corpus'} again"
        )
        raise ConfigError([problem])
    return StoredRun(
        place=place,
        run=run,
        names=names,
        video_ids=manifest["video_id"].to_pylist(),
        record=labelling_record.read(place, run.key),
    )


def _read_manifest(uri: str) -> pa.Table:
    try:
        return pq.read_table(pa.BufferReader(storage.read_bytes(uri)), columns=["video_id", "part"])
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"cannot read {uri!r}: {error}; run label_corpus again") from None


def with_model(stored: StoredRun, model: ModelMeta) -> LabellingRecord:
    """Take calibration and texts from a model that has the weights that made the predictions.

    Raises:
        ConfigError: it has other weights, or another configuration.
    """
    found, record = weights_id(model), stored.record
    if found != stored.run.key.weights_id:
        problem = (
            f"--model: its weights and configuration have the id {found}, the predictions were made with "
            f"{stored.run.key.weights_id}; label the videos with label_corpus"
        )
        raise ConfigError([problem])
    # Labels that are of the model's own classes stay so, with its texts as they are now.
    is_own = not record.class_map and record.taxonomy.taxonomy_id == record.source.taxonomy_id
    return replace(
        record,
        source=model.taxonomy,
        taxonomy=model.taxonomy if is_own else record.taxonomy,
        calibration=model.calibration,
        model_id=model.model_id,
        head=None,
    )


def weights_id(model: ModelMeta) -> str:
    """Return the content hash of everything of a model that predictions depend on."""
    return content_id([model.weights_id, model.config.to_dict()])


def with_calibration(stored: StoredRun, calibration: Calibration) -> LabellingRecord:
    """Take another calibration for the model's classes, or for those of the head."""
    record = stored.record
    if record.head is not None:
        head = record.head.with_calibration(calibration)
        return replace(record, calibration=calibration, head=head, model_id=_id_with(stored, head))
    model_id = content_id([stored.run.key.weights_id, record.source.taxonomy_id, calibration.to_dict()])
    return replace(record, calibration=calibration, model_id=model_id)


def with_head(stored: StoredRun, head: ClassHead) -> LabellingRecord:
    """Take the classes of a head, which follow from the embeddings.

    Raises:
        ConfigError: it was fitted on the embeddings of another model.
    """
    if head.model_weights_id != stored.run.key.weights_id:
        problem = (
            f"--head: it was fitted on embeddings of weights and configuration {head.model_weights_id}, those of "
            f"{stored.place!r} are of {stored.run.key.weights_id}; fit one on this run, with fit_head"
        )
        raise ConfigError([problem])
    return LabellingRecord(
        source=head.taxonomy,
        taxonomy=head.taxonomy,
        calibration=head.calibration,
        model_id=_id_with(stored, head),
        head=head,
    )


def _id_with(stored: StoredRun, head: ClassHead) -> str:
    return content_id([stored.run.key.weights_id, head.head_id])


@dataclass(frozen=True, slots=True, kw_only=True)
class RelabelPlan:
    """What every part is told.

    Attributes:
        place: Folder with the predictions.
        output: Folder of the new labels.
        key: What they are made with.
        record: How they follow from the predictions.
        labeller: Makes them.
        settings: Of the new folder.
    """

    place: str
    output: str
    key: LabelKey
    record: LabellingRecord
    labeller: Labeller
    settings: Settings


def plan_relabelling(stored: StoredRun, output: str, record: LabellingRecord, config: LabelConfig) -> RelabelPlan:
    """Decide what the new labels are made with.

    Args:
        stored: The run.
        output: Absolute folder of the new labels.
        record: How they shall follow from the predictions.
        config: Thresholds and limits.

    Raises:
        ConfigError: no calibration is known, or it is of other classes.
        TaxonomyError: the new classes do not follow from the model's; all problems are listed.
    """
    if record.calibration is None:
        problem = f"--model: missing; {stored.place!r} does not say how its scores were calibrated"
        raise ConfigError([problem])
    regrouping = regroup(record.source, record.taxonomy, record.class_map)
    calibration = record.calibration if regrouping is None else regrouping.calibrated(record.calibration)
    # Of the same classes, other maps make other labels.
    model_id = content_id([record.model_id, dict(record.class_map)]) if record.class_map else record.model_id
    key = replace(
        stored.run.key,
        model_id=model_id,
        taxonomy_id=record.taxonomy.taxonomy_id,
        labelling_id=labelling_record.labelling_id(config),
    )
    labeller = Labeller(
        record.taxonomy, calibration, config, model_id, stored.run.key.pipeline_id, regrouping, record.head
    )
    before = stored.run.settings
    kept = replace(
        config,
        part_videos=before.label.part_videos,
        batch_clips=before.label.batch_clips,
        piece_windows=before.label.piece_windows,
        limit=before.label.limit,
        thumbnails=before.label.thumbnails,
    )
    return RelabelPlan(
        place=stored.place,
        output=output,
        key=key,
        record=record,
        labeller=labeller,
        settings=Settings(kept, before.limits),
    )


def begin(plan: RelabelPlan, stored: StoredRun) -> dict[str, PartCounts]:
    """Claim the output folder and write down what it will hold; return the parts that are finished there.

    Raises:
        OutputError: the folder cannot be written, or holds another job's work or another corpus.
    """
    last = run_record.claim(plan.output, plan.key, stored.video_ids)
    if last is not None and last.prediction_id != plan.key.prediction_id:
        raise OutputError(
            f"{plan.output!r} holds predictions of another model or of other settings, which would be deleted; use "
            "another --output, or delete it"
        )
    manifest = storage.join(plan.output, "_fal", stored.run.manifest.rpartition("/")[2])
    storage.copy(stored.run.manifest, manifest)
    run_record.begin(plan.output, plan.key, manifest, plan.settings)
    labelling_record.write(plan.output, plan.key, plan.record)
    marks = label_parts.read_marks(plan.output)
    wanted = set(stored.names)
    return {name: mark.counts for name, mark in marks.items() if name in wanted and _is_ours(plan, mark)}


def _is_ours(plan: RelabelPlan, mark: Mark) -> bool:
    return (mark.prediction_id, mark.label_id) == (plan.key.prediction_id, plan.key.label_id)


def relabel_part(plan: RelabelPlan, name: str) -> PartCounts:
    """Make the labels of one part anew, and mark it; done twice it leaves the same files.

    Raises:
        OutputError: the predictions are gone or damaged, or the output cannot be written.
    """
    mark = label_parts.read_mark(plan.place, name)
    if mark is None or mark.prediction_id != plan.key.prediction_id:
        raise OutputError(f"{name} of {plan.place!r} has no predictions any more; run label_corpus, then this again")
    for table in KEPT:
        source = label_parts.table_uri(plan.place, table, name)
        storage.copy(source, label_parts.table_uri(plan.output, table, name))
    pictures = label_parts.thumbnails_uri(plan.place, name)
    if storage.exists(pictures):
        storage.copy(pictures, label_parts.thumbnails_uri(plan.output, name))
    labels = label_table(tables.read_table(label_parts.table_uri(plan.place, "predictions", name)), plan.labeller)
    label_parts.void_labels(plan.output, name)  # of an earlier run with other settings
    tables.write_table(label_parts.table_uri(plan.output, "labels", name), labels)
    counts = mark.counts.with_abstained(int(pc.sum(labels["is_abstained"]).as_py() or 0))
    label_parts.mark_finished(plan.output, name, Mark(plan.key.prediction_id, plan.key.label_id, counts))
    return counts


def finish(plan: RelabelPlan, names: Sequence[str], manifest: str) -> int:
    """Delete what earlier runs left in the output folder; return how many parts.

    Raises:
        OutputError: something cannot be deleted.
    """
    kept = storage.join(plan.output, "_fal", manifest.rpartition("/")[2])
    return label_leftovers.delete_all_but(plan.output, names, kept)
