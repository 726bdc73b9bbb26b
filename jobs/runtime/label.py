"""The main job: label every video of a corpus, exactly once, and report."""

from __future__ import annotations

import sys
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa

from fal_model.errors import ConfigError
from fal_model.model import FALModel
from fal_model.pretrained import ModelMeta
from fal_model.spec import content_id
from jobs.runtime.cli import DONE, TOO_MANY_FAILED, Argument, Outcome, say
from jobs.runtime.config import FalConfig, check_clip, to_dict
from jobs.runtime.progress import progress
from jobs.runtime.session import ray_session
from jobs.runtime.tracking import AnyTracker, tracked_run
from pipelines import (
    label_leftovers,
    label_parts,
    labelling_record,
    manifest,
    merge,
    part_pool,
    relabelling,
    run_lock,
    run_record,
    storage,
)
from pipelines.known import write_index
from pipelines.label_parts import LabelKey, PartCounts, PlannedParts
from pipelines.label_run import Progress
from pipelines.label_stages import LabelPlan
from pipelines.labelling_record import LabellingRecord
from pipelines.labels import Labeller
from pipelines.merge import MergePlan
from pipelines.model_files import load_model
from pipelines.report import write_report
from pipelines.run_record import Settings

ARGUMENTS = (
    Argument("input", "folder, glob, manifest (.parquet, .csv, .jsonl) or s3:// prefix of videos"),
    Argument("output", "folder or s3:// prefix for labels, failures, predictions, summary and report"),
    Argument("model", "directory of a trained model"),
)
TRACKED_PACKAGES = ("torch", "av", "opencv-python-headless", "ray", "pyarrow")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTask:
    """What is to be labelled, with which model and where to; read and checked, nothing is written yet."""

    output: str
    table: pa.Table
    parts: PlannedParts
    num_hidden: int
    model: FALModel
    model_dir: str
    key: LabelKey
    last: LabelKey | None
    num_gone: int
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
        ConfigError: an input or a manifest that cannot be used, or clip settings that are not the model's.
        FalError: the model cannot be read, the output cannot be written, or a stage broke.
    """
    output = storage.absolute(options["output"])
    task = open_task(options["input"], output, options["model"], config)
    with run_lock.exclusive(output) as check, tracked_run(config.tracking, output, "label_corpus") as tracker:
        run = label(task, config, check)
        settings = shown_settings(config)
        report_uri = write_report(output, options["input"], run.summary, run.model.taxonomy, settings=settings)
        track(tracker, config, run.summary, report_uri)
    return Outcome(run.code, run.summary, lines_of(run.summary, output, report_uri))


def open_task(source: str, output: str, model_dir: str, config: FalConfig, *, is_scored: bool = False) -> LabelTask:
    """Read what is needed and check the output folder: whatever is wrong is found here, before Ray starts.

    Args:
        source: What ``--input`` names.
        output: Absolute output folder.
        model_dir: Directory or hub id of the model.
        config: All settings.
        is_scored: The manifest must hold truth, in labels the model knows.

    Raises:
        ConfigError: an input or a manifest that cannot be used, or clip settings that are not the model's.
        FalError: the model cannot be read, or the output cannot be written or belongs to another corpus or job.
    """
    since_s = time.monotonic()
    if storage.absolute(source) == output:
        raise ConfigError([f"--output: got the input folder {source!r}; take one inside it, or elsewhere"])
    table, num_hidden = manifest.load_input(source)
    if config.label.limit:
        table = table.slice(0, config.label.limit)
    if table.num_rows == 0:
        raise ConfigError([f"--input: {source!r} holds no videos"])
    model = load_model(model_dir)
    check_clip(config, model.config.clip)
    if is_scored:
        manifest.check_labels(table, model.taxonomy)
        if table["labels"].null_count == table.num_rows:
            raise ConfigError([f"--input: no video of {source!r} has labels to compare with"])
    key = key_of(model.meta(), config)
    video_ids = table["video_id"].to_pylist()
    last = run_record.claim(output, key, video_ids)
    num_gone = run_record.num_videos_gone(output, video_ids)
    looks = storage.fingerprints(table["uri"].to_pylist())
    return LabelTask(
        output=output,
        table=table,
        parts=label_parts.plan_parts(table, looks, key.prediction_id, config.label.part_videos),
        num_hidden=num_hidden,
        model=model,
        model_dir=model_dir,
        key=key,
        last=last,
        num_gone=num_gone,
        since_s=since_s,
    )


def key_of(model: ModelMeta, config: FalConfig) -> LabelKey:
    """Hash what decides the tables of a run, and nothing else: workers may differ from run to run."""
    return LabelKey(
        weights_id=relabelling.weights_id(model),
        pipeline_id=model.config.clip.pipeline_id,
        decoding_id=content_id([asdict(config.limits), config.label.batch_clips, config.label.piece_windows]),
        model_id=model.model_id,
        taxonomy_id=model.taxonomy.taxonomy_id,
        labelling_id=labelling_record.labelling_id(config.label),
    )


def label(task: LabelTask, config: FalConfig, check: run_lock.Check) -> LabelRun:
    """Label what is not labelled yet, without report and tracking. The output folder must be locked.

    Raises:
        FalError: the output cannot be written, or a stage broke.
    """
    parts, key = task.parts, task.key
    # Another job may have come and gone since the task was opened.
    run_record.claim(task.output, key, task.table["video_id"].to_pylist())
    plan = _plan(task, config)
    work = label_parts.work_of(task.output, parts, key)
    _say_what_is_to_do(task, work)
    done = {index: work.marks[parts.names[index]].counts for index in work.finished}
    if work.again:
        done |= _label_again(plan.merge, parts, work.again, check)
    workers = {"prepare": 0, "predict": 0}
    start_s = time.monotonic()
    if work.todo:
        now, workers = _run(plan, config, parts, work, check)
        done |= now
    run_s = time.monotonic() - start_s
    check()
    num_left_over = label_leftovers.delete_all_but(task.output, parts.names, plan.merge.manifest)
    counts = [done[index] for index in range(len(parts.names))]
    new = [done[index] for index in work.todo]
    spent_s = time.monotonic() - task.since_s
    summary = summarise(counts, key, config.label.max_failed_share) | {
        "hidden_files_skipped": task.num_hidden,
        "parts_done_now": len(work.todo),
        "parts_labelled_again": len(work.again),
        "parts_deleted": num_left_over,
        "wall_s": round(spent_s, 3),
        "videos_per_s": round(sum(c.seen for c in new) / spent_s, 3),
    }
    if stages := stages_of(new, workers, run_s):
        # The stage that was busy most of the time, not the one that has the most workers.
        summary |= {"stages": stages, "bottleneck": max(stages, key=lambda name: stages[name]["busy_share"])}
    return LabelRun(task.output, task.model, task.table, summary)


def _plan(task: LabelTask, config: FalConfig) -> LabelPlan:
    """Write the manifest of the run and the index of what is known, and return what workers are told."""
    key, model, output = task.key, task.model, task.output
    manifest_uri = label_parts.write_manifest(output, task.parts)
    run_record.begin(output, key, manifest_uri, Settings(config.label, config.limits))
    tree = model.taxonomy
    record = LabellingRecord(source=tree, taxonomy=tree, calibration=model.calibration, model_id=key.model_id)
    labelling_record.write(output, key, record)
    spec = model.config.clip
    merge = MergePlan(
        output=output,
        manifest=manifest_uri,
        run=uuid.uuid4().hex[:12],
        prediction_id=key.prediction_id,
        label_id=key.label_id,
        weights_id=key.weights_id,
        batch_clips=config.label.batch_clips,
        sizes=(len(model.taxonomy), len(model.taxonomy.leaves), spec.num_frames, model.config.embedding_dim),
        labeller=Labeller(tree, model.calibration, config.label, key.model_id, spec.pipeline_id),
    )
    return LabelPlan(
        merge=merge,
        model_dir=storage.absolute(task.model_dir) if storage.exists(task.model_dir) else task.model_dir,
        model_id=key.model_id,
        spec=spec,
        limits=config.limits,
        known=write_index(output, label_parts.read_marks(output), task.parts.names, key.prediction_id),
        thumbnail_share=min(1.0, config.label.thumbnails / task.table.num_rows),
        stall_s=config.resources.stall_s,
        piece_windows=config.label.piece_windows,
    )


def _say_what_is_to_do(task: LabelTask, work: label_parts.Work) -> None:
    parts = task.parts
    say(
        f"{task.table.num_rows} videos in {len(parts.names)} parts, {len(work.finished)} parts finished before, "
        f"model {task.key.model_id}"
    )
    if task.num_gone:
        say(f"{task.num_gone} videos of the last run here are not in this input: their rows are deleted in the end")
    changes = run_record.differences(task.last, task.key) if task.last else []
    if changes:
        say(f"another than in the last run here: {', '.join(changes)}; what depends on it is done again")
    if work.again:
        say(f"{len(work.again)} parts are labelled again from their predictions, without decoding")
    if not work.todo and not work.again:
        say("everything is labelled already: nothing to do")


def _label_again(
    plan: MergePlan, parts: PlannedParts, again: Sequence[int], check: run_lock.Check
) -> dict[int, PartCounts]:
    done: dict[int, PartCounts] = {}
    with progress("labelling again", len(again), "parts") as update:
        index_of = {parts.names[index]: index for index in again}
        for name, counts in part_pool.each_part(merge.label_again, plan, list(index_of)):
            check()
            done[index_of[name]] = counts
            update(len(done), "")
    return done


def _run(
    plan: LabelPlan, config: FalConfig, parts: PlannedParts, work: label_parts.Work, check: run_lock.Check
) -> tuple[dict[int, PartCounts], dict[str, int]]:
    before = sum(parts.sizes) - sum(parts.sizes[index] for index in work.todo)
    with ray_session(config.ray):
        from pipelines import graph

        found = graph.label_workers(config.resources, len(work.todo))
        workers = {"prepare": found.max_decoders, "predict": found.max_models}
        with progress("labelling", sum(parts.sizes), "videos", before) as update:

            def show(now: Progress) -> None:
                check()
                stages = now.stages(workers, len(work.todo))
                update(before + now.num_videos, f"{now.num_failed} failed", stages)

            done = graph.label_corpus(plan, config.resources, parts, work.todo, show)
    return done, workers


def stages_of(counts: Sequence[PartCounts], workers: Mapping[str, int], run_s: float) -> dict[str, dict[str, float]]:
    """Return rates of each stage over what was done in this run; empty where nothing was."""
    if not counts or run_s <= 0:
        return {}
    seen = sum(c.seen for c in counts)
    busy_s = {"prepare": sum(c.prepare_busy_s for c in counts), "predict": sum(c.predict_busy_s for c in counts)}
    return {
        name: {
            "busy_s": round(busy, 3),
            "videos_per_busy_s": round(seen / busy, 3) if busy else 0.0,
            "workers": workers[name],
            "busy_share": round(min(1.0, busy / (workers[name] * run_s)), 4) if workers[name] else 0.0,
        }
        for name, busy in busy_s.items()
    }


def summarise(counts: Sequence[PartCounts], key: LabelKey, max_failed_share: float) -> dict[str, Any]:
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
        "reused_predictions": sum(c.reused for c in counts),
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


def track(tracker: AnyTracker, config: FalConfig, summary: dict[str, Any], report_uri: str) -> None:
    """Record a labelling run: settings, counts, rates, report."""
    tracker.params({"config": to_dict(config), "model_id": summary["model_id"]})
    numbers = {k: float(v) for k, v in summary.items() if isinstance(v, int | float)}
    tracker.metrics(numbers | {f"failed_{k}": float(n) for k, n in summary["failures_by_kind"].items()})
    if not storage.is_remote(report_uri):
        tracker.artifact(report_uri)


def shown_settings(config: FalConfig) -> dict[str, Any]:
    """Return the settings that have a say in a labelling run; others may hold addresses that are not for a page."""
    return {name: section for name, section in to_dict(config).items() if name in {"label", "limits", "resources"}}


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
