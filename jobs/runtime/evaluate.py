"""Measure a model on videos whose labels are known, through the same path that labels a corpus."""

from __future__ import annotations

import pyarrow as pa

from fal_model.errors import ConfigError
from jobs.runtime.cli import Argument, Outcome, say
from jobs.runtime.config import FalConfig
from jobs.runtime.label import label, lines_of, open_task, shown_settings, track
from jobs.runtime.tracking import tracked_run
from pipelines import manifest, run_lock, storage
from pipelines.report import Truth, write_report
from pipelines.score import Score, score_output

ARGUMENTS = (
    Argument("model", "directory of a trained model"),
    Argument("input", "manifest (.parquet, .csv, .jsonl) with labels, and segments where they are known"),
    Argument("output", "folder or s3:// prefix for labels, metrics and report"),
)


def evaluate(options: dict[str, str], config: FalConfig) -> Outcome:
    """Label the videos of a manifest and score them against its truth.

    Raises:
        ConfigError: a manifest without labels, or with labels the model does not know, or clip settings that are not
            the model's.
        FalError: the output cannot be written, or a stage broke.
    """
    output = storage.absolute(options["output"])
    if not options["input"].endswith(manifest.SUFFIXES):
        raise ConfigError(
            [f"--input: got {options['input']!r}; the truth is in a manifest: {', '.join(manifest.SUFFIXES)}"]
        )
    task = open_task(options["input"], output, options["model"], config, is_scored=True)
    with run_lock.exclusive(output) as check, tracked_run(config.tracking, output, "evaluate") as tracker:
        run = label(task, config, check)
        score = score_output(output, run.table, run.model.taxonomy, run.model.calibration, config.label.threshold)
        summary = run.summary | {
            "job": "evaluate",
            "num_scored": score.num_scored,
            "metrics": score.metrics,
            "not_measurable": list(score.not_measurable),
        }
        truth = truth_of(run.table, score)
        settings = shown_settings(config)
        report_uri = write_report(output, options["input"], summary, run.model.taxonomy, truth, settings=settings)
        track(tracker, config, summary, report_uri)
        tracker.metrics(score.metrics)
    for line in metric_lines(score):
        say(line)
    return Outcome(run.code, summary, lines_of(summary, output, report_uri))


def metric_lines(score: Score) -> list[str]:
    """Say what was measured, and what could not be, for people."""
    missing = [f"not measurable: {', '.join(score.not_measurable)}"] if score.not_measurable else []
    return [f"{name:>20} {value:.4f}" for name, value in score.metrics.items()] + missing


def truth_of(table: pa.Table, score: Score) -> Truth:
    """Gather what the report shows of the truth."""
    rows = [row for row in table.to_pylist() if row["labels"] is not None]
    return Truth(
        labels={row["video_id"]: row["labels"] for row in rows},
        segments={row["video_id"]: row["segments"] for row in rows if row["segments"] is not None},
        metrics=score.metrics,
        confusions=score.confusions,
        reliability=score.reliability,
    )
