"""From logits to scores, and which of them labels say something about. Numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fal_model.calibration import Scaling, scaling_of
from fal_model.taxonomy import Taxonomy


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
