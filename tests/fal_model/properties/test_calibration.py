import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.calibration import fit_scaling


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
