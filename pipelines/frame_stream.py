"""One pass of the decoder, which can be halted and taken up again: long groups of frames are not decoded per window."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator

from pipelines.packets import NO_TIME
from pipelines.video import Decoded, VideoSource

NEAR_END = 8
"""Packets this close before the last one can belong to frames that are shown after it."""


class FrameStream:
    """Frames of a video from a keyframe on. Of several streams of a video only the newest can be read.

    Args:
        video: The opened video; its decoder is restarted.
        start: Index of a keyframe in decoding order.

    Attributes:
        start: The same.
        next_index: Index of the first packet that was not decoded yet.
        is_open: False once the decoder was emptied: nothing can follow.
    """

    def __init__(self, video: VideoSource, start: int) -> None:
        self.start = self.next_index = start
        self.is_open = True
        self._video = video
        self._damage = video.restart()
        self._packets = video.packets_from(start)
        self._ahead: deque[Decoded] = deque()
        self._whole_from = start  # of the packets from here on, none was left out
        self._given_ticks = NO_TIME

    def can_give(self, start: int, wanted: Iterable[tuple[int, int]]) -> bool:
        """Tell whether going on gives the same frames as a new stream would.

        Args:
            start: Where decoding would have to start.
            wanted: Index of the packet, and presentation time in ticks, of each frame.
        """
        return (
            self.is_open
            and start == self.start
            and all(
                packet >= self.next_index or (packet >= self._whole_from and ticks > self._given_ticks)
                for packet, ticks in wanted
            )
        )

    def frames(self, last: int, wanted: Collection[int] | None, beyond: int = 0) -> Iterator[Decoded]:
        """Decode the packets up to ``last``; who stops iterating can go on later with a new call.

        Args:
            last: Index of the last packet to decode.
            wanted: Presentation times, ticks; other frames are left out where nothing refers to them. None: all.
            beyond: Packets to decode after the last one, if the decoder keeps wanted frames back, before it is emptied
                and the stream ends.

        Yields:
            Frames in presentation order. Packets that are damaged too much give none.

        Raises:
            VideoError: the decoder ran out of memory, or reading failed.
        """
        yield from self._given()
        while self.next_index <= last + beyond and (following := next(self._packets, None)) is not None:
            index, packet = following
            is_at_end = beyond > 0 and index > last - NEAR_END  # the next call may want what is shown after the last
            is_wanted = wanted is None or is_at_end or packet.pts is None or packet.pts in wanted
            self.next_index = index + 1
            if not is_wanted:
                self._whole_from = self.next_index
            self._ahead.extend(self._video.decode(packet, index, self._damage, is_wanted=is_wanted))
            yield from self._given()
        self.is_open = False
        self._ahead.extend(self._video.decode(None, last, self._damage))
        yield from self._given()

    def _given(self) -> Iterator[Decoded]:
        while self._ahead:
            decoded = self._ahead.popleft()
            if decoded.ticks is not None:
                self._given_ticks = max(self._given_ticks, decoded.ticks)
            yield decoded
