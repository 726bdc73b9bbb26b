"""How the camera moved, from a flow field: the one affine motion that most of the picture shares.

Trial motions come from fixed triples of places, each triple giving one affine motion exactly; the trial that most
places agree with is the start, so that a large object moving on its own cannot pull it away. A few rounds of least
squares with weights that fade with disagreement then make it precise. Nothing is random: the same flow gives the same
answer.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

NUM_TRIALS = 48
TRIAL_PLACES = 8
FIT_PLACES = 28
"""Places per side that trials, and the fit after them, look at."""
SCALES_PX = (1.0, 0.55, 0.3)
"""A place this far from the common motion counts a quarter; once per round of the fit."""
MIN_TRIANGLE = 0.8
"""Least size of a triple's triangle (twice its area; the whole picture is 4): small ones magnify noise."""

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def estimate_camera(flow_HWC: Floats) -> Floats:
    """Fit the motion of the camera to a flow field.

    An object that covers up to about two fifths of the picture does not disturb it. Where nothing moves alike, it is
    some motion that a part of the picture shows: :func:`share_explained` tells.

    Args:
        flow_HWC: Right and down, pixels per step, at least 4 x 4; values that are not finite count as 0.

    Returns:
        ``2 x 3``: the flow at a place is ``camera_23 @ (x, y, 1)``, where x and y run from -1 at the left and upper
        edge of the picture over 0 at its centre to 1. So the last column is how the content of the centre moves right
        and down, and the others are what is added on the way from the centre to an edge, all in the unit of the flow.
    """
    trial_NC, fit_NC = (_sampled(flow_HWC, most) for most in (TRIAL_PLACES, FIT_PLACES))
    motion_3C = _best_trial(trial_NC, flow_HWC.shape[:2])
    places_N3 = _places(*flow_HWC.shape[:2], FIT_PLACES)
    for scale_px in SCALES_PX:
        off_NC = fit_NC - places_N3 @ motion_3C
        weight_N = 1 / (1 + (off_NC[:, 0] ** 2 + off_NC[:, 1] ** 2) / scale_px**2) ** 2
        weighted_3N = places_N3.T * (weight_N / weight_N.sum())
        motion_3C = np.linalg.solve(weighted_3N @ places_N3 + 1e-6 * np.eye(3), weighted_3N @ fit_NC)
    return np.ascontiguousarray(motion_3C.T, dtype=np.float32)


def camera_flow(camera_23: Floats, height: int, width: int) -> Floats:
    """Return the flow that the camera alone would cause.

    Args:
        camera_23: What :func:`estimate_camera` gave.
        height: Rows of the field.
        width: Columns of the field.

    Returns:
        ``height x width x 2``, in the unit of the camera motion.
    """
    flow_NC = _places(height, width, max(height, width)) @ camera_23.T
    return np.asarray(flow_NC.reshape(height, width, 2), dtype=np.float32)


def share_explained(flow_HWC: Floats, camera_23: Floats, within_px: float = 0.5) -> float:
    """Return the share of places, 0 to 1, whose flow is that of the camera.

    Args:
        flow_HWC: The flow field.
        camera_23: What :func:`estimate_camera` gave for it.
        within_px: How far it may be off, in the unit of the flow.
    """
    off_HWC = flow_HWC - camera_flow(camera_23, *flow_HWC.shape[:2])
    return float(np.mean(np.hypot(off_HWC[..., 0], off_HWC[..., 1]) <= within_px))


def _best_trial(flow_NC: Doubles, shape: tuple[int, ...]) -> Doubles:
    """Return the trial motion, ``3 x 2``, that the places agree with most."""
    triples_K3, inverse_K33 = _triples(*shape)
    motion_K3C = inverse_K33 @ flow_NC[triples_K3]
    motion_3CK = np.moveaxis(motion_K3C, 0, -1)
    places_N3 = _places(*shape, TRIAL_PLACES)
    squared_NK = np.zeros((len(flow_NC), len(triples_K3)))
    for axis in range(2):
        squared_NK += (places_N3 @ motion_3CK[:, axis] - flow_NC[:, axis, None]) ** 2
    disagreement_K = (squared_NK / (squared_NK + SCALES_PX[0] ** 2)).sum(axis=0)
    best: Doubles = motion_K3C[int(np.argmin(disagreement_K))]
    return best


def _sampled(flow_HWC: Floats, most: int) -> Doubles:
    rows, columns = (_indices(length, most) for length in flow_HWC.shape[:2])
    flow_NC = flow_HWC[rows[:, None], columns].reshape(-1, 2).astype(np.float64)
    return np.nan_to_num(flow_NC, nan=0.0, posinf=0.0, neginf=0.0)


@cache
def _indices(length: int, most: int) -> npt.NDArray[np.int64]:
    """Return up to ``most`` evenly spaced indices, as far from one edge as from the other."""
    count = min(length, most)
    return ((2 * np.arange(count) + 1) * length // (2 * count)).astype(np.int64)


@cache
def _places(height: int, width: int, most: int) -> Doubles:
    """Return (x, y, 1) of the sampled places, row by row."""
    y, x = ((2 * _indices(length, most) + 1) / length - 1 for length in (height, width))
    x_HW, y_HW = np.meshgrid(x, y)
    return np.stack([x_HW.ravel(), y_HW.ravel(), np.ones(x_HW.size)], axis=1)


@cache
def _triples(height: int, width: int) -> tuple[npt.NDArray[np.int64], Doubles]:
    """Choose triples of sampled places, always the same ones, and invert what turns a motion into their flow."""
    places_N3 = _places(height, width, TRIAL_PLACES)
    chosen: list[list[int]] = []
    number = 1
    while len(chosen) < NUM_TRIALS:
        triple: list[int] = []
        for _ in range(3):
            number = number * 16_807 % (2**31 - 1)  # the "minimal standard" generator: the same anywhere
            triple.append(number % len(places_N3))
        if abs(float(np.linalg.det(places_N3[triple]))) >= MIN_TRIANGLE:
            chosen.append(triple)
    triples_K3 = np.array(chosen, np.int64)
    inverse_K33: Doubles = np.linalg.inv(places_N3[triples_K3]).astype(np.float64)
    return triples_K3, inverse_K33
