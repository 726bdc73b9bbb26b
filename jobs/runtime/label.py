"""The main job: label every video of a corpus, exactly once, and report."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
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
        ConfigError: input, manifest or model that cannot be used.
        FalError: the output cannot be written, or a stage broke.
    """
    output = storage.absolute(options["output"])
    with tracked_run(config.tracking, output, "label_corpus") as tracker:
        run = label(options["input"], output, options["model"], config)
        report_uri = write_report(output, options["input"], run.summary, run.model.taxonomy)
        track(tracker, config, run, report_uri)
    return Outcome(run.code, run.summary, lines_of(run.summary, output, report_uri))


def label(source: str, output: str, model_dir: str, config: FalConfig) -> LabelRun:
    """Label a corpus into an output folder, without report and tracking.

    Raises:
        ConfigError: input, manifest or model that cannot be used.
        FalError: the output cannot be written, or a stage broke.
    """
    start_s = time.monotonic()
    table, num_hidden = manifest.load_input(source)
    if config.label.limit:
        table = table.slice(0, config.label.limit)
    if table.num_rows == 0:
        raise ConfigError([f"--input: {source!r} holds no videos"])
    model = FALModel.from_pretrained(model_dir)
    key = parts.RunKey(
        manifest_id=parts.manifest_id(table, [storage.fingerprint(u) for u in table["uri"].to_pylist()]),
        model_id=model.model_id,
        taxonomy_id=model.taxonomy.taxonomy_id,
        pipeline_id=model.config.clip.pipeline_id,
        settings_id=_settings_id(config),
    )
    num_parts = parts.open_output(output, key, table, config.label.part_videos)
    before = parts.finished_parts(output)
    say(f"{table.num_rows} videos in {num_parts} parts, {len(before)} parts finished before, model {key.model_id}")
    if len(before) == num_parts:
        say("everything is labelled already: nothing to do")
        counts = [before[i] for i in range(num_parts)]
    else:
        plan = graph_plan(output, model_dir, model, config, table.num_rows)
        counts = _run(plan, model, key.model_id, config, table.num_rows, num_parts)
    summary = summarise(counts, key, config.label.max_failed_share) | {
        "hidden_files_skipped": num_hidden,
        "parts_done_now": num_parts - len(before),
    }
    spent_s = time.monotonic() - start_s
    new = sum(c.seen for c in counts) - sum(c.seen for c in before.values())
    return LabelRun(
        output, model, table, summary | {"wall_s": round(spent_s, 3), "videos_per_s": round(new / spent_s, 3)}
    )


def _settings_id(config: FalConfig) -> str:
    """Hash the settings that change the output tables (and no others: workers may differ between runs)."""
    neutral = replace(config.label, max_failed_share=0.0, limit=0, thumbnails=0)
    return content_id([asdict(neutral), asdict(config.limits)])


def graph_plan(output: str, model_dir: str, model: FALModel, config: FalConfig, num_videos: int) -> PredictPlan:
    """Say what the labelling graph needs to know."""
    return PredictPlan(
        output=output,
        model_dir=storage.absolute(model_dir) if storage.exists(model_dir) else model_dir,
        spec=model.config.clip,
        limits=config.limits,
        label=config.label,
        thumbnail_share=min(1.0, config.label.thumbnails / num_videos),
    )


def _run(
    plan: PredictPlan, model: FALModel, model_id: str, config: FalConfig, num_videos: int, num_parts: int
) -> list[parts.PartCounts]:
    labeller = Labeller(model.taxonomy, model.calibration, config.label, model_id, model.config.clip.pipeline_id)
    with ray_session(config.ray):
        from pipelines import graph

        with progress("labelling", num_videos, "videos") as update:

            def show(now: graph.Progress) -> None:
                update(now.num_videos, f"{now.num_failed} failed, {now.num_clips} clips")

            return graph.predict_corpus(plan, config.resources, labeller, num_parts, show)


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
        "failures_by_kind": dict(sorted(kinds.items())),
        "clips": sum(c.clips for c in counts),
        "is_over_failed_share": failed > max_failed_share * seen,
        "parts": len(counts),
        "stages": stages,
        "bottleneck": max(stages, key=lambda name: float(stages[name]["busy_s"])),
        **{k: v for k, v in asdict(key).items() if k != "schema_version"},
        "schema_version": key.schema_version,
        "versions": {"python": sys.version.split()[0], "fal": version("fal-video")}
        | {name: version(name) for name in TRACKED_PACKAGES},
    }


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
    return [
        f"seen {summary['seen']} = labelled {summary['labelled']} + failed {summary['failed']}",
        f"failures: {kinds}",
        f"stages: {rates}; slowest: {summary['bottleneck']}",
        f"output: {output}",
        f"report: {report_uri}",
    ]
