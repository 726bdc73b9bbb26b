from __future__ import annotations

import pytest

from fal_model.errors import ConfigError
from pipelines.limits import DecodeLimits


def test_eight_k_passes_by_default() -> None:
    assert DecodeLimits().max_pixels_per_frame >= 8192 * 4320


def test_every_value_out_of_range_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        DecodeLimits(max_frames=0, wall_time_s=-1.0)
    assert caught.value.problems == [
        "limits.max_frames: got 0, must be ≥ 1 and ≤ 1e+08",
        "limits.wall_time_s: got -1.0, must be > 0 and ≤ 1e+06",
    ]


def test_plain_data_and_back() -> None:
    limits = DecodeLimits(max_frames=7, memory_bytes=2**30)
    assert DecodeLimits.from_dict(limits.to_dict()) == limits


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"limits\.max_frame: unknown field"):
        DecodeLimits.from_dict({"max_frame": 1})


def test_a_long_video_may_take_longer_but_not_for_ever() -> None:
    limits = DecodeLimits(total_wall_time_s=10, wall_time_per_video_s=0.5, max_duration_s=100)
    assert limits.total_wall_s(20) == 20
    assert limits.total_wall_s(1e12) == 60
