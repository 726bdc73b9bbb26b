"""How good labels are. Numpy only; every function takes plain arrays and returns plain numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fal_model.taxonomy import Taxonomy

Floats = npt.NDArray[np.floating]
Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]
QUERY_CHUNK = 256
"""Rows that are compared with all others at a time."""

TEMPORAL_IOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


class TimedLabel(NamedTuple):
    """A class during ``[start_s, end_s)`` of a video; the score of a true one is not looked at."""

    video_id: str
    class_index: int
    start_s: float
    end_s: float
    score: float = 1.0


def top_k_accuracy(scores_NL: Floats, labels_NL: Floats, k: int) -> float:
    """Return the share of rows where one of the k best-scored classes is true; rows without a true class are left out.

    Args:
        scores_NL: Scores of N rows over L classes (for top-1 as published: the leaves).
        labels_NL: 1 where the class holds, else 0.
        k: How many guesses count, ≥ 1.

    Returns:
        From 0 to 1; NaN when no row has a true class.
    """
    labelled = labels_NL.any(axis=1)
    if not labelled.any():
        return float("nan")
    best_Nk = np.argsort(-scores_NL[labelled], axis=1, kind="stable")[:, :k]
    hits_N = np.take_along_axis(labels_NL[labelled] > 0, best_Nk, axis=1).any(axis=1)
    return float(hits_N.mean())


def recall_at_k(
    embedding_NE: Floats, labels_NL: Floats, ks: Sequence[int] = (1, 5), max_queries: int = 10_000
) -> dict[int, float]:
    """Return how often one of the k rows nearest to a row shares a class with it, the row itself left out.

    This is recall@k as metric learning publishes it. Rows that share a class with no other are no queries, but they
    are among what is searched.

    Args:
        embedding_NE: Unit embeddings; nearest is the greatest product.
        labels_NL: 1 where the class holds, else 0 (as published: the leaves).
        ks: How many neighbours count, each ≥ 1.
        max_queries: Of more than this, evenly spread ones are taken; all rows are searched.

    Returns:
        k to a share from 0 to 1; NaN where there is no query.
    """
    embedding_NE, holds_NL = embedding_NE.astype(np.float32), (labels_NL > 0).astype(np.float32)
    has_match_N = holds_NL @ holds_NL.sum(axis=0) > holds_NL.sum(axis=1)
    queries = np.flatnonzero(has_match_N)
    if not len(queries):
        return {k: float("nan") for k in ks}
    if len(queries) > max_queries:
        queries = queries[np.linspace(0, len(queries) - 1, max_queries).astype(int)]
    depth = min(max(ks), len(embedding_NE) - 1)
    hits: list[npt.NDArray[np.bool_]] = []
    for rows in np.array_split(queries, -(-len(queries) // QUERY_CHUNK)):
        far_RN = -embedding_NE[rows] @ embedding_NE.T
        far_RN[np.arange(len(rows)), rows] = np.inf
        nearest_Rk = np.argpartition(far_RN, depth - 1, axis=1)[:, :depth]
        order_Rk = np.take_along_axis(far_RN, nearest_Rk, axis=1).argsort(axis=1, kind="stable")
        nearest_Rk = np.take_along_axis(nearest_Rk, order_Rk, axis=1)
        hits.append(np.einsum("rl,rkl->rk", holds_NL[rows], holds_NL[nearest_Rk]) > 0)
    hits_Qk = np.concatenate(hits)
    return {k: float(hits_Qk[:, :k].any(axis=1).mean()) for k in ks}


def hits_from_the_top(scores_N: Floats, labels_N: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """Walk down the scores; rows of equal score count as one step.

    Args:
        scores_N: Scores of at least one row.
        labels_N: 1 where a row is true, else 0.

    Returns:
        True rows so far and rows so far, each [M], after each of M steps.
    """
    order_N = np.argsort(-scores_N, kind="stable")
    hits_N = np.cumsum(labels_N[order_N], dtype=np.float64)
    is_last_of_tie_N = np.append(np.diff(scores_N[order_N]) != 0, np.array(True))
    return hits_N[is_last_of_tie_N], np.flatnonzero(is_last_of_tie_N) + 1


def average_precision(scores_N: Floats, labels_N: Floats) -> float:
    """Return the area under precision over recall, without interpolation; rows of equal score count as one step.

    Returns:
        From 0 to 1; NaN when nothing is true.
    """
    if not labels_N.any():
        return float("nan")
    hits_M, seen_M = hits_from_the_top(scores_N, labels_N)
    return float((np.diff(hits_M, prepend=0.0) * hits_M / seen_M).sum() / hits_M[-1])


def mean_average_precision(scores_NK: Floats, labels_NK: Floats, known_NK: Mask | None = None) -> float:
    """Return the mean average precision over the classes that are true at least once; NaN when none is.

    Args:
        scores_NK: Scores.
        labels_NK: 1 where the class holds, else 0.
        known_NK: Where the labels say whether it does; other rows are left out for that class. None: everywhere.
    """
    known_NK = np.ones(labels_NK.shape, dtype=bool) if known_NK is None else known_NK
    values = [
        average_precision(scores_NK[known_NK[:, k], k], labels_NK[known_NK[:, k], k])
        for k in np.flatnonzero(((labels_NK > 0) & known_NK).any(axis=0))
    ]
    return float(np.mean(values)) if values else float("nan")


class F1(NamedTuple):
    """F1 over all decisions (micro), and as the mean over classes that are true or predicted (macro)."""

    micro: float
    macro: float


def f1(scores_NK: Floats, labels_NK: Floats, threshold: float = 0.5, known_NK: Mask | None = None) -> F1:
    """Compare thresholded scores with labels.

    Args:
        scores_NK: Scores.
        labels_NK: 1 where the class holds, else 0.
        threshold: Score from which on a class counts as predicted.
        known_NK: Where the labels say whether it holds; elsewhere nothing is compared. None: everywhere.

    Returns:
        From 0 to 1; NaN when nothing is true and nothing predicted.
    """
    said, true = scores_NK >= threshold, labels_NK > 0
    if known_NK is not None:
        said, true = said & known_NK, true & known_NK
    hits_K = (said & true).sum(axis=0)
    size_K = said.sum(axis=0) + true.sum(axis=0)
    if not size_K.any():
        return F1(float("nan"), float("nan"))
    used = size_K > 0
    return F1(float(2 * hits_K.sum() / size_K.sum()), float((2 * hits_K[used] / size_K[used]).mean()))


def f1_per_level(
    scores_NK: Floats, labels_NK: Floats, taxonomy: Taxonomy, threshold: float = 0.5, known_NK: Mask | None = None
) -> list[F1]:
    """Return :func:`f1` of the classes of each level, level 0 first."""
    levels = np.array(taxonomy.levels)
    known_NK = np.ones(labels_NK.shape, dtype=bool) if known_NK is None else known_NK
    return [
        f1(scores_NK[:, at], labels_NK[:, at], threshold, known_NK[:, at])
        for at in (levels == level for level in range(int(levels.max()) + 1))
    ]


def expected_calibration_error(scores_N: Floats, hits_N: Floats, num_bins: int = 15) -> float:
    """Return the mean gap between score and truth over equally wide score bins, weighted by their rows.

    Args:
        scores_N: Scores, 0 to 1: usually the top score of each row.
        hits_N: 1 where the scored class holds, else 0.
        num_bins: Bins over [0, 1].

    Returns:
        From 0 to 1; NaN without rows.
    """
    if scores_N.size == 0:
        return float("nan")
    bin_N = np.minimum((scores_N * num_bins).astype(int), num_bins - 1)
    gap = np.zeros(num_bins)
    np.add.at(gap, bin_N, scores_N.astype(np.float64) - hits_N)
    return float(np.abs(gap).sum() / scores_N.size)


def confusion_pairs(predicted: Sequence[int], labels_NL: Floats, max_pairs: int = 20) -> list[tuple[int, int, int]]:
    """List what is taken for what: (true class, predicted class, rows), most frequent first.

    A row counts when its prediction is not true; it counts once for each of its true classes.
    """
    counts: dict[tuple[int, int], int] = defaultdict(int)
    for row, guess in enumerate(predicted):
        if labels_NL[row, guess] <= 0:
            for true in np.flatnonzero(labels_NL[row] > 0):
                counts[int(true), int(guess)] += 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(true, guess, rows) for (true, guess), rows in ordered[:max_pairs]]


def segment_map(
    truth: Sequence[TimedLabel], found: Sequence[TimedLabel], ious: Sequence[float] = TEMPORAL_IOUS
) -> dict[float, float]:
    """Return the mean average precision of segments at each temporal IoU, as ActivityNet counts it.

    Segments are matched per video and class, best score first, each true one once. Classes that are never true
    are left out; precision is interpolated.

    Returns:
        IoU to mAP, 0 to 1; NaN when nothing is true.
    """
    true_by_class, found_by_class = _by_class(truth), _by_class(found)
    classes = sorted(true_by_class)
    return {
        iou: float(np.mean([_segment_ap(true_by_class[c], found_by_class.get(c, []), iou) for c in classes]))
        if classes
        else float("nan")
        for iou in ious
    }


def temporal_iou(a: TimedLabel, b: TimedLabel) -> float:
    """Return the shared time over the joint time of two segments, 0 to 1."""
    shared_s = min(a.end_s, b.end_s) - max(a.start_s, b.start_s)
    joint_s = (a.end_s - a.start_s) + (b.end_s - b.start_s) - shared_s
    return shared_s / joint_s if shared_s > 0 else 0.0


def _by_class(labels: Sequence[TimedLabel]) -> Mapping[int, list[TimedLabel]]:
    groups: dict[int, list[TimedLabel]] = defaultdict(list)
    for label in labels:
        groups[label.class_index].append(label)
    return groups


def _segment_ap(truth: Sequence[TimedLabel], found: Sequence[TimedLabel], iou: float) -> float:
    hits = _match(truth, found, iou)
    if not hits:
        return 0.0
    true_positives = np.cumsum(hits)
    recall = true_positives / len(truth)
    precision = true_positives / np.arange(1, len(hits) + 1)
    # Interpolation: the best precision at this recall or any higher.
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(np.concatenate(([0.0], recall))) * best).sum())


def _match(truth: Sequence[TimedLabel], found: Sequence[TimedLabel], iou: float) -> list[bool]:
    """Tell for each found segment, best first, whether it meets a true one that no better segment met."""
    taken: set[int] = set()
    by_video: dict[str, list[int]] = defaultdict(list)
    for i, label in enumerate(truth):
        by_video[label.video_id].append(i)
    hits: list[bool] = []
    for guess in sorted(found, key=lambda s: (-s.score, s.video_id, s.start_s)):
        free = [(temporal_iou(guess, truth[i]), -i) for i in by_video[guess.video_id] if i not in taken]
        overlap, negative = max(free, default=(0.0, 0))
        hits.append(overlap >= iou)
        if hits[-1]:
            taken.add(-negative)
    return hits
