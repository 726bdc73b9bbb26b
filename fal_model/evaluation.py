"""What a model is worth on held-out clips: fit its calibration on some, measure it on others. Numpy only.

Corpus evaluation measures videos with the same functions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fal_model import metrics
from fal_model.abstention import fit_abstention, kept
from fal_model.calibration import DEFAULT_THRESHOLD, Calibration
from fal_model.postprocess import counted, path_scores
from fal_model.scaling import fit_levels
from fal_model.taxonomy import Taxonomy
from fal_model.thresholds import fit_thresholds, listed

Floats = npt.NDArray[np.floating]
KEPT_ACCURACY = 0.9
"""Top-1 accuracy of what the model does not abstain from, where nobody says otherwise."""


class Collected(NamedTuple):
    """What is said and true of N clips whose labels are known, and of the F frames among them that are labelled."""

    logits_NK: npt.NDArray[np.float32]
    labels_NK: npt.NDArray[np.float32]
    frame_logits_FK: npt.NDArray[np.float32]
    frame_labels_FK: npt.NDArray[np.float32]
    embedding_NE: npt.NDArray[np.float32]


class TopAnswers(NamedTuple):
    """The best answers of N rows: their scores, and 1 where they are right."""

    scores_N: Floats
    hits_N: Floats


def calibrate(collected: Collected, taxonomy: Taxonomy, kept_accuracy: float = KEPT_ACCURACY) -> Calibration:
    """Fit the calibration of a model on held-out clips.

    Args:
        collected: What the model said, uncalibrated, and what is true.
        taxonomy: The model's label tree.
        kept_accuracy: Top-1 accuracy that clips shall have which the model does not abstain from; 0 never abstains.

    Returns:
        Scalings, thresholds and the score to abstain below; what the clips say nothing about changes nothing.
    """
    clip = fit_levels(collected.logits_NK, collected.labels_NK, counted(collected.labels_NK, taxonomy), taxonomy.levels)
    frame_counted_FK = counted(collected.frame_labels_FK, taxonomy)
    frame = fit_levels(collected.frame_logits_FK, collected.frame_labels_FK, frame_counted_FK, taxonomy.levels)
    scores_NK = path_scores(collected.logits_NK, taxonomy, clip)
    frame_scores_FK = path_scores(collected.frame_logits_FK, taxonomy, frame)
    known_NK = known_classes(collected.labels_NK, taxonomy)
    top = best_answers(scores_NK, collected.labels_NK, known_NK, taxonomy.leaves)
    return Calibration(
        clip=clip,
        frame=frame,
        thresholds=_by_class(fit_thresholds(scores_NK, collected.labels_NK, known_NK), taxonomy),
        frame_thresholds=_by_class(
            fit_thresholds(
                frame_scores_FK, collected.frame_labels_FK, known_classes(collected.frame_labels_FK, taxonomy)
            ),
            taxonomy,
        ),
        abstain_below=fit_abstention(top.scores_N, top.hits_N, kept_accuracy).below,
    )


def evaluation_metrics(collected: Collected, taxonomy: Taxonomy, calibration: Calibration) -> dict[str, float]:
    """Score what was collected by a calibration.

    Returns:
        What :func:`classification_metrics` says; ``frame_map`` over leaves; ``recall_at_1`` and ``recall_at_5`` of the
        clips whose embeddings are nearest. A number that has no meaning is left out.
    """
    leaves = np.array(taxonomy.leaves)
    scores_NK = path_scores(collected.logits_NK, taxonomy, calibration.clip)
    frame_FK = path_scores(collected.frame_logits_FK, taxonomy, calibration.frame)
    recall = metrics.recall_at_k(collected.embedding_NE, collected.labels_NK[:, leaves])
    found = {f"recall_at_{k}": share for k, share in recall.items()}
    known_FK = known_classes(collected.frame_labels_FK, taxonomy)
    found["frame_map"] = metrics.mean_average_precision(
        frame_FK[:, leaves], collected.frame_labels_FK[:, leaves], known_FK[:, leaves]
    )
    found = {name: value for name, value in found.items() if not math.isnan(value)}
    return classification_metrics(scores_NK, collected.labels_NK, taxonomy, calibration) | found


def classification_metrics(
    scores_NK: Floats,
    labels_NK: Floats,
    taxonomy: Taxonomy,
    calibration: Calibration,
    threshold: float | None = None,
) -> dict[str, float]:
    """Compare the scores of clips or videos with what is true.

    Args:
        scores_NK: Calibrated scores.
        labels_NK: 1 where the class holds, else 0, ancestors included.
        taxonomy: The label tree.
        calibration: What decides which classes are listed, and when to abstain.
        threshold: Of all classes, instead of the fitted ones.

    Returns:
        ``top1``, ``top5`` and ``map`` over leaves; ``f1_micro``, ``f1_macro`` and ``f1_level_N`` of the classes that
        are listed, and ``f1_micro_at_0.5``, ``f1_macro_at_0.5``; ``ece`` of the top leaf and ``ece_level_N`` of the
        top class of each level; ``kept_share`` and ``kept_top1``, how much is not abstained from and how often its top
        leaf is right. Where the labels do not say whether a class holds (:func:`known_classes`), it counts neither for
        nor against. A number that has no meaning is left out.
    """
    leaves = np.array(taxonomy.leaves)
    said_NK = listed(scores_NK, calibration.class_thresholds(taxonomy, threshold), taxonomy).astype(np.float32)
    known_NK = known_classes(labels_NK, taxonomy)
    chosen = metrics.f1(said_NK, labels_NK, known_NK=known_NK)
    plain = metrics.f1(scores_NK, labels_NK, DEFAULT_THRESHOLD, known_NK)
    top = best_answers(scores_NK, labels_NK, known_NK, leaves)
    not_abstained = kept(top.scores_N, top.hits_N, calibration.abstain_below)
    found = {
        "top1": metrics.top_k_accuracy(scores_NK[:, leaves], labels_NK[:, leaves], 1),
        "top5": metrics.top_k_accuracy(scores_NK[:, leaves], labels_NK[:, leaves], 5),
        "map": metrics.mean_average_precision(scores_NK[:, leaves], labels_NK[:, leaves], known_NK[:, leaves]),
        "f1_micro": chosen.micro,
        "f1_macro": chosen.macro,
        "f1_micro_at_0.5": plain.micro,
        "f1_macro_at_0.5": plain.macro,
        "ece": metrics.expected_calibration_error(top.scores_N, top.hits_N),
        "kept_share": not_abstained.share,
        "kept_top1": not_abstained.accuracy,
    }
    for level, value in enumerate(metrics.f1_per_level(said_NK, labels_NK, taxonomy, known_NK=known_NK)):
        at_level = np.flatnonzero(np.array(taxonomy.levels) == level)
        best = best_answers(scores_NK, labels_NK, known_NK, at_level)
        found |= {
            f"f1_level_{level}": value.micro,
            f"ece_level_{level}": metrics.expected_calibration_error(best.scores_N, best.hits_N),
        }
    return {name: value for name, value in found.items() if not math.isnan(value)}


def best_answers(
    scores_NK: Floats, labels_NK: Floats, known_NK: npt.NDArray[np.bool_], classes: npt.ArrayLike
) -> TopAnswers:
    """Return the best of some classes for each row, and whether it is right.

    Args:
        scores_NK: Calibrated scores.
        labels_NK: 1 where the class holds, else 0.
        known_NK: Where the labels say whether the class holds, as of :func:`known_classes`.
        classes: Indices of the classes that are asked for, such as the leaves.

    Returns:
        Of the rows whose labels settle all these classes; others are left out, whatever the model says.
    """
    indices = np.asarray(classes, np.intp)
    best_N = indices[scores_NK[:, indices].argmax(axis=1)]
    rows_N = np.flatnonzero(known_NK[:, indices].all(axis=1))
    return TopAnswers(scores_NK[rows_N, best_N[rows_N]], labels_NK[rows_N, best_N[rows_N]])


def known_classes(labels_NK: Floats, taxonomy: Taxonomy) -> npt.NDArray[np.bool_]:
    """Tell of which classes the labels say whether they hold.

    Where the parent is known not to hold, the class does not. Where it holds and none of its children is named, the
    label is just not that deep: nothing is known of any class below.
    """
    known_NK: npt.NDArray[np.bool_] = counted(labels_NK, taxonomy) > 0
    for child, parent in enumerate(taxonomy.parents):
        # Children come after their parents, so a parent is final before its children need it.
        if parent >= 0:
            known_NK[:, child] |= known_NK[:, parent] & ~(labels_NK[:, parent] > 0)
    return known_NK


def _by_class(values_K: npt.NDArray[np.float64], taxonomy: Taxonomy) -> dict[str, float]:
    return {node.id: float(value) for node, value in zip(taxonomy.nodes, values_K, strict=True)}
