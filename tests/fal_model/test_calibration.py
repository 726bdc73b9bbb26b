import json
from typing import Any

import numpy as np
import pytest

from fal_model.calibration import Calibration, Scaling, fit_scaling
from fal_model.errors import ConfigError


def test_the_fit_is_never_worse_than_doing_nothing() -> None:
    logits, labels = np.array([-800.0, 900.0, 3.0]), np.array([1.0, 0.0, 1.0])
    found = fit_scaling(logits, labels, np.ones(3))
    loss = [np.logaddexp(0, x) - labels * x for x in (logits, found.apply(logits))]
    assert loss[1].sum() < loss[0].sum()


def test_separable_data_stay_finite() -> None:
    found = fit_scaling(np.array([-1.0, 1.0]), np.array([0.0, 1.0]), np.ones(2))
    assert 0.05 <= found.temperature <= 1


def test_what_does_not_count_changes_nothing() -> None:
    logits, labels = np.array([0.5, -1.0, 2.0, 9.0]), np.array([1.0, 0.0, 0.0, 0.0])
    weights = np.array([1.0, 1.0, 1.0, 0.0])
    assert fit_scaling(logits, labels, weights) == fit_scaling(logits[:3], labels[:3], weights[:3])


@pytest.mark.parametrize("labels", [np.zeros(3), np.ones(3)])
def test_labels_without_contrast_teach_nothing(labels: np.ndarray[Any, Any]) -> None:
    assert fit_scaling(np.array([1.0, 2.0, 3.0]), labels, np.ones(3)) == Scaling()


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"labels and weights: got shapes \(2,\) and \(3,\), must be \(3,\) as logits"):
        fit_scaling(np.zeros(3), np.zeros(2), np.zeros(3))


def test_the_default_changes_nothing() -> None:
    logits = np.array([[1.5, -2.0]], dtype=np.float32)
    np.testing.assert_array_equal(Calibration().clip.apply(logits), logits)


def test_a_round_trip_through_json() -> None:
    calibration = Calibration(clip=Scaling(temperature=1.5, bias=-0.1), frame=Scaling(temperature=0.7))
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 1}, "calibration.scale: unknown field"),
        ({"clip": 1}, "calibration.clip: got 1, must be a mapping"),
        ({"clip": {"temperature": 1.0}}, "calibration.clip.bias: missing"),
        ({"frame": {"temperature": 0, "bias": 0}}, "calibration.temperature: got 0, must be ≥ 0.01"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Calibration.from_dict(Calibration().to_dict() | change)


def test_a_missing_part_is_named() -> None:
    with pytest.raises(ConfigError, match=r"calibration\.frame: missing"):
        Calibration.from_dict({"clip": {"temperature": 1.0, "bias": 0.0}})
