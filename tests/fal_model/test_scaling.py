from typing import Any

import numpy as np
import pytest

from fal_model.calibration import Scaling, scaled
from fal_model.scaling import fit_levels, fit_scaling


def test_the_fit_is_never_worse_than_doing_nothing() -> None:
    logits, labels = np.array([-800.0, 900.0, 3.0]), np.array([1.0, 0.0, 1.0])
    found = fit_scaling(logits, labels, np.ones(3))
    loss = [np.logaddexp(0, x) - labels * x for x in (logits, scaled(logits[:, None], [found], [0])[:, 0])]
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
    prior = Scaling(temperature=2.0, bias=0.5)
    assert fit_scaling(np.array([1.0, 2.0, 3.0]), labels, np.ones(3), prior) == prior


def test_little_data_stays_near_the_prior_and_much_data_does_not() -> None:
    prior = Scaling(temperature=4.0, bias=2.0)
    logits, labels = np.array([2.0, -2.0, 1.0, -1.0]), np.array([1.0, 0.0, 0.0, 1.0])
    little = fit_scaling(logits, labels, np.ones(4), prior)
    much = fit_scaling(np.tile(logits, 1000), np.tile(labels, 1000), np.ones(4000), prior)
    honest = fit_scaling(np.tile(logits, 1000), np.tile(labels, 1000), np.ones(4000))
    assert 1.0 < little.bias < 2.0
    assert much.bias == pytest.approx(honest.bias, abs=0.01)
    assert much.temperature == pytest.approx(honest.temperature, rel=0.05)


def drawn(honest: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    chances: np.ndarray[Any, Any] = 1 / (1 + np.exp(-honest))
    labels: np.ndarray[Any, Any] = (np.random.default_rng(seed).random(honest.shape) < chances).astype(np.float64)
    return labels


def test_each_level_gets_its_own_scaling() -> None:
    honest = 2 * np.random.default_rng(1).standard_normal((5000, 4))
    labels = drawn(honest, 2)
    distorted = honest * [3, 3, 0.5, 0.5]
    upper, lower = fit_levels(distorted, labels, np.ones_like(labels), [0, 0, 1, 1])
    assert upper.temperature == pytest.approx(3, rel=0.1)
    assert lower.temperature == pytest.approx(0.5, rel=0.1)


def test_levels_share_a_scaling_where_their_own_would_not_serve_other_clips() -> None:
    honest = 2 * np.random.default_rng(3).standard_normal((60, 4))
    upper, lower = fit_levels(honest, drawn(honest, 4), np.ones((60, 4)), [0, 0, 1, 1])
    assert upper == lower == fit_scaling(honest, drawn(honest, 4), np.ones((60, 4)))


@pytest.mark.parametrize("num_rows", [0, 1, 3])
def test_hardly_any_clips_are_enough_to_go_on(num_rows: int) -> None:
    logits, labels = np.ones((num_rows, 2)), np.eye(num_rows, 2)
    for scaling in fit_levels(logits, labels, np.ones((num_rows, 2)), [0, 1]):
        assert 0.5 < scaling.temperature < 2


def test_a_level_without_data_takes_what_fits_all() -> None:
    honest = 2 * np.random.default_rng(1).standard_normal((2000, 2))
    labels = drawn(honest, 2)
    weights = np.stack([np.ones(2000), np.zeros(2000)], axis=1)
    upper, lower = fit_levels(3 * honest, labels, weights, [0, 1])
    assert lower == fit_scaling(3 * honest[:, :1], labels[:, :1], weights[:, :1])
    assert upper.temperature == pytest.approx(3, rel=0.1)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"labels and weights: got shapes \(2,\) and \(3,\), must be \(3,\) as logits"):
        fit_scaling(np.zeros(3), np.zeros(2), np.zeros(3))


@pytest.mark.parametrize("rows", [(4, 3, 3), (3, 4, 3), (3, 3, 4)])
def test_levels_are_fitted_to_arrays_of_one_shape(rows: tuple[int, int, int]) -> None:
    logits, labels, weights = (np.zeros((num, 2)) for num in rows)
    with pytest.raises(
        ValueError, match=rf"got shapes \({rows[1]}, 2\) and \({rows[2]}, 2\), must be \({rows[0]}, 2\)"
    ):
        fit_levels(logits, labels, weights, [0, 1])


@pytest.mark.parametrize("levels", [[], [0], [0, 1, 1]])
def test_there_is_one_level_per_class(levels: list[int]) -> None:
    with pytest.raises(
        ValueError, match=rf"levels: got {len(levels)} for logits of shape \(3, 2\), must be one per class"
    ):
        fit_levels(np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((3, 2)), levels)
