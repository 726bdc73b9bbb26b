"""Say how long a run will take, what it costs, and what holds it up."""

from __future__ import annotations

from dataclasses import asdict

from fal_model.errors import ConfigError
from jobs.runtime.cli import DONE, Argument, Outcome
from jobs.runtime.config import FalConfig
from pipelines.planning import make_plan

ARGUMENTS = (
    Argument("videos", "number of videos, for example 2.5e6"),
    Argument("output", "folder for summary.json", is_required=False),
)
MAX_VIDEOS = 1e12


def plan(options: dict[str, str], config: FalConfig) -> Outcome:
    """Plan a run from counts and rates; ``plan.*`` settings hold the rates.

    Raises:
        ConfigError: the number of videos is not one.
    """
    try:
        num_videos = float(options["videos"])
    except ValueError:
        num_videos = float("nan")
    if not (1 <= num_videos <= MAX_VIDEOS and num_videos.is_integer()):
        raise ConfigError([f"--videos: got {options['videos']!r}, must be a whole number from 1 to {MAX_VIDEOS:g}"])
    found = make_plan(int(num_videos), config.plan)
    lines = [
        f"{found.clips:,} clips",
        f"label: {found.label_h:,.2f} h (prepare alone {found.prepare_h:,.2f}, predict alone {found.predict_h:,.2f})",
        f"bottleneck: {found.bottleneck}; one model needs {found.cores_per_gpu:,.1f} decoding cores to stay busy",
        f"training shards: {found.shards_gib:,.1f} GiB",
    ]
    if config.plan.epochs:
        lines.append(f"train: {found.train_h:,.2f} h for {config.plan.epochs:g} epochs")
    if found.cost:
        lines.append(f"cost: {found.cost:,.2f}")
    lines.append("every figure follows from the plan.* settings: measure yours with a trial run")
    return Outcome(DONE, {"job": "plan", "videos": int(num_videos), **asdict(found)}, lines)
