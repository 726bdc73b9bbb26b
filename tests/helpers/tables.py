"""Made-up frame tables for tests of sampling."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from pipelines.frame_table import FrameTable


def table_of(
    gaps_s: Sequence[float], sizes_bytes: Sequence[int] | None = None, keys: Collection[int] = (0,)
) -> FrameTable:
    """Make a table of frames without B-frames, each ``gaps_s`` after the one before; the first frame is a keyframe."""
    times_s = np.concatenate([[0.0], np.cumsum(gaps_s[:-1])])
    count = len(times_s)
    is_key = np.array([i == 0 or i in keys for i in range(count)])
    return FrameTable(
        times_s=times_s,
        sizes_bytes=np.array(sizes_bytes if sizes_bytes is not None else [1000] * count, np.float64),
        is_key=is_key,
        packet_index=np.arange(count),
        start_index=np.maximum.accumulate(np.where(is_key, np.arange(count), 0)),
        skippable_before=np.zeros(count + 1, np.int64),
        until_s=np.cumsum(gaps_s),
        duration_s=float(times_s[-1] + gaps_s[-1]),
    )
