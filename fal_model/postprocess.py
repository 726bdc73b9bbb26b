"""From logits to scores, and which of them labels say something about. Numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fal_model.calibration import Scaling, scaled
from fal_model.taxonomy import Taxonomy


def path_scores(
    logits: npt.NDArray[np.floating],
    taxonomy: Taxonomy,
    scalings: Sequence[Scaling] = (),
    classes: npt.NDArray[np.integer] | None = None,
) -> npt.NDArray[np.float32]:
    """Turn conditional logits into calibrated scores; a class never scores above its parent.

    Args:
        logits: Shape [..., K].
        taxonomy: The label tree of K classes.
        scalings: Calibration of these logits, one per level, level 0 first; what lies deeper takes the last one. With
            none, nothing is changed.
        classes: The C classes to return, None for all; only they and their ancestors are computed.

    Returns:
        Probabilities from 0 to 1, same shape, or [..., C].

    Raises:
        ValueError: the last dimension is not K.
    """
    if logits.shape[-1:] != (len(taxonomy),):
        raise ValueError(f"logits: got shape {list(logits.shape)}, must be [..., {len(taxonomy)}]")
    parents, levels = np.array(taxonomy.parents), np.array(taxonomy.levels)
    if classes is not None:
        if not len(classes):
            return np.zeros((*logits.shape[:-1], 0), np.float32)
        used = np.unique([k for c in classes for k in taxonomy.path_indices(int(c))])
        # Numbers rise from parents to children, and those that are left keep their order.
        parents, levels, classes = np.searchsorted(used, parents[used]), levels[used], np.searchsorted(used, classes)
        logits = logits[..., used]
    calibrated = scaled(logits, scalings or (Scaling(),), levels.tolist())
    conditional: npt.NDArray[np.float64] = np.exp(-np.logaddexp(0.0, -calibrated))
    scores: npt.NDArray[np.float64] = conditional.copy()
    for level in range(1, int(levels.max()) + 1):
        # Classes are ordered by level, so a parent's score is final before its children need it.
        at = np.flatnonzero(levels == level)
        scores[..., at] = conditional[..., at] * scores[..., parents[at]]
    return (scores if classes is None else scores[..., classes]).astype(np.float32)


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
