"""Decode a labelled corpus once, into training shards."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fal_model.errors import ConfigError
from fal_model.open_fal_500 import OPEN_FAL_500
from fal_model.presets import preset
from fal_model.spec import ClipSpec
from jobs.runtime.cli import DONE, TOO_MANY_FAILED, Argument, Outcome, say
from jobs.runtime.config import FalConfig
from jobs.runtime.progress import progress
from jobs.runtime.session import ray_session
from pipelines import manifest, shard_job, storage

ARGUMENTS = (
    Argument("input", "manifest (.parquet, .csv, .jsonl) with labels"),
    Argument("output", "folder or s3:// prefix for the shards"),
    Argument(
        "taxonomy",
        f"label tree (.yaml, .json, .csv) or {OPEN_FAL_500}; without one, the labels of the manifest, flat",
        is_required=False,
    ),
)


def prepare_corpus(options: dict[str, str], config: FalConfig) -> Outcome:
    """Write training shards; run again after any interruption, it goes on where it stopped.

    Raises:
        ConfigError: manifest, taxonomy or settings that cannot be used.
        FalError: the output cannot be written, or a stage broke.
    """
    table, _ = manifest.load_input(options["input"])
    if table.num_rows == 0:
        raise ConfigError([f"--input: {options['input']!r} holds no videos"])
    taxonomy = manifest.read_taxonomy(options["taxonomy"]) if options["taxonomy"] else shard_job.flat_taxonomy(table)
    manifest.check_labels(table, taxonomy)
    output = storage.absolute(options["output"])
    plan = shard_job.ShardPlan(
        output=output, spec=clip_spec(config), limits=config.limits, prepare=config.prepare, taxonomy=taxonomy
    )
    planned = shard_job.plan_parts(table, config.prepare, config.split)
    shard_job.open_output(output, plan, planned)
    before = shard_job.finished(output)
    say(f"{table.num_rows} videos in {len(planned)} parts, {len(before)} parts finished before")
    counts = _run(plan, config, table.num_rows, len(planned), before)
    summary = _summary(counts, plan)
    code = TOO_MANY_FAILED if summary["failed"] > config.prepare.max_failed_share * summary["seen"] else DONE
    kinds = ", ".join(f"{k} {n}" for k, n in summary["failures_by_kind"].items()) or "none"
    clips = ", ".join(f"{name} {n}" for name, n in summary["clips_by_split"].items())
    lines = [
        f"seen {summary['seen']} = prepared {summary['prepared']} + failed {summary['failed']}",
        f"failures: {kinds}",
        f"clips: {clips}",
        f"output: {output}",
    ]
    return Outcome(code, summary, lines)


def clip_spec(config: FalConfig) -> ClipSpec:
    """Choose the input contract: that of the model preset, but for what the settings' ``clip`` section says."""
    return config.clip or preset(config.model.preset).clip


def _run(
    plan: shard_job.ShardPlan,
    config: FalConfig,
    num_videos: int,
    num_parts: int,
    before: dict[int, shard_job.ShardCounts],
) -> list[shard_job.ShardCounts]:
    if len(before) == num_parts:
        say("all shards are written already: nothing to do")
        return [before[i] for i in range(num_parts)]
    seen_before = sum(c.seen for c in before.values())
    with ray_session(config.ray):
        from pipelines import graph

        with progress("preparing", num_videos, "videos", seen_before) as update:

            def show(now: graph.Progress) -> None:
                update(now.num_videos, f"{now.num_failed} failed, {now.num_clips} clips")

            return graph.prepare_corpus(plan, config.resources, num_parts, show)


def _summary(counts: list[shard_job.ShardCounts], plan: shard_job.ShardPlan) -> dict[str, Any]:
    kinds: Counter[str] = Counter()
    clips: Counter[str] = Counter()
    for part in counts:
        kinds.update(part.failures_by_kind)
        clips[part.split] += part.clips
    seen, failed = sum(c.seen for c in counts), sum(c.failed for c in counts)
    return {
        "job": "prepare_corpus",
        "seen": seen,
        "prepared": seen - failed,
        "failed": failed,
        "failures_by_kind": dict(sorted(kinds.items())),
        "clips_by_split": dict(clips),
        "pipeline_id": plan.spec.pipeline_id,
        "taxonomy_id": plan.taxonomy.taxonomy_id,
    }
