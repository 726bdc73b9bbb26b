"""Fit classes to stored embeddings, calibrate them, and measure them on videos that had no part in either."""

from __future__ import annotations

from typing import Any

from fal_model.calibration import Calibration
from fal_model.class_head import ClassHead
from fal_model.evaluation import Collected, calibrate, evaluation_metrics
from fal_model.head_fitting import Examples, LinearFit, fit_linear
from fal_model.taxonomy import Taxonomy
from jobs.runtime.cli import DONE, Argument, Outcome, say
from jobs.runtime.config import FalConfig
from jobs.runtime.tracking import tracked_run
from pipelines import head_files, manifest, relabelling, run_record, storage
from pipelines.head_data import HeadData, read_examples

ARGUMENTS = (
    Argument("input", "output folder of label_corpus or relabel, local or s3://"),
    Argument("manifest", "manifest (.parquet, .csv, .jsonl) with labels of some of its videos, by video_id"),
    Argument("taxonomy", "label tree of these labels: .yaml, .json or .csv"),
    Argument("output", "folder or s3:// prefix for the head"),
)
MOST_NAMED = 8
SHOWN = ("top1", "top5", "map", "f1_micro", "ece", "kept_share", "kept_top1")
EMBEDDING_METRICS = ("recall_at", "frame_map")
"""Of the embedding alone, and of frames, which a head does not tell apart."""


def fit_head(options: dict[str, str], config: FalConfig) -> Outcome:
    """Fit a head and write it.

    Raises:
        ConfigError: an input that is no finished labelling run, or too few videos with labels.
        ManifestError: a manifest that cannot be read, or labels that are not in the taxonomy.
        FalError: the predictions are damaged, or the output cannot be written.
    """
    output = storage.absolute(options["output"])
    run_record.check_no_run(output)
    taxonomy = manifest.read_taxonomy(options["taxonomy"])
    table = manifest.read_manifest(options["manifest"])
    manifest.check_labels(table, taxonomy)
    stored = relabelling.open_run(storage.absolute(options["input"]))
    with tracked_run(config.tracking, output, "fit_head") as tracker:
        data = read_examples(stored, table, taxonomy, config.split, config.head.max_clips)
        _say_what_is_there(data, taxonomy)
        train, val = data.examples["train"], data.examples["val"]
        fit = fit_linear(train, val, taxonomy, config.head.penalties, config.head.max_steps)
        head = _calibrated(fit, val, taxonomy, stored.run.key.weights_id, config.head.kept_accuracy)
        head_files.write_head(output, head)
        measured_on = "test" if "test" in data.examples else "val"
        found = _measured(head, data.examples[measured_on])
        summary = _summary(data, fit, head) | {"measured_on": measured_on, "metrics": found}
        tracker.metrics(found)
    lines = [f"{name:>20} {value:.4f}" for name, value in found.items() if name in SHOWN]
    if measured_on == "val":
        lines.append("measured on the videos that chose and calibrated it, for none were left: likely too good")
    return Outcome(DONE, summary, [*lines, f"head: {output}"])


def _calibrated(
    fit: LinearFit, val: Examples, taxonomy: Taxonomy, model_weights_id: str, kept_accuracy: float
) -> ClassHead:
    head = ClassHead(
        taxonomy=taxonomy,
        calibration=Calibration(),
        model_weights_id=model_weights_id,
        weight_KE=fit.weight_KE,
        bias_K=fit.bias_K,
    )
    return head.with_calibration(calibrate(_collected(head, val), taxonomy, kept_accuracy))


def _collected(head: ClassHead, examples: Examples) -> Collected:
    """Gather what a head says of clips; of a frame it says what it says of the clip."""
    logits_NK = head.logits(examples.embedding_NE)
    return Collected(logits_NK, examples.labels_NK, logits_NK, examples.labels_NK, examples.embedding_NE)


def _measured(head: ClassHead, examples: Examples) -> dict[str, float]:
    found = evaluation_metrics(_collected(head, examples), head.taxonomy, head.calibration)
    return {name: value for name, value in found.items() if not name.startswith(EMBEDDING_METRICS)}


def _say_what_is_there(data: HeadData, taxonomy: Taxonomy) -> None:
    parts = [f"{num} {name} ({len(data.examples[name])} clips)" for name, num in data.num_videos.items()]
    say(f"labelled videos: {', '.join(parts)}; {len(taxonomy)} classes")
    if data.num_unknown:
        say(f"{data.num_unknown} labelled videos of the manifest are not among the labelled ones of the run")
    if data.num_unlabelled:
        say(f"{data.num_unlabelled} videos of the manifest have no labels")
    if data.num_left_out:
        say(f"{data.num_left_out} clips are left out, see head.max_clips")
    num_K = data.examples["train"].labels_NK.sum(axis=0).tolist()
    without = [node.id for node, num in zip(taxonomy.nodes, num_K, strict=True) if not num]
    if without:
        more = ", …" if len(without) > MOST_NAMED else ""
        say(f"{len(without)} classes have no video to learn from: {', '.join(without[:MOST_NAMED])}{more}")


def _summary(data: HeadData, fit: LinearFit, head: ClassHead) -> dict[str, Any]:
    return {
        "job": "fit_head",
        "head_id": head.head_id,
        "classes": len(head.taxonomy),
        "videos": data.num_videos,
        "clips": {name: len(examples) for name, examples in data.examples.items()},
        "videos_without_predictions": data.num_unknown,
        "videos_without_labels": data.num_unlabelled,
        "clips_left_out": data.num_left_out,
        "penalty": fit.penalty,
        "losses": {f"{penalty:g}": round(loss, 6) for penalty, loss in fit.losses.items()},
    }
