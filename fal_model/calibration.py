"""How logits become scores and scores become decisions: scales per level, thresholds per class, and when to abstain.

Everything here is fitted on held-out clips by ``evaluation.calibrate`` and lies in a model directory as
``calibration.json``, which a person can read and edit. Numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from fal_model.errors import ConfigError
from fal_model.ranges import Range, range_problems
from fal_model.taxonomy import Taxonomy

Floats = npt.NDArray[np.floating]
SHARE = Range(ge=0, le=1)
MAX_SHOWN = 5
"""Classes that a message names one by one."""
DEFAULT_THRESHOLD = 0.5
"""Threshold of every class while none is fitted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """One scale and shift: logits become ``logits / temperature + bias``. The default changes nothing.

    Attributes:
        temperature: Divides logits.
        bias: Added to logits.

    Raises:
        ConfigError: a value out of range.
    """

    temperature: Annotated[float, Range(ge=0.01, le=100)] = 1.0
    bias: Annotated[float, Range(ge=-20, le=20)] = 0.0

    def __post_init__(self) -> None:
        problems = range_problems(self)
        if problems:
            raise ConfigError([f"calibration.{p}" for p in problems])


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What turns the logits of a model into scores and decisions; stored with the model. The default changes nothing.

    Attributes:
        clip: For the clip's logits, one per level, level 0 first; what lies deeper takes the last one.
        frame: The same for the frames' logits.
        thresholds: Per class id, the lowest score of a clip or video for which the class is listed; with no entry at
            all, every class has ``DEFAULT_THRESHOLD``.
        frame_thresholds: The same for a frame that belongs to a segment.
        abstain_below: Top score below which the answer is "not sure"; 0 never abstains.

    Raises:
        ConfigError: a scaling is missing, or a value is out of range; all are listed.
    """

    clip: tuple[Scaling, ...] = (Scaling(),)
    frame: tuple[Scaling, ...] = (Scaling(),)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    frame_thresholds: Mapping[str, float] = field(default_factory=dict)
    abstain_below: float = 0.0

    def __post_init__(self) -> None:
        problems: list[str] = []
        for name in ("clip", "frame"):
            problems += _tuple_problems(getattr(self, name), f"calibration.{name}")
        for name in ("thresholds", "frame_thresholds"):
            problems += _threshold_problems(getattr(self, name), f"calibration.{name}")
        problems += _share_problem(self.abstain_below, "calibration.abstain_below")
        if problems:
            raise ConfigError(problems)

    def class_thresholds(self, taxonomy: Taxonomy, threshold: float | None = None) -> npt.NDArray[np.float64]:
        """Return the threshold of each class for a clip or video.

        Args:
            taxonomy: The classes.
            threshold: Of all classes, instead of the fitted ones.

        Returns:
            Shape [K], 0 to 1.

        Raises:
            ConfigError: the thresholds are of other classes; all are listed.
        """
        return _by_index(self.thresholds, taxonomy, threshold, "calibration.thresholds")

    def class_frame_thresholds(self, taxonomy: Taxonomy, threshold: float | None = None) -> npt.NDArray[np.float64]:
        """Return the threshold of each class for a frame; see :meth:`class_thresholds`."""
        return _by_index(self.frame_thresholds, taxonomy, threshold, "calibration.frame_thresholds")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the inverse of :meth:`from_dict`."""
        return {
            "clip": [asdict(scaling) for scaling in self.clip],
            "frame": [asdict(scaling) for scaling in self.frame],
            "thresholds": dict(self.thresholds),
            "frame_thresholds": dict(self.frame_thresholds),
            "abstain_below": self.abstain_below,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], taxonomy: Taxonomy) -> Calibration:
        """Read what :meth:`to_dict` wrote.

        Args:
            data: Plain data, unchecked.
            taxonomy: The classes that it must be about.

        Raises:
            ConfigError: an unknown or missing field, a class that is unknown or missing, more scalings than levels, or
                a value out of range; all are listed.
        """
        problems = _field_problems(data, cls, "calibration")
        num_levels = max(taxonomy.levels) + 1
        for name in sorted({"clip", "frame"} & set(data)):
            problems += _scaling_problems(data[name], num_levels, f"calibration.{name}")
        for name in ("thresholds", "frame_thresholds"):
            problems += _class_problems(data.get(name, {}), taxonomy, f"calibration.{name}")
        problems += _share_problem(data.get("abstain_below", 0.0), "calibration.abstain_below")
        if problems:
            raise ConfigError(problems)
        scalings = {name: tuple(Scaling(**values) for values in data[name]) for name in ("clip", "frame")}
        return cls(**(dict(data) | scalings))


def scaling_of(scalings: Sequence[Scaling], level: int) -> Scaling:
    """Return the scaling of a level: its own, or the last one where the level lies deeper."""
    return scalings[min(level, len(scalings) - 1)]


def scaled(logits: Floats, scalings: Sequence[Scaling], levels: Sequence[int]) -> npt.NDArray[np.float64]:
    """Calibrate logits by the scaling of each class's level.

    Args:
        logits: Shape [..., K].
        scalings: At least one, see :func:`scaling_of`.
        levels: Level of each of the K classes.

    Returns:
        Same shape.
    """
    of_class = [scaling_of(scalings, level) for level in levels]
    slope_K = np.array([1 / scaling.temperature for scaling in of_class])
    bias_K = np.array([scaling.bias for scaling in of_class])
    calibrated: npt.NDArray[np.float64] = logits.astype(np.float64) * slope_K + bias_K
    return calibrated


def _by_index(
    thresholds: Mapping[str, float], taxonomy: Taxonomy, threshold: float | None, where: str
) -> npt.NDArray[np.float64]:
    if threshold is None and thresholds:
        problems = _class_problems(thresholds, taxonomy, where)
        if problems:
            raise ConfigError(problems)
        return np.array([thresholds[node.id] for node in taxonomy.nodes], np.float64)
    return np.full(len(taxonomy), DEFAULT_THRESHOLD if threshold is None else threshold)


def _tuple_problems(scalings: object, where: str) -> list[str]:
    if not isinstance(scalings, tuple) or not all(isinstance(scaling, Scaling) for scaling in scalings):
        return [f"{where}: got {scalings!r}, must be a tuple of Scaling"]
    return [] if scalings else [f"{where}: got no scaling, must be at least one"]


def _threshold_problems(thresholds: object, where: str) -> list[str]:
    if not isinstance(thresholds, Mapping):
        return [f"{where}: got {thresholds!r}, must be a mapping of class ids to thresholds"]
    return [p for label, value in thresholds.items() for p in _share_problem(value, f"{where}.{label}")]


def _share_problem(value: object, where: str) -> list[str]:
    is_share = isinstance(value, int | float) and not isinstance(value, bool) and SHARE.allows(value)
    return [] if is_share else [f"{where}: got {value!r}, must be a number from 0 to 1"]


def _class_problems(thresholds: object, taxonomy: Taxonomy, where: str) -> list[str]:
    if not isinstance(thresholds, Mapping) or not thresholds:
        return _threshold_problems(thresholds, where)
    unknown = [f"{where}.{label}: no such class in the taxonomy" for label in thresholds if label not in taxonomy]
    missing = [f"{where}.{node.id}: missing" for node in taxonomy.nodes if node.id not in thresholds]
    if max(len(unknown), len(missing)) > MAX_SHOWN:
        # That many were not forgotten: it is another tree's, and the sizes say so best.
        size = f"{where}: got {len(thresholds)} classes, must be the {len(taxonomy)} of the taxonomy"
        return [size, *unknown[:MAX_SHOWN], *missing[:MAX_SHOWN]]
    return unknown + missing + _threshold_problems(thresholds, where)


def _scaling_problems(scalings: object, num_levels: int, where: str) -> list[str]:
    if not isinstance(scalings, list):
        return [f"{where}: got {scalings!r}, must be a list of scalings, one per level"]
    if not 1 <= len(scalings) <= num_levels:
        return [f"{where}: got {len(scalings)} scalings, must be from 1 to {num_levels}, the levels of the taxonomy"]
    problems: list[str] = []
    for level, values in enumerate(scalings):
        place = f"{where}[{level}]"
        if not isinstance(values, Mapping):
            problems.append(f"{place}: got {values!r}, must be a mapping")
            continue
        wrong = _field_problems(values, Scaling, place)
        problems += wrong or [f"{place}{p.removeprefix('calibration')}" for p in _problems_of(values)]
    return problems


def _problems_of(values: Mapping[str, Any]) -> list[str]:
    try:
        Scaling(**values)
    except ConfigError as error:
        return error.problems
    return []


def _field_problems(data: Mapping[str, Any], cls: type[Calibration | Scaling], where: str) -> list[str]:
    known = {f.name for f in fields(cls)}
    problems = [f"{where}.{k}: unknown field" for k in sorted(set(data) - known)]
    return problems + [f"{where}.{k}: missing" for k in sorted(known - set(data))]
