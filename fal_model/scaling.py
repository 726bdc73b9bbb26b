"""Fit scale and shift of logits on held-out clips, one per level of the tree. Numpy only.

Conditional logits are trained by binary cross-entropy, a proper loss, so the best scale and shift are those that lower
it most (Platt, 1999; Guo et al., 2017). It is convex in both. A level with little data is drawn towards the fit over
all levels, and that towards changing nothing: the fit is the most likely one where slope and bias are normal around
what they are drawn to, with ``SLOPE_STD`` and ``BIAS_STD``. Levels have their own scaling only where that lowers the
loss of clips that were left out of the fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from fal_model.calibration import Scaling, scaled

Floats = npt.NDArray[np.floating]
Fit = Callable[[Floats, Floats, Floats, npt.NDArray[np.intp]], tuple[Scaling, ...]]
"""From logits, labels, weights and the level of each class to one scaling per level."""

FOLDS = 5
"""Parts of the clips; each is left out once."""

SLOPE_STD, BIAS_STD = 0.5, 1.0
"""Chosen on trained models and 20 to 330 clips, on the splits of ``bench/calibration.py``: with half, levels get too
little room where a model is far off; without any, small sets are worse off than with one fit for all levels."""

MAX_NEWTON_STEPS = 50
MIN_SLOPE, MAX_SLOPE = 0.05, 20.0
MAX_BIAS = 10.0
SMALLEST_STEP = 1e-9


def fit_levels(logits_NK: Floats, labels_NK: Floats, weights_NK: Floats, levels: Sequence[int]) -> tuple[Scaling, ...]:
    """Fit the scaling of each level.

    Args:
        logits_NK: Conditional logits.
        labels_NK: 1 where the class holds, else 0.
        weights_NK: 1 where the class counts (see ``postprocess.counted``), else 0.
        levels: Level of each of the K classes.

    Returns:
        One scaling per level, level 0 first; all the same where clips that are left out say that it is better so.

    Raises:
        ValueError: the shapes differ, or there are not as many levels as classes.
    """
    _check_shapes(logits_NK, labels_NK, weights_NK)
    if logits_NK.ndim != len("NK") or logits_NK.shape[1] != len(levels):
        raise ValueError(f"levels: got {len(levels)} for logits of shape {logits_NK.shape}, must be one per class")
    level_K = np.array(levels, np.intp)
    losses = [_left_out_loss(fit, logits_NK, labels_NK, weights_NK, level_K) for fit in (_fit_shared, _fit_each)]
    best = _fit_each if losses[1] < losses[0] else _fit_shared
    return best(logits_NK, labels_NK, weights_NK, level_K)


def _fit_shared(
    logits_NK: Floats, labels_NK: Floats, weights_NK: Floats, level_K: npt.NDArray[np.intp]
) -> tuple[Scaling, ...]:
    return (fit_scaling(logits_NK, labels_NK, weights_NK),) * (int(level_K.max()) + 1)


def _fit_each(
    logits_NK: Floats, labels_NK: Floats, weights_NK: Floats, level_K: npt.NDArray[np.intp]
) -> tuple[Scaling, ...]:
    shared = fit_scaling(logits_NK, labels_NK, weights_NK)
    columns = [np.flatnonzero(level_K == level) for level in range(int(level_K.max()) + 1)]
    return tuple(fit_scaling(logits_NK[:, at], labels_NK[:, at], weights_NK[:, at], shared) for at in columns)


def _left_out_loss(
    fit: Fit, logits_NK: Floats, labels_NK: Floats, weights_NK: Floats, level_K: npt.NDArray[np.intp]
) -> float:
    """Add up the loss of each part of the clips after a fit on the others."""
    # Parts are stretches: neighbours may be clips of the same video.
    fold_N = np.arange(len(logits_NK)) * FOLDS // max(1, len(logits_NK))
    loss = 0.0
    for fold in range(FOLDS):
        out, rest = fold_N == fold, fold_N != fold
        scalings = fit(logits_NK[rest], labels_NK[rest], weights_NK[rest], level_K)
        x_NK = scaled(logits_NK[out], scalings, level_K.tolist())
        loss += float((weights_NK[out] * (np.logaddexp(0, x_NK) - labels_NK[out] * x_NK)).sum())
    return loss


def fit_scaling(logits: Floats, labels: Floats, weights: Floats, prior: Scaling | None = None) -> Scaling:
    """Fit temperature and bias by the loss the logits were trained with.

    Args:
        logits: Conditional logits, any shape.
        labels: 1 where the class holds, else 0; same shape.
        weights: 1 where the class counts, else 0; same shape.
        prior: What the fit is drawn to; None draws it to changing nothing.

    Returns:
        The most likely scaling; the prior when all labels are the same.

    Raises:
        ValueError: the shapes differ.
    """
    _check_shapes(logits, labels, weights)
    start = prior or Scaling()
    keep = weights.ravel() > 0
    z, y, w = (values.ravel()[keep].astype(np.float64) for values in (logits, labels, weights))
    if not y.any() or y.all():
        return start
    slope, bias = _minimise(z, y, w, np.array([1 / start.temperature, start.bias]))
    slope = float(np.clip(slope, MIN_SLOPE, MAX_SLOPE))
    return Scaling(temperature=1 / slope, bias=float(np.clip(bias, -MAX_BIAS, MAX_BIAS)))


def _check_shapes(logits: Floats, labels: Floats, weights: Floats) -> None:
    if not logits.shape == labels.shape == weights.shape:
        raise ValueError(
            f"labels and weights: got shapes {labels.shape} and {weights.shape}, must be {logits.shape} as logits"
        )


def _minimise(z: Floats, y: Floats, w: Floats, prior: Floats) -> tuple[float, float]:
    """Minimise cross-entropy and distance from the prior over (slope, bias) by damped Newton steps."""
    theta = prior
    loss = _loss(theta, z, y, w, prior)
    for _ in range(MAX_NEWTON_STEPS):
        step = _newton_step(theta, z, y, w, prior)
        new_loss = _loss(theta - step, z, y, w, prior)
        while new_loss > loss and np.abs(step).max() > SMALLEST_STEP:
            step = step / 2
            new_loss = _loss(theta - step, z, y, w, prior)
        if new_loss >= loss:
            break
        theta, loss = theta - step, new_loss
    return float(theta[0]), float(theta[1])


def _newton_step(theta: Floats, z: Floats, y: Floats, w: Floats, prior: Floats) -> Floats:
    """Return the step to subtract."""
    p = 1 / (1 + np.exp(-np.clip(theta[0] * z + theta[1], -60, 60)))
    residual = w * (p - y)
    curve = w * p * (1 - p)
    gradient = np.array([(residual * z).sum(), residual.sum()]) + _pull() * (theta - prior)
    cross = (curve * z).sum()
    hessian = np.array([[(curve * z * z).sum(), cross], [cross, curve.sum()]]) + np.diag(_pull())
    step: Floats = np.linalg.solve(hessian, gradient)
    return step


def _loss(theta: Floats, z: Floats, y: Floats, w: Floats, prior: Floats) -> float:
    x = theta[0] * z + theta[1]
    return float((w * (np.logaddexp(0, x) - y * x)).sum() + (_pull() * (theta - prior) ** 2).sum() / 2)


def _pull() -> Floats:
    """Return how strongly slope and bias are drawn to the prior: one over the variance."""
    return np.array([SLOPE_STD**-2, BIAS_STD**-2])
