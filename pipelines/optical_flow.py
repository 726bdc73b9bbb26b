"""Optical flow in known units: pixels of the model's frame per ``flow_step_s``, measured over the real time gap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fal_model.spec import ClipSpec
from pipelines import pixels

MAX_GAP_STEPS = 5.0
"""A neighbour further away than this many flow steps shows another moment, not the same motion."""
CUT_LIKENESS = 0.5
"""Pictures whose detail is less alike than this, even after the motion is undone, show different scenes. Pictures of
the same scene lie near 1, pairs from different recordings below 0.5: ``bench/flow.py --real`` has the table."""
MIN_DETAIL = 1.0
"""Pictures with less detail than this, root mean square in gray levels, are not told apart."""
COMPARE_PX = 56
DETAIL_SPAN_PX = 9


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
        flow_HWC = self._dense_flow(from_HW, to_HW)
        grid_HWC = pixels.area_average(flow_HWC, self._spec.flow_size_px)
        if is_cut(from_HW, to_HW, grid_HWC if self._spec.flow_size_px >= COMPARE_PX else flow_HWC):
            return None
        return grid_HWC * np.float32(self._spec.flow_step_s / gap_s)


def is_cut(from_HW: npt.NDArray[np.uint8], to_HW: npt.NDArray[np.uint8], flow_HWC: npt.NDArray[np.float32]) -> bool:
    """Tell whether two neighbouring pictures show different scenes: nothing of the one is found in the other.

    The second picture is warped back by the flow, and the detail of both is correlated; light, and its change, are
    left out of it. Motion that was measured is therefore never taken for a cut; a flow so wrong that it explains
    nothing is, and should be. Two pictures of one camera in one room are no cut, however much happened in between.

    Args:
        from_HW: Gray picture.
        to_HW: Gray picture of the same size.
        flow_HWC: The flow from the first to the second that was measured, in pixels of these pictures: right, down.
            Of any size; it is brought to that of the comparison.

    Returns:
        True across a cut; False also where neither picture has detail to tell scenes apart by.
    """
    small_HWC = pixels.area_average(flow_HWC, COMPARE_PX) * np.float32(COMPARE_PX / from_HW.shape[0])
    to_small_HW = pixels.resize(to_HW, COMPARE_PX, COMPARE_PX)
    seen_HW = pixels.warp(to_small_HW, small_HWC)
    from_small_HW = pixels.resize(from_HW, COMPARE_PX, COMPARE_PX).astype(np.float32)
    from_N, to_N = (pixels.detail(picture_HW, DETAIL_SPAN_PX).ravel() for picture_HW in (from_small_HW, seen_HW))
    from_energy, to_energy = (float(detail_N @ detail_N) / detail_N.size for detail_N in (from_N, to_N))
    if max(from_energy, to_energy) < MIN_DETAIL**2:
        return False
    likeness = float(from_N @ to_N) / from_N.size / max(from_energy * to_energy, 1e-12) ** 0.5
    return bool(likeness < CUT_LIKENESS)
