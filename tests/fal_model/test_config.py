import json
from typing import Any

import pytest

from fal_model.config import LossConfig, ModelConfig, TrainConfig
from fal_model.errors import ConfigError
from fal_model.spec import ClipSpec
from tests.helpers.micro import MICRO


def test_a_round_trip_through_json() -> None:
    assert ModelConfig.from_dict(json.loads(json.dumps(MICRO.to_dict()))) == MICRO


def test_grids_halve_and_round_up() -> None:
    assert ModelConfig().grids == (14, 7, 4)
    assert MICRO.grids == (5, 3, 2)


def test_all_problems_are_in_one_message() -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig(width=4, dropout=1.0, stage_depths=(1, 0, 1))
    assert caught.value.problems == [
        "model.width: got 4, must be ≥ 8 and ≤ 4096",
        "model.dropout: got 1.0, must be ≥ 0 and < 1",
        "model.stage_depths: got (1, 0, 1), must be 3 whole numbers from 1 to 64",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 5}, r"model.width: got 768, must be a multiple of num_heads \(5\)"),
        ({"width": 10, "num_heads": 5}, "model.width: got 10, must be a multiple of 4"),
        ({"patch_px": 15}, r"model.patch_px: got 15, must divide clip.size_px \(224\)"),
        ({"stage_depths": (1, 1)}, r"model.stage_depths: got \(1, 1\), must be 3 whole numbers"),
        ({"stage_depths": (1, True, 1)}, r"model.stage_depths: got \(1, True, 1\)"),
        ({"has_frame_token": 1}, "model.has_frame_token: got 1, must be true or false"),
        ({"has_input_norm": "no"}, "model.has_input_norm: got 'no', must be true or false"),
        ({"activation": "gelu"}, "model.activation: got 'gelu', must be an Activation"),
    ],
)
def test_what_does_not_fit_together(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 3}, "model.layers: unknown field"),
        ({"clip": 3}, "model.clip: got 3, must be a mapping"),
        ({"stage_depths": 3}, "model.stage_depths: got 3, must be a list"),
        ({"clip": ClipSpec().to_dict() | {"size_px": 1}}, "clip.size_px: got 1"),
        ({"activation": "relu"}, r"model.activation: got 'relu', must be one of \['gelu', 'quick_gelu'\]"),
        ({"activation": []}, r"model.activation: got \[\], must be one of"),
        ({"width": 16.5}, "model.width: got 16.5, must be a whole number"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_dict(ModelConfig().to_dict() | change)


def test_a_missing_field_is_named() -> None:
    data = MICRO.to_dict()
    del data["width"]
    with pytest.raises(ConfigError, match=r"model\.width: missing"):
        ModelConfig.from_dict(data)


def test_training_follows_the_published_recipe_by_default() -> None:
    assert TrainConfig().learning_rate == 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0}, "train.learning_rate: got 0, must be > 0 and ≤ 1"),
        ({"warmup_steps": 11, "total_steps": 10}, r"train.warmup_steps: got 11, must be at most total_steps \(10\)"),
    ],
)
def test_wrong_training(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_bf16": "yes"}, "train.is_bf16: got 'yes', must be true or false"),
        ({"is_recomputed": 1}, "train.is_recomputed: got 1, must be true or false"),
        ({"loss": {"leaf_weight": 1}}, "train.loss: got {'leaf_weight': 1}, must be a LossConfig"),
    ],
)
def test_training_of_wrong_types(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip": {}}, "model.clip: got {}, must be a ClipSpec"),
        ({"stage_depths": None}, "model.stage_depths: got None, must be 3 whole numbers"),
        ({"has_input_norm": 1}, "model.has_input_norm: got 1, must be true or false"),
    ],
)
def test_sizes_of_wrong_types(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**change)


@pytest.mark.parametrize("data", [None, [1], "model"])
def test_a_config_is_a_mapping(data: Any) -> None:
    with pytest.raises(ConfigError, match=r"model: got .*, must be a mapping"):
        ModelConfig.from_dict(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": []}, r"model\.activation: got \[\], must be one of"),
        ({"clip": ClipSpec().to_dict() | {"sampling": []}}, r"clip\.sampling: got \[\], must be one of"),
    ],
)
def test_a_choice_that_is_no_text(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_dict(ModelConfig().to_dict() | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding_temperature": 0}, r"train\.loss\.embedding_temperature: got 0, must be ≥ 0.01 and ≤ 10"),
        ({"negative_margin": 1.0}, r"train\.loss\.negative_margin: got 1.0, must be ≥ 0 and < 1"),
        ({"positive_focus": -1}, r"train\.loss\.positive_focus: got -1, must be ≥ 0"),
        ({"leaf_weight": -1}, r"train\.loss\.leaf_weight: got -1, must be ≥ 0"),
        ({"hierarchy_weight": 0, "leaf_weight": 0, "frame_weight": 0}, "all are 0, one must be greater"),
    ],
)
def test_wrong_losses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LossConfig(**change)
