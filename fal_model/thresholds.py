"""From which score on a class is listed: one threshold per class, fitted on held-out clips. Numpy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fal_model.metrics import hits_from_the_top
from fal_model.taxonomy import Taxonomy

Floats = npt.NDArray[np.floating]
LOWEST, HIGHEST = 0.05, 0.95
"""Fitted thresholds stay within: beyond, a handful of clips would decide over nearly all or nearly none."""

PRIOR_POSITIVES = 20
"""Clips in which a class must be true to count as much as all classes together. Chosen on the splits of
``bench/calibration.py``: with 10, micro F1 falls below that of a plain 0.5 where the model
is weak; with 50, classes gain little."""

DIGITS = 4


def fit_thresholds(scores_NK: Floats, labels_NK: Floats, known_NK: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Fit the threshold of each class for the best F1.

    Where scores are probabilities, F1 is best at a threshold of half the best F1 that can be had (Lipton, Elkan and
    Naryanaswamy: Optimal thresholding of classifiers to maximize F1 measure, 2014). The best F1 is known better than
    the place where it was found, so the threshold is taken from the former. That of a class is drawn to that over all
    decisions: with n clips in which it is true, it counts n parts of ``n + PRIOR_POSITIVES``.

    Args:
        scores_NK: Calibrated scores.
        labels_NK: 1 where the class holds, else 0.
        known_NK: Where the labels say whether the class holds.

    Returns:
        Thresholds [K] from ``LOWEST`` to ``HIGHEST``, to four digits; 0.5 when nothing is true.
    """
    scores_NK = scores_NK.astype(np.float64)
    overall = best_f1(scores_NK[known_NK], labels_NK[known_NK])
    if np.isnan(overall):
        return np.full(scores_NK.shape[1], 0.5)
    best_K = np.full(scores_NK.shape[1], overall)
    weight_K = np.zeros_like(best_K)
    for k in np.flatnonzero((labels_NK * known_NK).any(axis=0)):
        known_N = known_NK[:, k]
        best_K[k] = best_f1(scores_NK[known_N, k], labels_NK[known_N, k])
        positives = labels_NK[known_N, k].sum()
        weight_K[k] = positives / (positives + PRIOR_POSITIVES)
    f1_K = weight_K * best_K + (1 - weight_K) * overall
    thresholds_K: npt.NDArray[np.float64] = np.clip(f1_K / 2, LOWEST, HIGHEST).round(DIGITS)
    return thresholds_K


def best_f1(scores_N: Floats, labels_N: Floats) -> float:
    """Return the best F1 that any threshold gives; decisions of equal score fall together.

    Returns:
        From 0 to 1; NaN when nothing is true.
    """
    if not labels_N.any():
        return float("nan")
    hits_M, seen_M = hits_from_the_top(scores_N, labels_N)
    return float((2 * hits_M / (seen_M + hits_M[-1])).max())


def listed(scores: Floats, thresholds_K: Floats, taxonomy: Taxonomy) -> npt.NDArray[np.bool_]:
    """Tell which classes are listed: those at or above their threshold, and all ancestors of these.

    A class holds where one below it does, so a path is never broken, however thresholds differ along it.

    Args:
        scores: Shape [..., K].
        thresholds_K: Threshold of each class.
        taxonomy: The label tree.

    Returns:
        Same shape as the scores.
    """
    is_listed: npt.NDArray[np.bool_] = scores >= thresholds_K
    # Children come after their parents, so from the last class on each one is final before its parent needs it.
    for child in range(len(taxonomy) - 1, -1, -1):
        parent = taxonomy.parents[child]
        if parent >= 0:
            is_listed[..., parent] |= is_listed[..., child]
    return is_listed
