import numpy as np
import pytest

from fal_model.thresholds import HIGHEST, LOWEST, best_f1, fit_thresholds, listed
from tests.helpers.micro import small_tree


def known(scores: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    return np.ones(scores.shape, dtype=bool)


def test_the_best_f1_by_hand() -> None:
    scores, labels = np.array([0.9, 0.8, 0.7, 0.1]), np.array([1.0, 0.0, 1.0, 0.0])
    assert best_f1(scores, labels) == pytest.approx(2 * 2 / (3 + 2))
    assert best_f1(scores, np.array([1.0, 0, 0, 0])) == 1
    assert np.isnan(best_f1(scores, np.zeros(4)))


def test_equal_scores_fall_together() -> None:
    assert best_f1(np.array([0.5, 0.5, 0.5]), np.array([1.0, 0.0, 0.0])) == 2 / (3 + 1)


def test_half_the_best_f1_is_the_best_threshold_of_honest_scores() -> None:
    dice = np.random.default_rng(0)
    scores = dice.beta(0.5, 2.0, (200_000, 1))
    labels = (dice.random(scores.shape) < scores).astype(np.float64)
    (fitted,) = fit_thresholds(scores, labels, known(scores))
    tried = np.linspace(0.05, 0.95, 91)
    f1 = [2 * labels[scores >= t].sum() / ((scores >= t).sum() + labels.sum()) for t in tried]
    assert fitted == pytest.approx(tried[int(np.argmax(f1))], abs=0.02)


def test_a_class_with_few_clips_takes_what_is_best_for_all() -> None:
    dice = np.random.default_rng(0)
    labels = (dice.random((400, 3)) < [0.5, 0.5, 0.002]).astype(np.float64)
    labels[0] = [1, 1, 1]
    scores = np.clip(0.2 + 0.5 * labels + 0.4 * dice.standard_normal((400, 3)), 0, 1)
    scores[:, 0] = 0.1 + 0.8 * labels[:, 0]  # never wrong
    scores[labels[:, 2] > 0, 2] = 0.99  # nor this one, as far as one can see
    easy, hard, rare = fit_thresholds(scores, labels, known(scores))
    overall = best_f1(scores.ravel(), labels.ravel()) / 2
    assert easy > overall > hard
    assert abs(rare - overall) < abs(easy - overall) / 2


def test_a_class_that_is_never_true_takes_what_is_best_for_all() -> None:
    scores, labels = np.array([[0.9, 0.2], [0.1, 0.3], [0.95, 0.1]]), np.array([[1.0, 0], [0, 0], [0, 0]])
    overall = best_f1(scores.ravel(), labels.ravel()) / 2
    assert overall == pytest.approx(1 / 3)  # one hit of two said and one true: not the half of a class without truth
    assert fit_thresholds(scores, labels, known(scores))[1] == pytest.approx(overall, abs=1e-4)


def test_unknown_truth_is_not_looked_at() -> None:
    scores, labels = np.array([[0.8], [0.9], [0.1]]), np.array([[1.0], [0.0], [0.0]])
    is_known = np.array([[True], [False], [True]])
    (looked_at,), (left_out,) = (fit_thresholds(scores, labels, mask) for mask in (known(scores), is_known))
    assert looked_at == pytest.approx(1 / 3, abs=1e-4)  # the wrong one scores highest: the best F1 is 2/3
    assert left_out == 0.5  # without it, nothing is wrong
    true_but_unknown = fit_thresholds(scores, np.array([[1.0], [1.0], [0.0]]), is_known)
    assert true_but_unknown[0] == left_out


def test_without_any_truth_thresholds_are_a_half() -> None:
    scores = np.full((2, 3), 0.3)
    assert fit_thresholds(scores, np.zeros((2, 3)), known(scores)).tolist() == [0.5] * 3


def test_thresholds_stay_in_range() -> None:
    scores = np.random.default_rng(0).random((1000, 1))
    labels = (np.arange(1000) == 0).astype(np.float64)[:, None]
    labels[scores.argmin()] = 1
    (fitted,) = fit_thresholds(scores, labels, known(scores))
    assert fitted == LOWEST < HIGHEST


def test_a_listed_class_brings_its_ancestors() -> None:
    tree = small_tree()
    scores = np.array([[0.6, 0.1, 0.5, 0.2, 0.45, 0.1, 0.1], [0.6, 0.1, 0.5, 0.2, 0.35, 0.1, 0.1]])
    thresholds = np.array([0.9, 0.9, 0.9, 0.9, 0.4, 0.4, 0.4])
    found = listed(scores, thresholds, tree)
    assert [tree.nodes[i].id for i in np.flatnonzero(found[0])] == ["sport", "ball", "tennis"]
    assert not found[1].any()
