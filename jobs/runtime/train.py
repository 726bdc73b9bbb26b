"""Train a model on shards with Ray Train: resume, track, calibrate, and leave a model directory."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fal_model.config import ModelConfig, TrainConfig
from fal_model.errors import ConfigError
from fal_model.presets import preset
from fal_model.spec import content_id
from jobs.runtime.cli import DONE, SUMMARY, Argument, Outcome, say, write_summary
from jobs.runtime.config import FalConfig, to_dict
from jobs.runtime.session import ray_session
from jobs.runtime.tracking import AnyTracker, tracked_run, tracking_uri
from jobs.runtime.train_start import expanded, start_config, start_id
from pipelines import parts, shards, storage
from pipelines.shards import ReadPlan, ShardSet

ARGUMENTS = (
    Argument("train", "folder of training shards"),
    Argument("val", "folder of validation shards: for metrics and calibration"),
    Argument("output", "folder for checkpoints, the MLflow store and the model"),
)


def train(options: dict[str, str], config: FalConfig) -> Outcome:
    """Train; run again after any interruption, it goes on from the last checkpoint.

    Raises:
        ConfigError: shards or settings that cannot be used.
        FalError: the output cannot be written, or training broke.
    """
    output = storage.absolute(options["output"])
    if storage.is_remote(output):
        raise ConfigError([f"--output: got {output!r}; training writes to a folder that all workers share"])
    places = {name: storage.absolute(options[name]) for name in ("train", "val")}
    shard_sets = {name: ShardSet.open(place) for name, place in places.items()}
    model_config, train_config = resolve(config, shard_sets["train"], shard_sets["val"])
    parts.claim(output, _key(config, shard_sets, model_config, train_config), ())
    finished = _finished_summary(output)
    if finished is not None:
        say("the model is trained already: nothing to do")
        return Outcome(DONE, finished, [f"model: {output}/model"])
    num_clips = {name: s.num_clips for name, s in shard_sets.items()}
    say(
        f"{config.model.preset}: {num_clips['train']} training and {num_clips['val']} validation clips, "
        f"{train_config.total_steps} steps of {config.loop.batch_clips}, {config.loop.workers} workers"
    )
    with tracked_run(config.tracking, output, "train") as tracker:
        tracker.params({"config": to_dict(config), "num_clips": num_clips, **places})
        metrics = _fit(output, places, config, model_config, train_config, tracker)
        tracker.metrics({f"final_{k}": v for k, v in metrics.items()}, step=train_config.total_steps)
    summary = {
        "job": "train",
        "steps": train_config.total_steps,
        "clips": num_clips,
        "metrics": metrics,
        "model_dir": f"{output}/model",
        "tracking_uri": tracking_uri(config.tracking, output) if config.tracking.is_enabled else "",
        "run_id": tracker.run_id,
    }
    # Also where another job calls this one: model and summary together say that there is nothing left to do.
    write_summary(output, summary)
    names = ("top1", "top5", "map", "ece", "kept_share", "kept_top1")
    shown = ", ".join(f"{name} {metrics[name]:.3f}" for name in names if name in metrics)
    return Outcome(
        DONE, summary, [f"validation clips (calibrated on the same ones): {shown}", f"model: {output}/model"]
    )


def _finished_summary(output: str) -> dict[str, Any] | None:
    """Return the summary of a run that reached its end and left its model."""
    if not (Path(output, "model", "config.json").exists() and Path(output, SUMMARY).exists()):
        return None
    summary: dict[str, Any] = json.loads(Path(output, SUMMARY).read_text(encoding="utf-8"))
    return summary if "metrics" in summary else None


def resolve(config: FalConfig, train_set: ShardSet, val_set: ShardSet) -> tuple[ModelConfig, TrainConfig]:
    """Fix the model's sizes and the schedule from settings and shards.

    Raises:
        ConfigError: the two shard sets do not belong together, or the settings do not fit them.
        ModelLoadError: what training is to start from cannot be read.
    """
    problems: list[str] = []
    if train_set.spec != val_set.spec:
        problems.append("--val: made with other clip settings than --train")
    if train_set.taxonomy.taxonomy_id != val_set.taxonomy.taxonomy_id:
        problems.append("--val: made with another taxonomy than --train")
    if config.clip is not None and config.clip != train_set.spec:
        problems.append(f"clip: the settings differ from the shards' {train_set.spec.to_dict()}; leave the section out")
    if problems:
        raise ConfigError(problems)
    model_config = replace(preset(config.model.preset), clip=train_set.spec)
    model_config = start_config(config.model.init_from, model_config, train_set.taxonomy)
    plan = ReadPlan(batch_clips=config.loop.batch_clips, num_workers=config.loop.workers)
    per_epoch = shards.steps_per_epoch(train_set, plan)
    if not config.loop.epochs:
        return model_config, config.train
    total = config.loop.epochs * per_epoch
    warmup = min(config.train.warmup_steps, total // 10)
    return model_config, replace(config.train, total_steps=total, warmup_steps=warmup)


def _key(
    config: FalConfig, shard_sets: dict[str, ShardSet], model_config: ModelConfig, train_config: TrainConfig
) -> parts.RunKey:
    """Name what decides the weights. Worker count and checkpoint rhythm may change between resumes."""
    uris = sorted({group.uri for shard_set in shard_sets.values() for group in shard_set.groups})
    return parts.RunKey(
        manifest_id=content_id(dict(zip(uris, storage.fingerprints(uris), strict=True))),
        model_id=content_id([model_config.to_dict(), start_id(config.model.init_from)]),
        taxonomy_id=shard_sets["train"].taxonomy.taxonomy_id,
        pipeline_id=model_config.clip.pipeline_id,
        settings_id=content_id(
            [asdict(train_config), config.loop.batch_clips, config.loop.is_mirrored, config.loop.kept_accuracy]
        ),
    )


def _same_everywhere(model_dir: str) -> str:
    """Make a path independent of the working directory, which workers do not share; leave a hub id as it is."""
    place = expanded(model_dir)
    return storage.absolute(place) if place and storage.exists(place) else place


def _fit(
    output: str,
    places: dict[str, str],
    config: FalConfig,
    model_config: ModelConfig,
    train_config: TrainConfig,
    tracker: AnyTracker,
) -> dict[str, float]:
    with ray_session(config.ray):
        from jobs.runtime import ray_train

        plan = ray_train.WorkerPlan(
            train_dir=places["train"],
            val_dir=places["val"],
            model_config=model_config,
            train_config=train_config,
            loop=config.loop,
            init_from=_same_everywhere(config.model.init_from),
            tracking=config.tracking,
            output=output,
            run_id=tracker.run_id,
        )
        return ray_train.fit(plan, output)
