import json
from dataclasses import replace
from typing import Any

import pytest

from fal_model.errors import ConfigError
from fal_model.spec import ClipSpec, Sampling, content_id


def test_defaults_are_the_published_input() -> None:
    spec = ClipSpec()
    assert (spec.num_frames, spec.size_px) == (8, 224)


def test_all_problems_are_in_one_message() -> None:
    with pytest.raises(ConfigError) as caught:
        ClipSpec(num_frames=0, flow_step_s=2.0)
    assert caught.value.problems == [
        "clip.num_frames: got 0, must be ≥ 1 and ≤ 256",
        "clip.flow_step_s: got 2.0, must be > 0 and ≤ 1",
    ]


def test_the_flow_grid_is_not_finer_than_the_frame() -> None:
    with pytest.raises(ConfigError, match=r"clip.flow_size_px: got 33, must be at most size_px \(32\)"):
        ClipSpec(size_px=32, flow_size_px=33)


def test_a_round_trip_through_json() -> None:
    spec = ClipSpec(num_frames=4, sampling=Sampling.UNIFORM, flow_step_s=0.1)
    assert ClipSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": 3}, "clip.fps: unknown field"),
        (
            {"sampling": "best"},
            r"clip.sampling: got 'best', must be one of \['key_moments', 'keyframes', 'thorough', 'uniform'\]",
        ),
        ({"size_px": 1}, "clip.size_px: got 1, must be ≥ 16 and ≤ 1024"),
        ({"size_px": "96"}, "clip.size_px: got '96', must be a number"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ClipSpec.from_dict(ClipSpec(flow_size_px=8).to_dict() | change)


def test_a_missing_field_is_named() -> None:
    data = ClipSpec().to_dict()
    del data["window_s"]
    with pytest.raises(ConfigError, match=r"clip\.window_s: missing"):
        ClipSpec.from_dict(data)


def test_every_field_changes_the_pipeline_id() -> None:
    base = ClipSpec()
    others = [
        replace(base, num_frames=9),
        replace(base, size_px=256),
        replace(base, flow_size_px=48),
        replace(base, flow_step_s=0.1),
        replace(base, window_s=5),
        replace(base, sampling=Sampling.UNIFORM),
    ]
    assert len({spec.pipeline_id for spec in [base, *others]}) == 7


def test_content_ids_are_stable() -> None:
    assert content_id({"b": 1, "a": [1, "é"]}) == content_id({"a": [1, "é"], "b": 1}) == "8717ac25ea6b8854"
    with pytest.raises(ValueError, match="Out of range float"):
        content_id(float("nan"))
