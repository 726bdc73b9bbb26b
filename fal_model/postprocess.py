"""From logits to scores, and from frame scores to segments in seconds, for one clip. Numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fal_model.calibration import Scaling, scaling_of
from fal_model.taxonomy import Taxonomy


class Segment(NamedTuple):
    """One class during ``[start_s, end_s)``, with the mean score of its frames."""

    class_index: int
    start_s: float
    end_s: float
    score: float


def path_scores(
    logits: npt.NDArray[np.floating], taxonomy: Taxonomy, scalings: Sequence[Scaling] = ()
) -> npt.NDArray[np.float32]:
    """Turn conditional logits into calibrated scores; a class never scores above its parent.

    Args:
        logits: Shape [..., K].
        taxonomy: The label tree of K classes.
        scalings: Calibration of these logits, one per level, level 0 first; what lies deeper takes the last one. With
            none, nothing is changed.

    Returns:
        Probabilities from 0 to 1, same shape.

    Raises:
        ValueError: the last dimension is not K.
    """
    if logits.shape[-1:] != (len(taxonomy),):
        raise ValueError(f"logits: got shape {list(logits.shape)}, must be [..., {len(taxonomy)}]")
    of_class = [scaling_of(scalings or (Scaling(),), level) for level in taxonomy.levels]
    slope_K = np.array([1 / scaling.temperature for scaling in of_class])
    calibrated = logits.astype(np.float64) * slope_K + np.array([scaling.bias for scaling in of_class])
    conditional: npt.NDArray[np.float64] = np.exp(-np.logaddexp(0.0, -calibrated))
    parents, levels = np.array(taxonomy.parents), np.array(taxonomy.levels)
    scores: npt.NDArray[np.float64] = conditional.copy()
    for level in range(1, int(levels.max()) + 1):
        # Classes are ordered by level, so a parent's score is final before its children need it.
        at = np.flatnonzero(levels == level)
        scores[..., at] = conditional[..., at] * scores[..., parents[at]]
    return scores.astype(np.float32)


def counted(labels: npt.NDArray[np.floating], taxonomy: Taxonomy) -> npt.NDArray[np.float32]:
    """Tell which classes the labels say something about: the numpy twin of ``hierarchy.counted``.

    Args:
        labels: 1 where the class holds, else 0, ancestors included; shape [..., K].
        taxonomy: The label tree.

    Returns:
        1 or 0, same shape.
    """
    num_classes = len(taxonomy)
    parents = np.array([num_classes if p < 0 else p for p in taxonomy.parents])
    has_child = np.zeros((num_classes + 1, *labels.shape[:-1]), dtype=bool)
    np.logical_or.at(has_child, parents, np.moveaxis(labels > 0, -1, 0))
    has_child[num_classes] = True
    counts: npt.NDArray[np.float32] = np.moveaxis(has_child[parents], 0, -1).astype(np.float32)
    return counts


def clip_segments(
    scores_TK: npt.NDArray[np.floating],
    frame_times_s: Sequence[float],
    start_s: float,
    end_s: float,
    *,
    class_indices: Sequence[int],
    thresholds_K: npt.NDArray[np.floating],
) -> list[Segment]:
    """Find when classes hold within one clip.

    Each frame stands for the time up to the middle between it and its neighbours; the first and the last reach to
    the ends of the window. Neighbouring frames at or above the threshold become one segment.

    Args:
        scores_TK: Scores of each frame.
        frame_times_s: Rising times of the frames, seconds.
        start_s: Start of the clip's window, seconds.
        end_s: End of the window, seconds.
        class_indices: Classes to look at.
        thresholds_K: Of each class, the lowest score of a frame that belongs to a segment.

    Returns:
        Segments by class in the order given, then by time.

    Raises:
        ValueError: another number of times than frames, or an empty window.
    """
    if len(frame_times_s) != scores_TK.shape[0]:
        raise ValueError(f"frame_times_s: got {len(frame_times_s)} times, must be {scores_TK.shape[0]}, one per frame")
    if not end_s > start_s:
        raise ValueError(f"end_s: got {end_s}, must be greater than start_s ({start_s})")
    edges_s = frame_edges_s(frame_times_s, start_s, end_s)
    segments: list[Segment] = []
    for index in class_indices:
        scores_T = scores_TK[:, index].astype(np.float64)
        segments += [
            Segment(int(index), float(edges_s[first]), float(edges_s[last]), float(scores_T[first:last].mean()))
            for first, last in runs(scores_T >= thresholds_K[index])
            if edges_s[last] > edges_s[first]
        ]
    return segments


def frame_edges_s(frame_times_s: Sequence[float], start_s: float, end_s: float) -> npt.NDArray[np.float64]:
    """Return the T + 1 borders of the intervals that T frames stand for, never falling, within the window."""
    times_s = np.asarray(frame_times_s, dtype=np.float64)
    middles_s = (times_s[:-1] + times_s[1:]) / 2
    edges_s = np.concatenate(([start_s], np.clip(middles_s, start_s, end_s), [end_s]))
    return np.maximum.accumulate(edges_s)


def runs(is_on: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return ``[first, last)`` of each unbroken run of True."""
    padded = np.concatenate(([False], is_on, [False])).astype(np.int8)
    change = np.diff(padded)
    return list(zip(np.flatnonzero(change == 1).tolist(), np.flatnonzero(change == -1).tolist(), strict=True))
