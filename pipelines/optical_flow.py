"""Optical flow in known units: pixels of the model's frame per ``flow_step_s``, measured over the real time gap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fal_model.spec import ClipSpec
from pipelines import pixels

MAX_GAP_STEPS = 5.0
"""A neighbour further away than this many flow steps shows another moment, not the same motion."""
CUT_CORRELATION = 0.5
"""Two pictures a fraction of a second apart whose gray values correlate less than this show different scenes."""
MIN_CONTRAST = 4.0


class FlowEstimator:
    """Flow between pairs of frames under one clip specification; holds buffers, one object per thread.

    Args:
        spec: Gives the frame size, the grid size and the time step.
    """

    def __init__(self, spec: ClipSpec) -> None:
        self._spec = spec
        self._dense_flow = pixels.DenseFlow()

    def __call__(
        self, from_HWC: npt.NDArray[np.uint8], to_HWC: npt.NDArray[np.uint8], gap_s: float
    ) -> npt.NDArray[np.float32] | None:
        """Measure the motion at one frame.

        Args:
            from_HWC: RGB frame of ``size_px``.
            to_HWC: RGB frame seen ``gap_s`` later.
            gap_s: Time from the first to the second, seconds, not 0; negative where the second came before.

        Returns:
            ``flow_size_px`` square by 2: right and down, frame pixels per ``flow_step_s``; None across a hard cut.
        """
        from_HW, to_HW = pixels.gray(from_HWC), pixels.gray(to_HWC)
        if is_cut(from_HW, to_HW):
            return None
        flow_HWC = self._dense_flow(from_HW, to_HW)
        return pixels.area_average(flow_HWC, self._spec.flow_size_px) * np.float32(self._spec.flow_step_s / gap_s)


def is_cut(from_HW: npt.NDArray[np.uint8], to_HW: npt.NDArray[np.uint8]) -> bool:
    """Tell whether two neighbouring pictures show different scenes.

    Both are averaged to 16 x 16 cells, so that motion hardly matters, then correlated. Pictures without contrast
    are never a cut: there is nothing to tell scenes apart by.
    """
    from_N = pixels.area_average(from_HW.astype(np.float32), 16).ravel()
    to_N = pixels.area_average(to_HW.astype(np.float32), 16).ravel()
    from_std, to_std = float(from_N.std()), float(to_N.std())
    if from_std < MIN_CONTRAST or to_std < MIN_CONTRAST:
        return False
    correlation = float(np.mean((from_N - from_N.mean()) * (to_N - to_N.mean()))) / (from_std * to_std)
    return correlation < CUT_CORRELATION
