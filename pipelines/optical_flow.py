"""Optical flow in known units: pixels of the model's frame per ``flow_step_s``, measured over the real time gap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fal_model.spec import ClipSpec
from pipelines import pixels

MAX_GAP_STEPS = 5.0
"""A neighbour further away than this many flow steps shows another moment, not the same motion."""
CUT_CORRELATION = 0.5
CUT_OVERLAP = 0.6
"""Two pictures a fraction of a second apart show different scenes if their gray values correlate less than this *and*
their histograms overlap less than that: motion changes the first, a change of light the second, a cut mostly both."""
MIN_CONTRAST = 4.0
HISTOGRAM_BINS = 32


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
    """Tell whether two neighbouring gray pictures show different scenes.

    Correlation is taken over 16 x 16 averaged cells. Pictures without contrast are never a cut: there is nothing to
    tell scenes apart by. Cuts between scenes of like brightness are missed; motion is never taken for a cut.
    """
    from_N = pixels.area_average(from_HW.astype(np.float32), 16).ravel()
    to_N = pixels.area_average(to_HW.astype(np.float32), 16).ravel()
    from_std, to_std = float(from_N.std()), float(to_N.std())
    if from_std < MIN_CONTRAST or to_std < MIN_CONTRAST:
        return False
    correlation = float(np.mean((from_N - from_N.mean()) * (to_N - to_N.mean()))) / (from_std * to_std)
    return correlation < CUT_CORRELATION and _overlap(from_HW, to_HW) < CUT_OVERLAP


def _overlap(first_HW: npt.NDArray[np.uint8], second_HW: npt.NDArray[np.uint8]) -> float:
    """Return the share of pixels that the gray histograms have in common, 0 to 1."""
    bin_width = 256 // HISTOGRAM_BINS
    first, second = (
        np.bincount(picture_HW.ravel() // bin_width, minlength=HISTOGRAM_BINS) for picture_HW in (first_HW, second_HW)
    )
    return float(np.minimum(first, second).sum()) / first_HW.size
