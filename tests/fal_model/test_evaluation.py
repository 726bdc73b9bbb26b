from dataclasses import replace

import numpy as np
import pytest

from fal_model.calibration import Calibration, Scaling
from fal_model.evaluation import (
    KEPT_ACCURACY,
    Collected,
    best_answers,
    calibrate,
    classification_metrics,
    evaluation_metrics,
    known_classes,
)
from tests.helpers.micro import small_tree

TREE = small_tree()
LEVELS = (0, 1, 2)
GOLF, TENNIS, NEWS = [1.0, 0, 1, 0, 0, 1, 0], [1.0, 0, 1, 0, 1, 0, 0], [0.0, 1, 0, 0, 0, 0, 0]


def collected(logits: list[list[float]], labels: list[list[float]]) -> Collected:
    logits_NK, labels_NK = np.array(logits, dtype=np.float32), np.array(labels, dtype=np.float32)
    embedding_NE = logits_NK / np.linalg.norm(logits_NK, axis=1, keepdims=True)
    return Collected(logits_NK, labels_NK, logits_NK, labels_NK, embedding_NE)


def measured(logits: list[list[float]], labels: list[list[float]]) -> dict[str, float]:
    return evaluation_metrics(collected(logits, labels), TREE, Calibration())


def drawn(num_rows: int, slope: float, seed: int = 0) -> Collected:
    """Draw clips whose labels follow logits, which are then stretched."""
    dice = np.random.default_rng(seed)
    honest_NK = 1.5 * dice.standard_normal((num_rows, 7))
    labels_NK = np.zeros((num_rows, 7))
    for child, parent in enumerate(TREE.parents):
        held_N = 1.0 if parent < 0 else labels_NK[:, parent]
        labels_NK[:, child] = held_N * (dice.random(num_rows) < 1 / (1 + np.exp(-honest_NK[:, child])))
    return collected((slope * honest_NK).tolist(), labels_NK.tolist())


# ---- metrics ------------------------------------------------------------------------------------------------------


def test_metrics_by_hand() -> None:
    sure, wrong = [[9.0 if x else -9.0 for x in row] for row in (GOLF, NEWS)], [-9.0, 9, -9, -9, -9, -9, -9]
    right = measured(sure, [GOLF, NEWS])
    assert right.pop("ece") < 0.01
    # The second row has no class at levels 1 and 2: the best one there is wrong, and its score says so.
    assert all(right.pop(f"ece_level_{level}") < 0.01 for level in LEVELS)
    assert set(right.values()) == {1.0}
    assert set(right) == {
        *("top1", "top5", "map", "f1_micro", "f1_macro", "frame_map"),
        *("f1_micro_at_0.5", "f1_macro_at_0.5", "kept_share", "kept_top1"),
        *(f"f1_level_{level}" for level in LEVELS),
    }
    half = measured([wrong, sure[1]], [GOLF, NEWS])
    assert half["top1"] == half["kept_top1"] == 0.5
    assert half["ece"] == pytest.approx(0.5, abs=0.01)
    assert half["ece_level_0"] == pytest.approx(0.5, abs=0.01)


def test_retrieval_is_measured_by_leaves() -> None:
    near = [[3.0, 0, 0, 0, 0, 0, 0], [3.0, 1, 0, 0, 0, 0, 0], [3.0, 3, 0, 0, 0, 0, 0], [0.0, 3, 0, 0, 0, 0, 0]]
    found = measured(near, [GOLF, TENNIS, GOLF, TENNIS])
    assert (found["recall_at_1"], found["recall_at_5"]) == (0, 1)
    found = measured(near, [GOLF, GOLF, TENNIS, TENNIS])
    assert found["recall_at_1"] == 0.75  # the third lies nearer to the second


def test_numbers_without_meaning_are_left_out() -> None:
    nothing = measured([[-9.0] * 7], [[0.0] * 7])
    assert set(nothing) == {"ece", "kept_share", "kept_top1", *(f"ece_level_{level}" for level in LEVELS)}
    assert nothing["kept_top1"] == 0  # something was answered where nothing is


def test_f1_follows_the_thresholds() -> None:
    scores = np.array([[0.9, 0.1, 0.8, 0.1, 0.3, 0.1, 0.1], [0.9, 0.1, 0.8, 0.1, 0.1, 0.4, 0.1]])
    labels = np.array([TENNIS, GOLF])
    low = Calibration(thresholds={node.id: 0.25 for node in TREE.nodes})
    fitted = classification_metrics(scores, labels, TREE, low)
    assert (fitted["f1_micro"], fitted["f1_macro"]) == (1.0, 1.0)
    assert fitted["f1_micro_at_0.5"] == pytest.approx(2 * 4 / (4 + 6))
    assert fitted["f1_macro_at_0.5"] == pytest.approx(2 / 4)
    assert classification_metrics(scores, labels, TREE, low, 0.5)["f1_micro"] == fitted["f1_micro_at_0.5"]
    # The leaf alone is above its threshold; its path counts as said.
    only_leaves = Calibration(thresholds={node.id: 0.25 if node.id in {"tennis", "golf"} else 1 for node in TREE.nodes})
    assert classification_metrics(scores, labels, TREE, only_leaves)["f1_micro"] == 1.0


def test_what_is_abstained_from_is_counted() -> None:
    scores = np.array([[0.9, 0.1, 0.9, 0.1, 0.8, 0.1, 0.1], [0.9, 0.1, 0.8, 0.1, 0.1, 0.3, 0.1]])
    labels = np.array([TENNIS, NEWS])
    found = classification_metrics(scores, labels, TREE, Calibration(abstain_below=0.5))
    assert (found["top1"], found["kept_share"], found["kept_top1"]) == (0.5, 0.5, 1.0)


def test_labels_that_are_not_deep_say_nothing_about_what_is_below() -> None:
    labels = np.array([GOLF, [1.0, 0, 0, 0, 0, 0, 0], [1.0, 0, 1, 0, 0, 0, 0], [0.0] * 7])
    known = known_classes(labels, TREE)
    assert known[[0, 3]].all()
    unknown = [[TREE.nodes[k].id for k in np.flatnonzero(~row)] for row in known]
    assert unknown[1] == ["ball", "water", "tennis", "golf", "diving"]  # nothing of all that lies below
    assert unknown[2] == ["tennis", "golf"]
    scores = np.tile([0.9, 0.1, 0.8, 0.1, 0.1, 0.7, 0.1], (4, 1))
    top = best_answers(scores, labels, known, TREE.leaves)
    assert top.hits_N.tolist() == [1, 0]
    at_level_1 = best_answers(scores, labels, known, [2, 3])
    assert at_level_1.hits_N.tolist() == [1, 1, 0]


@pytest.mark.parametrize("shallow", [[1.0, 0, 1, 0, 0, 0, 0], [1.0, 0, 0, 0, 0, 0, 0]])
def test_what_labels_leave_open_counts_neither_for_nor_against(shallow: list[float]) -> None:
    # The second clip shows tennis, and the model says so; its label is only not that deep.
    says = [[9.0 if x else -9.0 for x in row] for row in (GOLF, [1.0, 0, 1, 0, 0.5, 1, 0], TENNIS)]
    found = measured(says, [GOLF, shallow, TENNIS])
    ones = {"map", "frame_map", "f1_micro", "f1_macro", "f1_micro_at_0.5", "f1_macro_at_0.5", "f1_level_1"}
    assert {name: found[name] for name in ones} == dict.fromkeys(ones, 1.0)
    # Where the label does say something, the same answer is wrong.
    assert measured(says, [GOLF, NEWS, TENNIS])["map"] < 1


# ---- calibration --------------------------------------------------------------------------------------------------


def test_calibration_lowers_the_calibration_error() -> None:
    rows = drawn(4000, slope=3)
    before = evaluation_metrics(rows, TREE, Calibration())
    found = calibrate(rows, TREE)
    after = evaluation_metrics(rows, TREE, found)
    assert before["ece"] > 0.1
    assert after["ece"] < before["ece"] / 2
    assert after["ece_level_1"] < before["ece_level_1"] / 2
    assert found.frame == found.clip
    assert found.frame_thresholds == found.thresholds
    assert len(found.clip) == 3
    assert list(found.thresholds) == [node.id for node in TREE.nodes]


def test_fitted_thresholds_serve_rare_classes_better_than_a_half() -> None:
    found = calibrate(drawn(2000, slope=1), TREE)
    tested = evaluation_metrics(drawn(2000, slope=1, seed=1), TREE, found)
    assert tested["f1_macro"] > tested["f1_macro_at_0.5"] + 0.02


def test_what_is_kept_reaches_the_accuracy_on_other_clips() -> None:
    found = calibrate(drawn(4000, slope=2), TREE, kept_accuracy=0.6)
    others = drawn(4000, slope=2, seed=1)
    tested, whole = (evaluation_metrics(others, TREE, c) for c in (found, replace(found, abstain_below=0.0)))
    assert whole["kept_share"] == 1
    assert whole["kept_top1"] < 0.57
    assert 0.05 < tested["kept_share"] < 1
    assert tested["kept_top1"] > 0.6 - 0.03
    assert calibrate(drawn(400, slope=2), TREE, kept_accuracy=0).abstain_below == 0
    assert calibrate(drawn(400, slope=2), TREE) == calibrate(drawn(400, slope=2), TREE, KEPT_ACCURACY)


def test_without_labelled_frames_their_calibration_stays() -> None:
    rows = collected([[1.0] * 7, [-1.0] * 7], [[1.0, 0, 0, 1, 0, 0, 1], [0.0] * 7])
    rows = rows._replace(frame_logits_FK=np.zeros((0, 7), np.float32), frame_labels_FK=np.zeros((0, 7), np.float32))
    found = calibrate(rows, TREE)
    assert found.frame == (Scaling(),) * 3
    assert set(found.frame_thresholds.values()) == {0.5}
    assert found.clip != (Scaling(),) * 3
