"""Between seconds and places: where a time lies among the frames of a clip, as the model sees them. Numpy only.

The model knows the number of a frame, not its time. So it speaks of places: 0 is the start of the clip's window, 1 its
end, and frame t of T lies at (t + 0.5) / T, whatever its time is. In between, places follow time linearly. What lies
half-way between two frames has the same place however far they are apart, so nothing about times must be learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def frame_places(num_frames: int) -> Floats:
    """Return the places of the frames of a clip, shape [T]."""
    return (np.arange(num_frames) + 0.5) / num_frames


class Timeline:
    """The times and places of one clip.

    Args:
        frame_times_s: Times of the frames, seconds, never falling; those outside the window count as its border.
        start_s: Start of the window, seconds.
        end_s: End of the window, seconds, greater than the start.

    Raises:
        ValueError: no frames, times that fall or are not finite, or an empty window.
    """

    def __init__(self, frame_times_s: Sequence[float], start_s: float, end_s: float) -> None:
        times_s = np.asarray(frame_times_s, np.float64)
        # Asked so that NaN, of which every comparison is false, is refused.
        if len(times_s) == 0 or not ((np.diff(times_s) >= 0).all() and np.isfinite(times_s).all()):
            raise ValueError(
                f"frame_times_s: got {list(frame_times_s)}, must be at least one finite time, none falling"
            )
        if not np.isfinite((start_s, end_s)).all():
            raise ValueError(f"start_s and end_s: got {start_s} and {end_s}, must be finite")
        if not end_s > start_s:
            raise ValueError(f"end_s: got {end_s}, must be greater than start_s ({start_s})")
        self._times_s = np.concatenate(([start_s], np.clip(times_s, start_s, end_s), [end_s]))
        self._places = np.concatenate(([0.0], frame_places(len(times_s)), [1.0]))

    def seconds(self, places: npt.ArrayLike) -> Floats:
        """Return the times of places, seconds; places beyond the window count as its border."""
        times_s: Floats = np.interp(np.asarray(places, np.float64), self._places, self._times_s)
        return times_s

    def places(self, times_s: npt.ArrayLike) -> Floats:
        """Return the places of times, 0 to 1; where several frames have the same time, that of the first one."""
        times = np.clip(np.asarray(times_s, np.float64), self._times_s[0], self._times_s[-1])
        after = np.searchsorted(self._times_s, times, side="left").clip(1)  # the first knot at or after the time
        low_s, high_s = self._times_s[after - 1], self._times_s[after]
        share = (times - low_s) / np.where(high_s > low_s, high_s - low_s, 1.0)
        places: Floats = self._places[after - 1] + share * (self._places[after] - self._places[after - 1])
        return places
