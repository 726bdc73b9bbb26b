from __future__ import annotations

from pathlib import Path

import pytest

from jobs.runtime.config import load_config

CONFIGS = sorted(Path(__file__).parents[2].joinpath("configs").glob("*.yaml"))


def test_there_are_a_few_named_runs() -> None:
    assert 0 < len(CONFIGS) < 10


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_named_run_loads(path: Path) -> None:
    assert load_config(str(path)) != load_config(None)


def test_the_founding_recipe_is_512_clips_per_gpu_on_128_gpus() -> None:
    config = load_config(str(next(p for p in CONFIGS if p.stem == "train-fal-500")))
    assert config.loop.batch_clips == 512 * config.loop.workers == 512 * 128
    assert config.train.learning_rate == 1e-4
    assert config.model.preset == "fal-375m"
