import math

import numpy as np
import numpy.typing as npt
import pytest

from fal_model.metrics import (
    TEMPORAL_IOUS,
    TimedLabel,
    average_precision,
    confusion_pairs,
    expected_calibration_error,
    f1,
    f1_per_level,
    mean_average_precision,
    recall_at_k,
    segment_map,
    temporal_iou,
    top_k_accuracy,
)
from tests.helpers.micro import small_tree


def test_top_k_counts_any_true_class() -> None:
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [1, 0, 0]])
    labels = np.array([[0.0, 1, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]])  # the last row has nothing to find
    assert top_k_accuracy(scores, labels, 1) == pytest.approx(1 / 3)
    assert top_k_accuracy(scores, labels, 2) == pytest.approx(2 / 3)
    assert top_k_accuracy(scores, labels, 3) == 1
    assert math.isnan(top_k_accuracy(scores, np.zeros((4, 3)), 1))


def unit(*degrees: float) -> npt.NDArray[np.float64]:
    angle = np.deg2rad(np.array(degrees))
    return np.stack((np.cos(angle), np.sin(angle)), axis=1)


def test_recall_of_neighbours_by_hand() -> None:
    embedding = unit(0, 10, 25, 45, 90)
    labels = np.array([[1.0, 0], [0, 1], [1, 0], [1, 1], [0, 0]])
    # Nearest first: 0: 1 2 3; 1: 0 2 3; 2: 1 3 0; 3: 2 1 4 0; the last has no label and is no query.
    found = recall_at_k(embedding, labels, (1, 2, 3))
    assert found == {1: 1 / 4, 2: 3 / 4, 3: 1.0}


def test_rows_without_a_like_are_searched_but_do_not_ask() -> None:
    labels = np.eye(3)[[0, 0, 1]]
    assert recall_at_k(unit(0, 60, 10), labels, (1, 5)) == {1: 0.0, 5: 1.0}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_recall_without_anything_to_find_has_no_meaning(count: int) -> None:
    found = recall_at_k(np.zeros((count, 2)), np.eye(3)[:count])
    assert set(found) == {1, 5}
    assert all(math.isnan(value) for value in found.values())


def test_recall_of_many_rows_is_that_of_one_product() -> None:
    dice = np.random.default_rng(0)
    embedding = dice.standard_normal((700, 4)).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    labels = np.eye(9)[dice.integers(0, 9, 700)]
    near = embedding @ embedding.T
    np.fill_diagonal(near, -2)
    best = np.argsort(-near, axis=1)[:, :5]
    hits = (labels[best] * labels[:, None]).sum(axis=2) > 0
    found = recall_at_k(embedding, labels)
    assert found == {1: pytest.approx(hits[:, 0].mean()), 5: pytest.approx(hits.any(axis=1).mean())}
    few = recall_at_k(embedding, labels, max_queries=100)
    assert few[5] == pytest.approx(hits[np.linspace(0, 699, 100).astype(int)].any(axis=1).mean())


def test_average_precision_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    assert average_precision(scores, np.array([1.0, 0, 1, 0])) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(scores, np.array([1.0, 1, 0, 0])) == 1
    assert math.isnan(average_precision(scores, np.zeros(4)))


def test_equal_scores_are_one_step_whatever_their_order() -> None:
    scores = np.array([0.5, 0.5, 0.5, 0.5])
    assert average_precision(scores, np.array([1.0, 0, 0, 0])) == 0.25
    assert average_precision(scores, np.array([0.0, 0, 0, 1])) == 0.25


def test_classes_that_never_hold_are_left_out_of_the_mean() -> None:
    scores = np.array([[0.9, 0.9], [0.1, 0.1]])
    assert mean_average_precision(scores, np.array([[0.0, 0], [1, 0]])) == 0.5
    assert math.isnan(mean_average_precision(scores, np.zeros((2, 2))))


def test_f1_by_hand() -> None:
    scores = np.array([[0.9, 0.2, 0.0], [0.6, 0.7, 0.0]])
    labels = np.array([[1.0, 0, 0], [0, 1, 0]])
    result = f1(scores, labels)  # 2 hits, 3 said, 2 true; per class 2/3 and 1; the third is never looked at
    assert result.micro == pytest.approx(4 / 5)
    assert result.macro == pytest.approx((2 / 3 + 1) / 2)
    assert math.isnan(f1(scores, np.zeros((2, 3)), threshold=2.0).micro)


def test_what_is_not_known_is_left_out() -> None:
    scores, labels = np.array([[0.9, 0.9], [0.8, 0.1], [0.7, 0.8]]), np.array([[0.0, 1], [1, 0], [0, 0]])
    known = np.array([[False, True], [True, True], [True, False]])
    assert (mean_average_precision(scores, labels), mean_average_precision(scores, labels, known)) == (0.75, 1)
    assert mean_average_precision(scores, labels, np.ones_like(known)) == 0.75
    assert f1(scores, labels).micro == pytest.approx(4 / 7)
    assert f1(scores, labels, known_NK=known).micro == pytest.approx(4 / 5)
    assert f1(scores, labels, known_NK=known).macro == pytest.approx((2 / 3 + 1) / 2)
    assert f1(scores, labels, known_NK=np.ones_like(known)) == f1(scores, labels)
    assert math.isnan(mean_average_precision(scores, labels, np.zeros_like(known)))
    assert math.isnan(f1(scores, labels, known_NK=np.zeros_like(known)).macro)


def test_f1_of_each_level() -> None:
    labels = np.array([[1.0, 0, 1, 0, 0, 1, 0]])
    scores = np.array([[0.9, 0, 0.9, 0, 0.9, 0, 0]])
    assert [level.micro for level in f1_per_level(scores, labels, small_tree())] == [1, 1, 0]
    known = np.array([[True] * 4 + [False] * 3])
    levels = [level.micro for level in f1_per_level(scores, labels, small_tree(), known_NK=known)]
    assert levels[:2] == [1, 1]
    assert math.isnan(levels[2])


def test_calibration_error_by_hand() -> None:
    scores = np.array([0.9, 0.9, 0.9, 0.9, 0.1])
    hits = np.array([1.0, 1, 1, 0, 0])
    assert expected_calibration_error(scores, hits, 10) == pytest.approx((abs(4 * 0.9 - 3) + 0.1) / 5)
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0
    assert math.isnan(expected_calibration_error(np.array([]), np.array([])))


def test_confusions_are_listed_by_frequency() -> None:
    labels = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]])
    assert confusion_pairs([1, 1, 0, 2], labels) == [(0, 1, 2), (1, 0, 1), (2, 0, 1)]
    assert confusion_pairs([1, 1, 0, 2], labels, max_pairs=1) == [(0, 1, 2)]


def segment(video_id: str, start_s: float, end_s: float, score: float = 1.0, class_index: int = 0) -> TimedLabel:
    return TimedLabel(video_id, class_index, start_s, end_s, score)


def test_temporal_iou() -> None:
    assert temporal_iou(segment("v", 0, 4), segment("v", 2, 6)) == pytest.approx(2 / 6)
    assert temporal_iou(segment("v", 0, 1), segment("v", 1, 2)) == 0
    assert temporal_iou(segment("v", 0, 1), segment("v", 5, 6)) == 0


def test_segment_map_by_hand() -> None:
    truth = [segment("a", 0, 10), segment("b", 0, 10), segment("b", 20, 30, class_index=1)]
    found = [
        segment("a", 0, 9, 0.9),  # IoU 0.9
        segment("a", 0, 10, 0.8),  # that one is taken
        segment("b", 4, 10, 0.7),  # IoU 0.6
        segment("c", 0, 10, 0.6),  # no such video in the truth
    ]
    result = segment_map(truth, found, (0.5, 0.75))
    assert result[0.5] == pytest.approx(((1 + 2 / 3) / 2 + 0) / 2)  # nothing was found of class 1
    # At 0.75 the first still meets the only reachable one: recall 1/2 at precision 1.
    assert result[0.75] == pytest.approx((1 / 2 + 0) / 2)


def test_a_second_guess_may_meet_what_is_free() -> None:
    truth = [segment("a", 0, 10), segment("a", 5, 15)]
    found = [segment("a", 3, 13, 0.9), segment("a", 3, 13, 0.8)]
    assert segment_map(truth, found, (0.5,))[0.5] == 1


def test_a_guess_goes_to_the_true_segment_it_meets_best() -> None:
    truth = [segment("a", 0, 10), segment("a", 2, 12)]
    found = [segment("a", 2, 12, 0.9), segment("a", 0, 10, 0.8)]
    assert segment_map(truth, found, (0.9,))[0.9] == 1


def test_perfect_segments_and_none() -> None:
    truth = [segment("a", 0, 10), segment("b", 3, 5, class_index=4)]
    assert set(segment_map(truth, truth).values()) == {1.0}
    assert set(segment_map(truth, [])) == set(TEMPORAL_IOUS)
    assert set(segment_map(truth, []).values()) == {0.0}
    assert all(math.isnan(value) for value in segment_map([], truth).values())
    assert (TEMPORAL_IOUS[0], TEMPORAL_IOUS[-1], len(TEMPORAL_IOUS)) == (0.5, 0.95, 10)
