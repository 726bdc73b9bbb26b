"""Is a row of labels what its video and its model give? And if not, which of them is another than it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fal_model.errors import OutputError
from pipelines import label_parts, receipts, relabelling, tables
from pipelines.clip_batches import Failure
from pipelines.labelling import OUTPUTS, label_table
from pipelines.predict import ClipPredictor
from pipelines.receipts import Receipt
from pipelines.records import RECEIPT_KEY
from pipelines.rederive import Rederiver
from pipelines.relabelling import StoredRun

LOGIT_TOLERANCE = 0.02
"""Largest difference of a logit between machines that compute alike; numbers in 16 bit differ by more."""
SCORE_TOLERANCE = 0.005
TIME_TOLERANCE_S = 0.05
INPUT_COLUMNS = (
    *("clip_index", "start_s", "end_s", "covered_s", "num_substituted", "duration_s", "frame_times_s", "input_sha256"),
)
"""What is known of a clip before any model sees it."""


class Verdict(StrEnum):
    """What came out. ``docs/receipts.md`` explains each."""

    SAME = "same"
    CLOSE = "close"
    DIFFERENT = "different"


class Cause(StrEnum):
    """What is another than it was, or is wrong; first causes first."""

    LABELS = "labels"
    PREDICTIONS = "predictions"
    VIDEO = "video"
    OUTCOME = "outcome"
    CONTENT = "content"
    PREPROCESSING = "preprocessing"
    DECODER = "decoder"
    MODEL = "model"
    NUMERICS = "numerics"


@dataclass(slots=True)
class Finding:
    """What came out for one video: each cause with a sentence, and the largest differences."""

    video_id: str
    verdict: Verdict = Verdict.SAME
    causes: dict[Cause, str] = field(default_factory=dict)
    max_logit_difference: float = 0.0
    max_score_difference: float = 0.0


@dataclass(frozen=True, slots=True)
class StoredPart:
    """The tables of one part."""

    labels: pa.Table
    failures: pa.Table
    predictions: pa.Table

    @classmethod
    def read(cls, place: str, name: str) -> StoredPart:
        """Read the tables of a part.

        Raises:
            OutputError: one is missing or damaged, or the predictions have no receipt.
        """
        part = cls(*(tables.read_table(label_parts.table_uri(place, t, name)) for t in label_parts.TABLES))
        if RECEIPT_KEY not in (part.predictions.schema.metadata or {}):
            uri = label_parts.table_uri(place, "predictions", name)
            raise OutputError(f"{uri!r} has no receipt; FAL did not write it so, and it cannot be verified")
        return part


class Verifier:
    """Makes rows of a run again. Close it.

    Args:
        stored: The run.
        predictor: The model that is said to have made it.

    Raises:
        ConfigError: the run does not say how its scores were calibrated.
    """

    def __init__(self, stored: StoredRun, predictor: ClipPredictor) -> None:
        record, label = stored.record, stored.run.settings.label
        self._stored = stored
        self._meta = predictor.model.meta()
        self._versions = predictor.versions()
        self._rederiver = Rederiver(predictor, stored.run.settings)
        self._labeller = relabelling.plan_relabelling(stored, "", record, label).labeller

    def close(self) -> None:
        """End the decoder process."""
        self._rederiver.close()

    def verify(self, row: Mapping[str, Any], part: StoredPart) -> Finding:
        """Make the row of one video again and compare.

        Args:
            row: The video's row of the manifest.
            part: The tables of its part.
        """
        finding = Finding(row["video_id"])
        labels = _of(part.labels, row["video_id"])
        fresh = self._rederiver.predictions(row)
        if not labels.num_rows:
            _compare_failure(finding, _of(part.failures, row["video_id"]), fresh)
        else:
            self._compare(finding, labels, _of(part.predictions, row["video_id"]), fresh)
        if finding.causes:
            is_close = set(finding.causes) == {Cause.NUMERICS} and finding.max_score_difference <= SCORE_TOLERANCE
            finding.verdict = Verdict.CLOSE if is_close else Verdict.DIFFERENT
        return finding

    def _compare(self, finding: Finding, labels: pa.Table, old: pa.Table, fresh: pa.Table | Failure) -> None:
        causes = finding.causes
        expected = label_table(old, self._labeller) if old.num_rows else labels.slice(0, 0)
        altered = _differing_columns(labels, expected)
        if altered:
            causes[Cause.LABELS] = f"the row does not follow from the stored predictions: {', '.join(altered)}"
        if isinstance(fresh, Failure):
            causes[Cause.VIDEO] = f"the video cannot be used now: {fresh.kind}: {fresh.message}"
            return
        self._compare_causes(finding, old, fresh)
        if fresh.schema.field("logits").type == old.schema.field("logits").type:
            _measure_scores(finding, labels, label_table(fresh, self._labeller))

    def _compare_causes(self, finding: Finding, old: pa.Table, fresh: pa.Table) -> None:
        causes, key = finding.causes, self._stored.run.key
        then, now = _first(old, "sha256"), _first(fresh, "sha256")
        if then != now:
            causes[Cause.CONTENT] = f"the file has other bytes: SHA-256 {now[:16]}…, then {then[:16]}…"
        if self._meta.config.clip.pipeline_id != key.pipeline_id:
            asked = self._meta.config.clip.pipeline_id
            causes[Cause.PREPROCESSING] = f"the model asks for another preprocessing: {asked}, then {key.pipeline_id}"
        receipt = Receipt.from_json(old.schema.metadata[RECEIPT_KEY])
        other = _differing_columns(old.select(INPUT_COLUMNS), fresh.select(INPUT_COLUMNS))
        if other and not causes.keys() & {Cause.CONTENT, Cause.PREPROCESSING}:
            versions = _changed(receipt.decoding, receipts.decoding_versions())
            causes[Cause.DECODER] = f"the same bytes give other clips: {', '.join(other)}; {versions}"
        told = self._model_change()
        if told:
            causes[Cause.MODEL] = told
        has_same_weights = relabelling.weights_id(self._meta) == key.weights_id
        if not other and has_same_weights:
            _compare_outputs(finding, old, fresh, _changed(receipt.prediction, self._versions))

    def _model_change(self) -> str:
        record, key = self._stored.record, self._stored.run.key
        if relabelling.weights_id(self._meta) != key.weights_id:
            return f"the model has other weights or another configuration: {self._meta.model_id}, then {key.model_id}"
        parts = {
            "calibration": record.calibration != self._meta.calibration,
            "taxonomy": record.source.taxonomy_id != self._meta.taxonomy.taxonomy_id,
        }
        if record.head is not None:  # its classes and calibration are its own, and the labels were compared already
            return ""
        changed = [name for name, is_other in parts.items() if is_other]
        return f"the weights are the same, but the model has another {' and '.join(changed)}" if changed else ""


def _of(table: pa.Table, video_id: str) -> pa.Table:
    return table.filter(pc.equal(table["video_id"], video_id))


def _first(table: pa.Table, column: str) -> str:
    return str(table[column][0].as_py()) if table.num_rows else "nothing"


def _differing_columns(one: pa.Table, other: pa.Table) -> list[str]:
    if one.num_rows != other.num_rows:
        return [f"{one.num_rows} rows and {other.num_rows}"]
    return [name for name in one.column_names if one[name].to_pylist() != other[name].to_pylist()]


def _changed(then: Mapping[str, list[str]], now: Mapping[str, str]) -> str:
    """Say which versions are others than those of the receipt."""
    changed = [
        f"{name} {now.get(name, 'missing')}, then {' or '.join(then.get(name, ['missing']))}"
        for name in sorted({*then, *now})
        if [now.get(name)] != then.get(name)
    ]
    return "; ".join(changed) or "all versions are the same"


def _compare_failure(finding: Finding, failures: pa.Table, fresh: pa.Table | Failure) -> None:
    if not failures.num_rows:
        finding.causes[Cause.LABELS] = "the video is in neither table"
        return
    then = _first(failures, "kind")
    if not isinstance(fresh, Failure):
        finding.causes[Cause.OUTCOME] = f"the video failed then ({then}) and can be labelled now"
    elif fresh.kind != then:
        finding.causes[Cause.OUTCOME] = f"the video fails with {fresh.kind} now, then with {then}"


def _compare_outputs(finding: Finding, old: pa.Table, fresh: pa.Table, versions: str) -> None:
    pairs = [(tables.matrix(old[name]), tables.matrix(fresh[name])) for name in OUTPUTS]
    if all(np.array_equal(one, other) for one, other in pairs):
        return
    differences = [float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max()) for a, b in pairs[:2]]
    finding.max_logit_difference = max(differences)
    told = f"the same input and weights give logits that differ by up to {finding.max_logit_difference:.2g}; {versions}"
    is_explained = finding.max_logit_difference <= LOGIT_TOLERANCE or versions != "all versions are the same"
    finding.causes[Cause.NUMERICS if is_explained else Cause.PREDICTIONS] = told


def _measure_scores(finding: Finding, stored: pa.Table, fresh: pa.Table) -> None:
    """Find the largest difference of a score; 1 where the labels, their order aside, or the segments are others."""
    then, now = stored.to_pylist()[0], fresh.to_pylist()[0]
    scores_then = {entry["label"]: entry["score"] for entry in then["labels"]}
    scores_now = {entry["label"]: entry["score"] for entry in now["labels"]}
    if scores_then.keys() != scores_now.keys() or not _are_alike(then["segments"], now["segments"]):
        finding.max_score_difference = 1.0
        return
    differences = [abs(score - scores_now[label]) for label, score in scores_then.items()]
    finding.max_score_difference = max([*differences, abs(then["top_score"] - now["top_score"])])


def _are_alike(then: list[dict[str, Any]], now: list[dict[str, Any]]) -> bool:
    def places(segments: list[dict[str, Any]]) -> list[tuple[str, float, float]]:
        return sorted((s["label"], s["start_s"], s["end_s"]) for s in segments)

    return len(then) == len(now) and all(
        a[0] == b[0] and max(abs(a[1] - b[1]), abs(a[2] - b[2])) <= TIME_TOLERANCE_S
        for a, b in zip(places(then), places(now), strict=True)
    )
