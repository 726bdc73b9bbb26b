"""Make scores mean what they say: scale and shift of logits, fitted on held-out clips. Numpy only."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from fal_model.errors import ConfigError
from fal_model.ranges import Range, range_problems

Floats = npt.NDArray[np.floating]
MAX_NEWTON_STEPS = 50
RIDGE = 1e-3
MIN_SLOPE, MAX_SLOPE = 0.05, 20.0
MAX_BIAS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Logits become ``logits / temperature + bias`` before they become scores. The default changes nothing.

    Attributes:
        temperature: Divides the clip's logits.
        bias: Added to the clip's logits.
        frame_temperature: Divides the frames' logits.
        frame_bias: Added to the frames' logits.
    """

    temperature: Annotated[float, Range(ge=0.01, le=100)] = 1.0
    bias: Annotated[float, Range(ge=-20, le=20)] = 0.0
    frame_temperature: Annotated[float, Range(ge=0.01, le=100)] = 1.0
    frame_bias: Annotated[float, Range(ge=-20, le=20)] = 0.0

    def __post_init__(self) -> None:
        problems = range_problems(self)
        if problems:
            raise ConfigError([f"calibration.{p}" for p in problems])

    def apply(self, logits: Floats) -> Floats:
        """Calibrate clip logits, any shape."""
        return np.asarray(logits, dtype=np.float64) / self.temperature + self.bias

    def apply_frames(self, frame_logits: Floats) -> Floats:
        """Calibrate frame logits, any shape."""
        return np.asarray(frame_logits, dtype=np.float64) / self.frame_temperature + self.frame_bias

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the inverse of :meth:`from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Calibration:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ConfigError: an unknown or missing field, or a value out of range.
        """
        known = {f.name for f in fields(cls)}
        problems = [f"calibration.{k}: unknown field" for k in sorted(set(data) - known)]
        problems += [f"calibration.{k}: missing" for k in sorted(known - set(data))]
        if problems:
            raise ConfigError(problems)
        return cls(**data)


def fit_calibration(
    logits: Floats,
    labels: Floats,
    weights: Floats,
    frame_logits: Floats | None = None,
    frame_labels: Floats | None = None,
    frame_weights: Floats | None = None,
) -> Calibration:
    """Fit temperature and bias on held-out clips by the loss the logits were trained with.

    Args:
        logits: Clip logits, any shape.
        labels: 1 where the class holds, else 0; same shape.
        weights: 1 where the class counts (see ``postprocess.counted``), else 0; same shape.
        frame_logits: Frame logits; None keeps frames as they are.
        frame_labels: As ``labels``, for frames.
        frame_weights: As ``weights``, for frames.

    Raises:
        ValueError: shapes differ, or frame arguments are given in part.
    """
    temperature, bias = _fit(logits, labels, weights)
    frame_temperature, frame_bias = 1.0, 0.0
    if frame_logits is not None:
        if frame_labels is None or frame_weights is None:
            raise ValueError("frame_labels and frame_weights: got None, must be given with frame_logits")
        frame_temperature, frame_bias = _fit(frame_logits, frame_labels, frame_weights)
    return Calibration(temperature=temperature, bias=bias, frame_temperature=frame_temperature, frame_bias=frame_bias)


def _fit(logits: Floats, labels: Floats, weights: Floats) -> tuple[float, float]:
    """Minimise the binary cross-entropy over (slope, bias) by Newton's method; it is convex in both."""
    if not logits.shape == labels.shape == weights.shape:
        raise ValueError(
            f"labels and weights: got shapes {labels.shape} and {weights.shape}, must be {logits.shape} as logits"
        )
    keep = weights.ravel() > 0
    z = logits.ravel()[keep].astype(np.float64)
    y = labels.ravel()[keep].astype(np.float64)
    w = weights.ravel()[keep].astype(np.float64)
    if not y.any() or y.all():
        return 1.0, 0.0
    theta = np.array([1.0, 0.0])
    loss = _loss(theta, z, y, w)
    for _ in range(MAX_NEWTON_STEPS):
        step = _newton_step(theta, z, y, w)
        while np.abs(step).max() > 1e-12:  # noqa: PLR2004 - far below what a score shows
            new_loss = _loss(theta - step, z, y, w)
            if new_loss <= loss:
                break
            step = step / 2
        theta = theta - step
        if loss - new_loss < 1e-10 * w.sum():
            break
        loss = new_loss
    slope = float(np.clip(theta[0], MIN_SLOPE, MAX_SLOPE))
    return 1 / slope, float(np.clip(theta[1], -MAX_BIAS, MAX_BIAS))


def _newton_step(theta: Floats, z: Floats, y: Floats, w: Floats) -> Floats:
    """Return the step to subtract; a little ridge towards (1, 0) keeps separable data finite."""
    p = 1 / (1 + np.exp(-np.clip(theta[0] * z + theta[1], -60, 60)))
    residual = w * (p - y)
    curve = w * p * (1 - p)
    gradient = np.array([(residual * z).sum(), residual.sum()]) + RIDGE * (theta - np.array([1.0, 0.0]))
    cross = (curve * z).sum()
    hessian = np.array([[(curve * z * z).sum() + RIDGE, cross], [cross, curve.sum() + RIDGE]])
    step: Floats = np.linalg.solve(hessian, gradient)
    return step


def _loss(theta: Floats, z: Floats, y: Floats, w: Floats) -> float:
    x = theta[0] * z + theta[1]
    ridge = RIDGE / 2 * ((theta[0] - 1) ** 2 + theta[1] ** 2)
    return float((w * (np.logaddexp(0, x) - y * x)).sum() + ridge)
