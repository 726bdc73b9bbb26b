from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import ConfigError
from pipelines.planning import PlanConfig, make_plan


def test_plan_worked_by_hand() -> None:
    config = PlanConfig(
        video_s=60.0,
        window_s=10.0,
        cores=240,
        gpus=4,
        prepare_videos_per_core_s=5 / 6,
        predict_clips_per_gpu_s=250.0,
        train_clips_per_gpu_s=100.0,
        epochs=2.0,
        shard_clip_kib=128.0,
        core_hour_price=0.05,
        gpu_hour_price=2.0,
    )
    found = make_plan(2_500_000, config)
    assert found.clips == 15_000_000
    assert found.predict_h == pytest.approx(15e6 / 1000 / 3600)
    assert found.prepare_h == pytest.approx(2.5e6 / 200 / 3600)
    assert found.label_h == found.predict_h
    assert found.bottleneck == "predict"
    assert found.cores_per_gpu == pytest.approx(50.0)
    assert found.train_h == pytest.approx(2 * 15e6 / 400 / 3600)
    assert found.shards_gib == pytest.approx(15e6 / 8192)
    assert found.cost == pytest.approx((found.label_h + found.train_h) * (12 + 8))


def test_windows_that_overlap_are_more_clips() -> None:
    plans = [make_plan(10, PlanConfig(video_s=60.0, window_s=10.0, window_overlap=share)) for share in (0.0, 0.5, 0.75)]
    assert [plan.clips for plan in plans] == [60, 110, 210]


def test_without_accelerators_one_core_runs_the_model() -> None:
    config = PlanConfig(video_s=5.0, cores=2, gpus=0, prepare_videos_per_core_s=10.0, predict_clips_per_gpu_s=60.0)
    found = make_plan(36_000, config)
    assert found.prepare_h == pytest.approx(1.0)
    assert found.bottleneck == "prepare"
    assert found.train_h == 0


@settings(deadline=None, max_examples=50)
@given(videos=st.integers(1, 10**9), cores=st.integers(1, 5000), gpus=st.integers(1, 500))
def test_more_machines_never_take_longer(videos: int, cores: int, gpus: int) -> None:
    small = make_plan(videos, PlanConfig(cores=cores, gpus=gpus))
    large = make_plan(videos, PlanConfig(cores=2 * cores, gpus=2 * gpus))
    assert large.label_h <= small.label_h
    assert small.label_h == max(small.prepare_h, small.predict_h)


def test_every_bad_rate_is_named() -> None:
    with pytest.raises(ConfigError, match=r"plan.video_s: got -1, must be > 0") as caught:
        PlanConfig(video_s=-1, cores=0)
    assert any(p.startswith("plan.cores: got 0") for p in caught.value.problems)
