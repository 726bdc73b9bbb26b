"""Make scores mean what they say: scale and shift of logits, fitted on held-out clips. Numpy only."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
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
SMALLEST_STEP = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """One scale and shift: logits become ``logits / temperature + bias``. The default changes nothing.

    Attributes:
        temperature: Divides logits.
        bias: Added to logits.
    """

    temperature: Annotated[float, Range(ge=0.01, le=100)] = 1.0
    bias: Annotated[float, Range(ge=-20, le=20)] = 0.0

    def __post_init__(self) -> None:
        problems = range_problems(self)
        if problems:
            raise ConfigError([f"calibration.{p}" for p in problems])

    def apply(self, logits: Floats) -> npt.NDArray[np.float64]:
        """Calibrate logits of any shape."""
        return np.asarray(logits, dtype=np.float64) / self.temperature + self.bias


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """How the logits of a model become calibrated scores; stored with the model.

    Attributes:
        clip: For the clip's logits.
        frame: For the frames' logits.
    """

    clip: Scaling = field(default_factory=Scaling)
    frame: Scaling = field(default_factory=Scaling)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the inverse of :meth:`from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Calibration:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ConfigError: an unknown or missing field, or a value out of range.
        """
        problems = _field_problems(data, cls, "calibration")
        for name in ("clip", "frame"):
            if name in data and not isinstance(data[name], dict):
                problems.append(f"calibration.{name}: got {data[name]!r}, must be a mapping")
            elif name in data:
                problems += _field_problems(data[name], Scaling, f"calibration.{name}")
        if problems:
            raise ConfigError(problems)
        return cls(clip=Scaling(**data["clip"]), frame=Scaling(**data["frame"]))


def fit_scaling(logits: Floats, labels: Floats, weights: Floats) -> Scaling:
    """Fit temperature and bias on held-out clips by the loss the logits were trained with.

    Args:
        logits: Conditional logits, any shape.
        labels: 1 where the class holds, else 0; same shape.
        weights: 1 where the class counts (see ``postprocess.counted``), else 0; same shape.

    Returns:
        The best scaling; one that changes nothing when all labels are the same.

    Raises:
        ValueError: the shapes differ.
    """
    if not logits.shape == labels.shape == weights.shape:
        raise ValueError(
            f"labels and weights: got shapes {labels.shape} and {weights.shape}, must be {logits.shape} as logits"
        )
    keep = weights.ravel() > 0
    z = logits.ravel()[keep].astype(np.float64)
    y = labels.ravel()[keep].astype(np.float64)
    w = weights.ravel()[keep].astype(np.float64)
    if not y.any() or y.all():
        return Scaling()
    slope, bias = _minimise(z, y, w)
    slope = float(np.clip(slope, MIN_SLOPE, MAX_SLOPE))
    return Scaling(temperature=1 / slope, bias=float(np.clip(bias, -MAX_BIAS, MAX_BIAS)))


def _field_problems(data: dict[str, Any], cls: type[Calibration | Scaling], where: str) -> list[str]:
    known = {f.name for f in fields(cls)}
    problems = [f"{where}.{k}: unknown field" for k in sorted(set(data) - known)]
    return problems + [f"{where}.{k}: missing" for k in sorted(known - set(data))]


def _minimise(z: Floats, y: Floats, w: Floats) -> tuple[float, float]:
    """Minimise the binary cross-entropy over (slope, bias) by damped Newton steps; it is convex in both."""
    theta = np.array([1.0, 0.0])
    loss = _loss(theta, z, y, w)
    for _ in range(MAX_NEWTON_STEPS):
        step = _newton_step(theta, z, y, w)
        new_loss = _loss(theta - step, z, y, w)
        while new_loss > loss and np.abs(step).max() > SMALLEST_STEP:
            step = step / 2
            new_loss = _loss(theta - step, z, y, w)
        if new_loss >= loss:
            break
        theta, loss = theta - step, new_loss
    return float(theta[0]), float(theta[1])


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
