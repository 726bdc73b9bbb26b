"""Which frames a damaged packet spoils: its own, and those after it that may refer to it, up to the next keyframe.

A packet counts as damaged if the container marks it, or if the decoder fails or logs an error at it. Decoders of VP8,
VP9 and mostly of HEVC do not notice wrong bytes.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from pipelines.packets import NO_TIME, Packets


class DamageMap:
    """Knows the packets of a stream; one :class:`DamageLog` for each run of the decoder asks it.

    Args:
        packets: Every packet of the stream.
    """

    def __init__(self, packets: Packets) -> None:
        self.packets = packets
        self.keys = np.flatnonzero(packets.is_key)
        self._by_time = np.argsort(packets.pts, kind="stable")
        self._times = packets.pts[self._by_time]

    def place_of(self, ticks: int) -> int | None:
        """Return the first packet with this presentation time, or None."""
        at = int(np.searchsorted(self._times, ticks))
        return int(self._by_time[at]) if at < len(self._times) and self._times[at] == ticks else None

    def healed_from(self, index: int) -> int:
        """Return the first packet that, being a keyframe, ends the damage to another.

        It comes after the damaged one; but it is the keyframe before, if the damaged packet is presented before that
        keyframe: nothing that is presented after a keyframe refers to such a picture.
        """
        at = int(np.searchsorted(self.keys, index, side="right")) - 1
        if at < 0:
            return index + 1
        key, pts = int(self.keys[at]), self.packets.pts
        leads = NO_TIME not in {int(pts[index]), int(pts[key])} and pts[index] < pts[key]
        return key if leads else index + 1


class DamageLog:
    """Notes damaged packets while a run of packets is decoded.

    Args:
        stream: What is known of the stream.
    """

    def __init__(self, stream: DamageMap) -> None:
        self._stream = stream
        self._places: list[int] = []
        self._healed: list[int] = []

    def note(self, index: int) -> None:
        """Note a damaged packet; from call to call the index does not fall."""
        self._places.append(index)
        self._healed.append(max([*self._healed[-1:], self._stream.healed_from(index)]))

    def spoils(self, ticks: int | None, index: int) -> bool:
        """Tell whether a frame may show damage.

        Args:
            ticks: Its presentation time, or None if it has none.
            index: The packet at which the decoder gave it out; it may come from an earlier one.
        """
        packets = self._stream.packets
        if ticks is not None:
            place = self._stream.place_of(ticks)
            index = index if place is None else place
        if ticks is not None and index + 1 < len(packets) and packets.pts[index + 1] == NO_TIME:
            index += 1  # the second field of a frame has no time of its own
        at = bisect_right(self._places, index) - 1
        if at < 0:
            return False
        keys = self._stream.keys
        first = int(np.searchsorted(keys, self._healed[at]))
        if first == len(keys) or keys[first] > index:
            return True
        return ticks is not None and bool(packets.pts[keys[first]] > ticks)
