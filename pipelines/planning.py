"""Before the run: how long it takes, what it costs, and which stage holds the others up. Arithmetic only.

``cluster/sizing.md`` works an example by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fal_model.errors import ConfigError
from fal_model.ranges import Range, range_problems
from pipelines.sampling import count_windows

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanConfig:
    """What a plan is made of. Rates are yours to measure: `summary.json` of a trial run has them.

    Attributes:
        video_s: Mean length of a video, seconds.
        window_s: Longest window of a clip, seconds, as in the model's clip settings.
        window_overlap: Share of a window that it has in common with the next one, as in the model's clip settings.
        cores: Cores that decode.
        gpus: Accelerators that run the model; 0 if cores do that too.
        prepare_videos_per_core_s: Videos that one core opens, decodes and samples per second.
        predict_clips_per_gpu_s: Clips that one accelerator (without one: one core) labels per second.
        train_clips_per_gpu_s: Clips that one accelerator (without one: one core) trains on per second.
        epochs: Passes of training over all clips; 0 plans labelling alone.
        shard_clip_kib: Size of a clip in a training shard, KiB; recordings have 100 at 224 px and 8 frames.
        core_hour_price: Price of one core for an hour, any currency.
        gpu_hour_price: Price of one accelerator for an hour, same currency.
    """

    video_s: Annotated[float, Range(gt=0, le=1e6)] = 30.0
    window_s: Annotated[float, Range(gt=0, le=1e4)] = 10.0
    window_overlap: Annotated[float, Range(ge=0, le=0.75)] = 0.0
    cores: Annotated[int, Range(ge=1, le=10_000_000)] = 2
    gpus: Annotated[int, Range(ge=0, le=1_000_000)] = 0
    prepare_videos_per_core_s: Annotated[float, Range(gt=0, le=1e6)] = 10.0
    predict_clips_per_gpu_s: Annotated[float, Range(gt=0, le=1e7)] = 60.0
    train_clips_per_gpu_s: Annotated[float, Range(gt=0, le=1e7)] = 25.0
    epochs: Annotated[float, Range(ge=0, le=1e6)] = 0.0
    shard_clip_kib: Annotated[float, Range(gt=0, le=1e6)] = 100.0
    core_hour_price: Annotated[float, Range(ge=0, le=1e6)] = 0.0
    gpu_hour_price: Annotated[float, Range(ge=0, le=1e6)] = 0.0

    def __post_init__(self) -> None:
        problems = range_problems(self)
        if problems:
            raise ConfigError([f"plan.{p}" for p in problems])


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run will be.

    Attributes:
        clips: Clips in all.
        prepare_h: Hours of decoding, if nothing else held it up.
        predict_h: Hours of the model, if nothing else held it up.
        label_h: Hours of the labelling job: its stages overlap, so the slowest one decides.
        bottleneck: That stage.
        cores_per_gpu: Decoding cores that keep one accelerator (or model core) busy.
        train_h: Hours of training after the shards are written.
        shards_gib: Size of the training shards.
        cost: Of all cores and accelerators for all hours.
    """

    clips: int
    prepare_h: float
    predict_h: float
    label_h: float
    bottleneck: str
    cores_per_gpu: float
    train_h: float
    shards_gib: float
    cost: float


def make_plan(num_videos: int, config: PlanConfig) -> Plan:
    """Work out a run over ``num_videos`` videos."""
    clips_per_video = count_windows(config.video_s, config.window_s, config.window_overlap)
    clips = num_videos * clips_per_video
    # Without accelerators, one core of the pool runs the model and the others decode.
    models = config.gpus or 1
    decoders = config.cores if config.gpus else max(1, config.cores - 1)
    prepare_h = num_videos / (decoders * config.prepare_videos_per_core_s) / SECONDS_PER_HOUR
    predict_h = clips / (models * config.predict_clips_per_gpu_s) / SECONDS_PER_HOUR
    label_h = max(prepare_h, predict_h)
    train_models = config.gpus or config.cores
    train_h = config.epochs * clips / (train_models * config.train_clips_per_gpu_s) / SECONDS_PER_HOUR
    prices_per_h = config.cores * config.core_hour_price + config.gpus * config.gpu_hour_price
    return Plan(
        clips=clips,
        prepare_h=prepare_h,
        predict_h=predict_h,
        label_h=label_h,
        bottleneck="prepare" if prepare_h >= predict_h else "predict",
        cores_per_gpu=config.predict_clips_per_gpu_s / clips_per_video / config.prepare_videos_per_core_s,
        train_h=train_h,
        shards_gib=clips * config.shard_clip_kib / 2**20,
        cost=(label_h + train_h) * prices_per_h,
    )
