"""From a list of packets to the frames a video presents, and the cheapest way to decode some of them. Arithmetic."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.frame_table import FrameTable, Ints

NO_TIME = -(2**63)
"""Stands for a missing time stamp in integer arrays."""
DEFAULT_FPS = 25.0
LEAST_FPS, MOST_FPS = 1, 240
"""What cameras record; other rates in a header are mistakes."""
ENOUGH_TIMES = 0.4
"""Share of packets that must carry a presentation time of their own for the times to be used (interlaced video
stores two packets per frame, of which only the first has one)."""
MIN_FRAME_S = 1e-4
"""Frames that follow each other faster than this, on average, have wrong times: no camera is that quick."""
MAX_UNSTATED_S = 1.0
"""A frame whose packet does not say how long it stays is taken to be on screen no longer than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packets:
    """One entry per packet of the video stream, in decoding order; times in stream ticks, ``NO_TIME`` if missing."""

    pts: Ints
    dts: Ints
    duration: Ints
    size_bytes: Ints
    is_key: npt.NDArray[np.bool_]
    is_shown: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.pts)

    def find(self, pts: int | None, size_bytes: int, guess: int) -> int:
        """Recognise a packet that was read again.

        Args:
            pts: Its presentation time, ticks, or None.
            size_bytes: Its size.
            guess: Where it should be, by counting; -1 if there is no telling.

        Returns:
            Its index; the guess where no packet, or more than one, has this time and size.
        """
        ticks = NO_TIME if pts is None else pts
        if 0 <= guess < len(self) and (self.pts[guess], self.size_bytes[guess]) == (ticks, size_bytes):
            return guess
        same = np.flatnonzero((self.pts == ticks) & (self.size_bytes == size_bytes))
        return int(same[0]) if len(same) == 1 else guess


class PacketLog:
    """Collects packets while the demuxer runs, in little memory."""

    def __init__(self) -> None:
        self._times = array("q")
        self._sizes = array("q")
        self._flags = array("b")
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._sizes)

    def add(
        self, times: tuple[int | None, int | None, int | None], size_bytes: int, *, is_key: bool, is_shown: bool
    ) -> None:
        """Note one packet; its times are presentation, decoding and duration in ticks."""
        pts, dts, duration = times
        self._times.extend((NO_TIME if pts is None else pts, NO_TIME if dts is None else dts, duration or 0))
        self._sizes.append(size_bytes)
        self._flags.append(is_key + 2 * is_shown)
        self.num_bytes += size_bytes

    def packets(self) -> Packets:
        """Return what was noted."""
        times = np.array(self._times, np.int64).reshape(-1, 3)
        flags = np.array(self._flags, np.int8)
        return Packets(
            pts=times[:, 0].copy(),
            dts=times[:, 1].copy(),
            duration=times[:, 2].copy(),
            size_bytes=np.array(self._sizes, np.int64),
            is_key=(flags & 1) != 0,
            is_shown=(flags & 2) != 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The presented frames and where they lie in the stream.

    Attributes:
        table: What sampling needs to know.
        ticks: Presentation time of each frame in stream ticks; empty when frames can only be told by their order.
    """

    table: FrameTable
    ticks: Ints

    @property
    def is_timed(self) -> bool:
        """Tell whether frames carry presentation times; otherwise they must be read in order from the start."""
        return len(self.ticks) > 0


def lay_out(packets: Packets, tick_s: float, rate_fps: float | None, *, decode_order_times: bool) -> Layout:
    """Work out the presented frames of a stream.

    Args:
        packets: What the demuxer delivered, at least one presented packet.
        tick_s: Length of one tick, seconds.
        rate_fps: What the container says about the frame rate; used only where times are missing, and only if
            it is plausible.
        decode_order_times: Whether the container's times follow decoding order, so that they do not tell which
            frame is presented when.

    Returns:
        Frames in presentation order.
    """
    shown = np.flatnonzero(packets.is_shown)
    timed = shown[packets.pts[shown] != NO_TIME]
    _, first_with_time = np.unique(packets.pts[timed], return_index=True)  # sorted by time; repeats are dropped
    unique = timed[first_with_time]
    fps = rate_fps if rate_fps is not None and LEAST_FPS <= rate_fps <= MOST_FPS else DEFAULT_FPS
    has_times = len(unique) >= ENOUGH_TIMES * len(shown) and _is_plausible(packets.pts[unique], tick_s)
    if has_times and not decode_order_times:
        start_index = _starts(packets, unique)
        ticks = packets.pts[unique]
        times_s = (ticks.astype(np.float64) - float(ticks[0])) * tick_s  # as floats: ticks may be near ±2**63
        return Layout(
            table=_table(packets, unique, times_s, start_index, tick_s, fps),
            ticks=ticks,
        )
    if has_times and len(unique) == len(shown):
        ticks = packets.pts[unique]
        times_s = (ticks.astype(np.float64) - float(ticks[0])) * tick_s  # as floats: ticks may be near ±2**63
    else:
        times_s = np.arange(len(shown)) / fps
    return Layout(
        table=_table(packets, shown, times_s, np.zeros(len(shown), np.int64), tick_s, fps),
        ticks=np.zeros(0, np.int64),
    )


def _is_plausible(ticks: Ints, tick_s: float) -> bool:
    span_s = (float(ticks[-1]) - float(ticks[0])) * tick_s
    return len(ticks) == 1 or span_s >= MIN_FRAME_S * (len(ticks) - 1)


def _starts(packets: Packets, frames: Ints) -> Ints:
    """Return the keyframe that decoding of each frame must start at.

    It is the last keyframe up to the frame in decoding order, unless the frame is shown before that keyframe: then
    it may refer to pictures before it (an open group), and decoding starts one keyframe earlier.
    """
    keys = np.flatnonzero(packets.is_key)
    if len(keys) == 0 or keys[0] != 0:
        keys = np.concatenate([[0], keys])
    nearest = np.searchsorted(keys, frames, side="right") - 1
    leads = packets.pts[keys[nearest]] > packets.pts[frames]
    starts: Ints = keys[np.maximum(nearest - leads, 0)]
    return starts


def _table(
    packets: Packets,
    frames: Ints,
    times_s: npt.NDArray[np.float64],
    start_index: Ints,
    tick_s: float,
    fps: float,
) -> FrameTable:
    gaps_s = np.diff(times_s)
    usual_s = float(np.median(gaps_s)) if len(gaps_s) > 0 and np.median(gaps_s) > 0 else 1 / fps
    stated_s = packets.duration[frames].astype(np.float64) * tick_s
    is_plausible = MIN_FRAME_S <= stated_s[-1] <= 10 * usual_s
    duration_s = float(times_s[-1]) + (float(stated_s[-1]) if is_plausible else min(usual_s, MAX_UNSTATED_S))
    return FrameTable(
        times_s=times_s,
        sizes_bytes=packets.size_bytes[frames].astype(np.float64),
        is_key=packets.is_key[frames],
        packet_index=frames,
        start_index=start_index,
        skippable_before=_skippable_before(packets),
        until_s=np.minimum(np.append(times_s[1:], duration_s), times_s + np.maximum(stated_s, MAX_UNSTATED_S)),
        duration_s=duration_s,
    )


def _skippable_before(packets: Packets) -> Ints:
    """Count the packets presented before one that was decoded earlier, up to each packet."""
    latest = np.maximum.accumulate(packets.pts) if len(packets) > 0 else packets.pts
    return np.concatenate([[0], np.cumsum((packets.pts != NO_TIME) & (packets.pts < latest))])
