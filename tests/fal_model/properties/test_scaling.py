import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.calibration import scaled
from fal_model.scaling import fit_levels, fit_scaling


@given(st.floats(0.3, 3), st.floats(-2, 2))
@settings(deadline=None, max_examples=15)
def test_a_known_distortion_is_undone(temperature: float, bias: float) -> None:
    dice = np.random.default_rng(0)
    honest = 2 * dice.standard_normal(20_000)
    labels = (dice.random(20_000) < 1 / (1 + np.exp(-honest))).astype(np.float64)
    distorted = (honest - bias) * temperature
    found = fit_scaling(distorted, labels, np.ones(20_000))
    assert found.temperature == pytest.approx(temperature, rel=0.06)
    assert found.bias == pytest.approx(bias, abs=0.1)


@given(st.integers(1, 40), st.integers(0, 1000), st.sampled_from([0.01, 1.0, 50.0]))
@settings(deadline=None, max_examples=60)
def test_any_fit_is_in_range_and_keeps_the_order_within_a_class(num_rows: int, seed: int, scale: float) -> None:
    dice = np.random.default_rng(seed)
    logits = scale * dice.standard_normal((num_rows, 3))
    labels = (dice.random((num_rows, 3)) < 0.3).astype(np.float64)
    weights = (dice.random((num_rows, 3)) < 0.8).astype(np.float64)
    levels = [0, 1, 1]
    for scaling, at in zip(fit_levels(logits, labels, weights, levels), ([0], [1, 2]), strict=True):
        assert 0.05 <= scaling.temperature <= 20
        assert -10 <= scaling.bias <= 10
        order = np.argsort(logits[:, at], axis=0, kind="stable")
        assert (
            np.diff(np.take_along_axis(scaled(logits[:, at], [scaling], [0] * len(at)), order, axis=0), axis=0) >= 0
        ).all()
