"""One rising clock from time stamps that start over: recordings strung together, recorders that were restarted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipelines.packets import NO_TIME, Packets

MIN_JUMP_S = 0.25
"""Decoding times that go back by less are noise in a broken file, not another recording."""
NUM_BEFORE = 4
"""A jump back must be below this many packets before it: single wrong time stamps start nothing."""

MAX_TICKS = 2**60
"""Times beyond this are nonsense, and sums of them would not fit."""

Ints = npt.NDArray[np.int64]


def without_restarts(packets: Packets, tick_s: float) -> Packets:
    """Let every part of a stream whose clock starts over follow on the part before it.

    Args:
        packets: What the demuxer delivered.
        tick_s: Length of one tick, seconds.

    Returns:
        The packets; where decoding times jump back, later times are raised so that the first frame of the new part
        is presented when the last one of the old part ends. The same object if nothing jumps.
    """
    starts = _restarts(packets.dts, max(1, round(MIN_JUMP_S / tick_s)) if tick_s > 0 else 1)
    if len(starts) == 0:
        return packets
    pts, dts = packets.pts.copy(), packets.dts.copy()
    end: int | None = None
    for low, high in zip([0, *starts], [*starts, len(packets)], strict=True):
        part = slice(low, high)
        times = np.sort(packets.pts[part][packets.is_shown[part] & (packets.pts[part] != NO_TIME)])
        if len(times) == 0:
            continue
        shift = 0 if end is None else end - int(times[0])
        steps = np.diff(times)
        step = int(np.median(steps[steps > 0])) if (steps > 0).any() else max(1, int(packets.duration[part].max()))
        end = int(times[-1]) + shift + step
        if max(abs(shift), abs(end), step) > MAX_TICKS:
            return packets
        pts[part][packets.pts[part] != NO_TIME] += shift
        dts[part][packets.dts[part] != NO_TIME] += shift
    return replace(packets, pts=pts, dts=dts)


def _restarts(dts: Ints, min_jump: int) -> list[int]:
    """Return the packets at which decoding times jump back."""
    timed = np.flatnonzero((dts != NO_TIME) & (np.abs(dts) < MAX_TICKS))
    times = dts[timed]
    if len(times) <= NUM_BEFORE:
        return []
    lowest = np.min([times[NUM_BEFORE - back : len(times) - back] for back in range(1, NUM_BEFORE + 1)], axis=0)
    return [int(i) for i in timed[NUM_BEFORE:][times[NUM_BEFORE:] < lowest - min_jump]]
