"""When the model says "not sure": the top score below which its answer is not to be relied on. Numpy only."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
ONE_SIDED_95 = 1.645
"""Standard deviations below the mean that 95 of 100 normal draws stay above."""


class Abstention(NamedTuple):
    """What was fitted.

    Attributes:
        below: Top score below which to abstain; 0 keeps everything.
        is_reached: Whether the accuracy of what is kept could be shown.
    """

    below: float
    is_reached: bool


class Kept(NamedTuple):
    """What abstaining costs and gains.

    Attributes:
        share: Share of the rows that are kept; NaN without rows.
        accuracy: Share of right answers among these; NaN when none is kept.
    """

    share: float
    accuracy: float


def fit_abstention(scores_N: Floats, hits_N: Floats, accuracy: float) -> Abstention:
    """Find the lowest threshold from which on the top answers are right often enough.

    Few clips prove little: an accuracy counts as reached where the lower end of its one-sided 95 % interval (Wilson,
    1927) does. Of all thresholds where that is so, the one is taken that abstains least. Where there is none, to
    abstain from everything would be of no use to anyone: the threshold is taken whose lower end is highest, as near to
    what was asked for as the clips can show.

    Args:
        scores_N: Top score of each clip.
        hits_N: 1 where the top answer is right, else 0.
        accuracy: What the kept clips shall reach, 0 to 1; 0 never abstains.

    Returns:
        The threshold, half-way between the last score kept and the first one not kept.
    """
    if not len(scores_N):
        return Abstention(0.0, is_reached=accuracy == 0)
    order_N = np.argsort(-scores_N, kind="stable")
    sorted_N = scores_N[order_N].astype(np.float64)
    lower_N = wilson_lower(np.cumsum(hits_N[order_N], dtype=np.float64), np.arange(1.0, len(sorted_N) + 1))
    lower_N[np.append(np.diff(sorted_N) == 0, np.array(False))] = -1.0  # equal scores are kept or left together
    reached = np.flatnonzero(lower_N >= accuracy)
    last = int(reached[-1]) if len(reached) else int(len(lower_N) - 1 - lower_N[::-1].argmax())
    if last == len(sorted_N) - 1:
        return Abstention(0.0, is_reached=len(reached) > 0)
    return Abstention(float(sorted_N[last] + sorted_N[last + 1]) / 2, is_reached=len(reached) > 0)


def kept(scores_N: Floats, hits_N: Floats, below: float) -> Kept:
    """Measure what a threshold keeps: a point on the curve of risk over coverage."""
    if not len(scores_N):
        return Kept(math.nan, math.nan)
    is_kept_N = scores_N >= below
    return Kept(float(is_kept_N.mean()), float(hits_N[is_kept_N].mean()) if is_kept_N.any() else math.nan)


def wilson_lower(hits: Floats, rows: Floats) -> npt.NDArray[np.float64]:
    """Return the lower end of the one-sided 95 % interval of a share by Wilson's score, any shape.

    Args:
        hits: How often it was so.
        rows: Out of how many, ≥ 1.

    Returns:
        From 0 to 1.
    """
    z = ONE_SIDED_95
    share = hits / rows
    spread = z * np.sqrt(share * (1 - share) / rows + (z / rows) ** 2 / 4)
    lower = (share + z**2 / (2 * rows) - spread) / (1 + z**2 / rows)
    clamped: npt.NDArray[np.float64] = np.maximum(lower, 0.0)  # where nothing hits, rounding may go below
    return clamped
