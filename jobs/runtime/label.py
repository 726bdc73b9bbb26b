"""The main job: label every video of a corpus, exactly once, and report."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa

from fal_model.errors import ConfigError
from fal_model.model import FALModel
from fal_model.spec import content_id
from jobs.runtime.cli import DONE, TOO_MANY_FAILED, Argument, Outcome, say
from jobs.runtime.config import FalConfig, to_dict
from jobs.runtime.progress import progress
from jobs.runtime.session import ray_session
from jobs.runtime.tracking import AnyTracker, tracked_run
from pipelines import manifest, parts, storage
from pipelines.labels import Labeller
from pipelines.parts import PredictPlan
from pipelines.report import write_report

ARGUMENTS = (
    Argument("input", "folder, glob, manifest (.parquet, .csv, .jsonl) or s3:// prefix of videos"),
    Argument("output", "folder or s3:// prefix for labels, failures, predictions, summary and report"),
    Argument("model", "directory of a trained model"),
)
TRACKED_PACKAGES = ("torch", "av", "opencv-python-headless", "ray", "pyarrow")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTask:
    """What is to be labelled, with which model and where to; read and checked, and the output folder claimed."""

    output: str
    table: pa.Table
    num_hidden: int
    model: FALModel
    model_dir: str
    key: parts.RunKey
    num_parts: int
    since_s: float


@dataclass(frozen=True, slots=True)
class LabelRun:
    """A finished labelling run."""

    output: str
    model: FALModel
    table: pa.Table
    summary: dict[str, Any]

    @property
    def code(self) -> int:
        """Return the exit code that the share of failed videos asks for."""
        return TOO_MANY_FAILED if self.summary["is_over_failed_share"] else DONE


def label_corpus(options: dict[str, str], config: FalConfig) -> Outcome:
    """Label a corpus; run again after any interruption, it goes on where it stopped.

    Raises:
        ConfigError: an input or a manifest that cannot be used.
        FalError: the model cannot be read, the output cannot be written, or a stage broke.
    """
    output = storage.absolute(options["output"])
    task = open_task(options["input"], output, options["model"], config)
    with tracked_run(config.tracking, output, "label_corpus") as tracker:
        run = label(task, config)
        report_uri = write_report(output, options["input"], run.summary, run.model.taxonomy)
        track(tracker, config, run, report_uri)
    return Outcome(run.code, run.summary, lines_of(run.summary, output, report_uri))


def open_task(source: str, output: str, model_dir: str, config: FalConfig, *, is_scored: bool = False) -> LabelTask:
    """Read what is needed and claim the output folder: whatever is wrong is found here, before Ray starts.

    Args:
        source: What ``--input`` names.
        output: Absolute output folder.
        model_dir: Directory or hub id of the model.
        config: All settings.
        is_scored: The manifest must hold truth, in labels the model knows.

    Raises:
        ConfigError: an input or a manifest that cannot be used.
        FalError: the model cannot be read, or the output cannot be written or belongs to another run.
    """
    since_s = time.monotonic()
    table, num_hidden = manifest.load_input(source)
    if config.label.limit:
        table = table.slice(0, config.label.limit)
    if table.num_rows == 0:
        raise ConfigError([f"--input: {source!r} holds no videos"])
    model = FALModel.from_pretrained(model_dir)
    if is_scored:
        manifest.check_labels(table, model.taxonomy)
        if table["labels"].null_count == table.num_rows:
            raise ConfigError([f"--input: no video of {source!r} has labels to compare with"])
    key = parts.RunKey(
        manifest_id=parts.manifest_id(table, storage.fingerprints(table["uri"].to_pylist())),
        model_id=model.model_id,
        taxonomy_id=model.taxonomy.taxonomy_id,
        pipeline_id=model.config.clip.pipeline_id,
        settings_id=_settings_id(config),
    )
    return LabelTask(
        output=output,
        table=table,
        num_hidden=num_hidden,
        model=model,
        model_dir=model_dir,
        key=key,
        num_parts=parts.open_output(output, key, table, config.label.part_videos),
        since_s=since_s,
    )


def label(task: LabelTask, config: FalConfig) -> LabelRun:
    """Label what is not labelled yet, without report and tracking.

    Raises:
        FalError: the output cannot be written, or a stage broke.
    """
    num_videos, num_parts = task.table.num_rows, task.num_parts
    before = parts.finished_parts(task.output)
    say(f"{num_videos} videos in {num_parts} parts, {len(before)} parts finished before, model {task.key.model_id}")
    if len(before) == num_parts:
        say("everything is labelled already: nothing to do")
        counts = [before[i] for i in range(num_parts)]
    else:
        counts = _run(task, config, seen_before=sum(c.seen for c in before.values()))
    spent_s = time.monotonic() - task.since_s
    new = sum(c.seen for c in counts) - sum(c.seen for c in before.values())
    summary = summarise(counts, task.key, config.label.max_failed_share) | {
        "hidden_files_skipped": task.num_hidden,
        "parts_done_now": num_parts - len(before),
        "wall_s": round(spent_s, 3),
        "videos_per_s": round(new / spent_s, 3),
    }
    return LabelRun(task.output, task.model, task.table, summary)


def _settings_id(config: FalConfig) -> str:
    """Hash the settings that change the output tables (and no others: workers may differ between runs)."""
    neutral = replace(config.label, max_failed_share=0.0, limit=0, thumbnails=0)
    return content_id([asdict(neutral), asdict(config.limits)])


def _run(task: LabelTask, config: FalConfig, seen_before: int) -> list[parts.PartCounts]:
    num_videos, spec = task.table.num_rows, task.model.config.clip
    plan = PredictPlan(
        output=task.output,
        model_dir=storage.absolute(task.model_dir) if storage.exists(task.model_dir) else task.model_dir,
        model_id=task.key.model_id,
        spec=spec,
        limits=config.limits,
        label=config.label,
        thumbnail_share=min(1.0, config.label.thumbnails / num_videos),
    )
    labeller = Labeller(task.model.taxonomy, task.model.calibration, config.label, task.key.model_id, spec.pipeline_id)
    with ray_session(config.ray):
        from pipelines import graph

        with progress("labelling", num_videos, "videos", seen_before) as update:

            def show(now: graph.Progress) -> None:
                update(now.num_videos, f"{now.num_failed} failed, {now.num_clips} clips")

            return graph.predict_corpus(plan, config.resources, labeller, task.num_parts, show)


def summarise(counts: Sequence[parts.PartCounts], key: parts.RunKey, max_failed_share: float) -> dict[str, Any]:
    """Add up the parts. ``seen = labelled + failed`` holds by the merge's own check, and is checked again here.

    Raises:
        ArithmeticError: the counts do not add up.
    """
    kinds: Counter[str] = Counter()
    for part in counts:
        kinds.update(part.failures_by_kind)
    seen, labelled, failed = (sum(getattr(c, n) for c in counts) for n in ("seen", "labelled", "failed"))
    if seen != labelled + failed:
        raise ArithmeticError(f"seen {seen} is not labelled {labelled} + failed {failed}")
    stages = {
        name: {"busy_s": round(busy_s, 3), "videos_per_busy_s": round(seen / busy_s, 3) if busy_s else 0.0}
        for name, busy_s in (
            ("prepare", sum(c.prepare_busy_s for c in counts)),
            ("predict", sum(c.predict_busy_s for c in counts)),
        )
    }
    return {
        "job": "label_corpus",
        "seen": seen,
        "labelled": labelled,
        "failed": failed,
        "abstained": sum(c.abstained for c in counts),
        "failures_by_kind": dict(sorted(kinds.items())),
        "clips": sum(c.clips for c in counts),
        "substituted_frames": sum(c.substituted for c in counts),
        "videos_with_substituted_frames": sum(c.videos_substituted for c in counts),
        "is_over_failed_share": failed > max_failed_share * seen,
        "parts": len(counts),
        "stages": stages,
        "bottleneck": max(stages, key=lambda name: float(stages[name]["busy_s"])),
        **{k: v for k, v in asdict(key).items() if k != "schema_version"},
        "schema_version": key.schema_version,
        "versions": {"python": sys.version.split()[0], "fal": _version("fal-video")}
        | {name: _version(name) for name in TRACKED_PACKAGES},
    }


def _version(package: str) -> str:
    """Return the version of a package; OpenCV, for one, goes by several names, and a checkout has none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def track(tracker: AnyTracker, config: FalConfig, run: LabelRun, report_uri: str) -> None:
    """Record a labelling run: settings, counts, rates, report."""
    tracker.params({"config": to_dict(config), "model_id": run.summary["model_id"]})
    numbers = {k: float(v) for k, v in run.summary.items() if isinstance(v, int | float)}
    tracker.metrics(numbers | {f"failed_{k}": float(n) for k, n in run.summary["failures_by_kind"].items()})
    if not storage.is_remote(report_uri):
        tracker.artifact(report_uri)


def lines_of(summary: dict[str, Any], output: str, report_uri: str) -> list[str]:
    """Say what a labelling run did, for people."""
    kinds = ", ".join(f"{k} {n}" for k, n in summary["failures_by_kind"].items()) or "none"
    rates = ", ".join(f"{n} {s['videos_per_busy_s']} videos per busy second" for n, s in summary["stages"].items())
    damaged = summary["substituted_frames"]
    return [
        f"seen {summary['seen']} = labelled {summary['labelled']} + failed {summary['failed']}",
        f"failures: {kinds}",
        f"not sure of the answer: {summary['abstained']} of {summary['labelled']} labelled videos",
        f"damaged frames, replaced or mended: {damaged}, in {summary['videos_with_substituted_frames']} videos",
        f"stages: {rates}; slowest: {summary['bottleneck']}",
        f"output: {output}",
        f"report: {report_uri}",
    ]
