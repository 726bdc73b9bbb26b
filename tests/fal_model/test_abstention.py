import math

import numpy as np
import pytest

from fal_model.abstention import Abstention, Kept, fit_abstention, kept, wilson_lower


def test_wilson_by_hand() -> None:
    # (0.9 + z²/20 - z·sqrt(0.009 + z²/400)) / (1 + z²/10) with z = 1.645
    assert wilson_lower(np.array([9.0]), np.array([10.0]))[0] == pytest.approx(0.6522, abs=1e-4)
    assert wilson_lower(np.array([0.0]), np.array([5.0]))[0] == pytest.approx(0, abs=1e-12)
    many = wilson_lower(np.array([9e6]), np.array([1e7]))[0]
    assert 0.8998 < many < 0.9


def test_a_model_that_is_good_enough_never_abstains() -> None:
    scores = np.linspace(0.2, 1, 100)
    assert fit_abstention(scores, np.ones(100), 0.9) == Abstention(0.0, is_reached=True)


def test_the_threshold_lies_where_the_accuracy_is_reached() -> None:
    scores = np.linspace(0.005, 0.995, 100)
    hits = (scores > 0.4).astype(np.float64)
    found = fit_abstention(scores, hits, 0.9)
    assert found.is_reached
    assert 0.3 < found.below < 0.4  # a few wrong ones are within the accuracy
    assert kept(scores, hits, found.below).accuracy > 0.9
    stricter = fit_abstention(scores, hits, 0.95)
    assert found.below < stricter.below


def test_few_clips_prove_little() -> None:
    scores, hits = np.linspace(0.1, 1, 10), np.ones(10)
    found = fit_abstention(scores, hits, 0.9)
    assert found == Abstention(0.0, is_reached=False)  # 10 of 10 shows 0.79; nothing is better than keeping all of them
    assert fit_abstention(scores, hits, 0.75).is_reached


def test_what_cannot_be_reached_is_approached_and_never_all_is_given_up() -> None:
    scores = np.linspace(0.005, 0.995, 100)
    hits = np.where(scores > 0.6, np.arange(100) % 2, 0).astype(np.float64)
    found = fit_abstention(scores, hits, 0.9)
    assert not found.is_reached
    share, accuracy = kept(scores, hits, found.below)
    assert share > 0.2
    assert accuracy > hits.mean()
    assert kept(scores, np.zeros(100), fit_abstention(scores, np.zeros(100), 0.9).below).share == 1


def test_equal_scores_are_kept_or_left_together() -> None:
    scores = np.array([0.9] * 40 + [0.5] * 40)
    hits = np.array([1.0] * 40 + [1.0] * 20 + [0.0] * 20)
    assert fit_abstention(scores, hits, 0.9) == Abstention(0.7, is_reached=True)


def test_nothing_asked_or_nothing_known_keeps_everything() -> None:
    assert fit_abstention(np.array([0.1, 0.2]), np.zeros(2), 0.0) == Abstention(0.0, is_reached=True)
    assert fit_abstention(np.zeros(0), np.zeros(0), 0.9) == Abstention(0.0, is_reached=False)


@pytest.mark.parametrize("hit_every", [0, 1, 2, 7])
def test_nothing_asked_keeps_everything_whatever_the_number_of_clips(hit_every: int) -> None:
    for num in range(1, 400):
        hits = np.zeros(num)
        hits[:: hit_every or num + 1] = float(hit_every > 0)
        assert fit_abstention(np.linspace(0.1, 0.9, num), hits, 0.0) == Abstention(0.0, is_reached=True), num


def test_the_lower_end_of_a_share_is_never_below_zero() -> None:
    rows = np.arange(1.0, 20_000)
    assert wilson_lower(np.zeros_like(rows), rows).min() == 0
    assert wilson_lower(rows, rows).max() < 1


def test_what_is_kept_by_hand() -> None:
    scores, hits = np.array([0.9, 0.5, 0.5, 0.1]), np.array([1.0, 1.0, 0.0, 0.0])
    assert kept(scores, hits, 0.0) == Kept(1.0, 0.5)
    assert kept(scores, hits, 0.5) == Kept(0.75, 2 / 3)
    nothing = kept(scores, hits, 0.95)
    assert nothing.share == 0
    assert math.isnan(nothing.accuracy)
    assert math.isnan(kept(scores[:0], hits[:0], 0.5).share)
