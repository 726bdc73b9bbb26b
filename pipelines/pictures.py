"""Chosen frames of a video as pictures: which packets to decode for them, and which frame stands in for a damaged one.

Times are seconds on the container's presentation clock, counted from the first presented frame of the video stream;
the packets tell them, not the header. Frames with times are found by them: decoding starts at the keyframe before
and ends with the wanted packet. Where a container has no usable presentation times (raw streams, B-frames in AVI),
the video is decoded in order and the n-th picture out of the decoder gets the n-th time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fal_model.errors import FailureKind, VideoError
from pipelines.frame_stream import FrameStream
from pipelines.frame_table import Run
from pipelines.limits import DecodeLimits
from pipelines.packets import Layout, lay_out
from pipelines.video import HELD_BYTES, SKIP_BYTES, Decoded, VideoSource

LONG_RUN = 16
"""Packets that are worth a few more, so as not to be decoded twice."""
MOST_BEYOND = 32
"""Decoders keep back fewer frames than this; 16 is the most that H.264 and HEVC allow."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded frame, upright and stretched to the wanted size.

    Attributes:
        time_s: Presentation time of this frame, seconds; not always that of the frame asked for.
        is_exact: Whether it is the frame asked for, whole; otherwise it is the nearest that could be decoded, or the
            decoder had to make up parts of it.
        rgb_HWC: Pixels.
    """

    time_s: float
    is_exact: bool
    rgb_HWC: npt.NDArray[np.uint8]


class PictureReader:
    """A video whose frames are known and can be asked for. Close it; not for several threads at once.

    Args:
        source: Readable and seekable; read from its beginning, never closed here.
        limits: What the video may cost.
        held_bytes: As of :class:`pipelines.video.VideoSource`.
        skip_bytes: The same.

    Attributes:
        video: The opened stream.
        table: Every presented frame.

    Raises:
        VideoError: not a video, not allowed, over a limit, or without frames.
    """

    def __init__(
        self, source: BinaryIO, limits: DecodeLimits, *, held_bytes: int = HELD_BYTES, skip_bytes: int = SKIP_BYTES
    ) -> None:
        self.video = VideoSource(source, limits, held_bytes=held_bytes, skip_bytes=skip_bytes)
        try:
            self._layout = _lay_out(self.video, limits)
        except BaseException:  # whatever it was travels on
            self.video.close()
            raise
        self.table = self._layout.table
        self._stream = FrameStream(self.video, 0)
        self._in_order = _numbered(self._stream.frames(len(self.video.packets) - 1, None))
        self._in_order_at: tuple[int, Decoded] | None = None

    def close(self) -> None:
        """Free decoder, demuxer and held frames."""
        self._in_order_at = None
        self.video.close()

    def pictures(self, frames: Sequence[int], size_px: int) -> dict[int, Picture]:
        """Decode chosen frames.

        Args:
            frames: Indices into ``table``; from call to call they rise, but the last frame may be asked for again.
            size_px: Height and width of the pictures.

        Returns:
            A picture for each frame that could be decoded, or for which one near by could.

        Raises:
            VideoError: the decoder ran out of memory, or reading the file failed.
        """
        wanted = sorted(set(frames))
        if not self._layout.is_timed:
            return self._read_in_order(wanted, size_px)
        found: dict[int, Picture] = {}
        runs = self.table.runs(wanted)
        for run in runs:
            pictures = self._read_run(run, size_px, self._beyond(run) if run is runs[-1] else 0)
            if not pictures and run.start > 0:  # the keyframe was none: try from the one before
                earlier = np.flatnonzero(self.video.packets.is_key[: run.start])
                start = int(earlier[-1]) if len(earlier) > 0 else 0
                pictures = self._read_run(Run(start, run.last, run.frames), size_px)
            found.update(pictures)
        return in_order(found)

    def longest_lead_s(self) -> float:
        """Return how much of the video lies at most between a frame and the keyframe to decode it from, seconds.

        Infinite where frames can only be told by counting them from the start.
        """
        if not self._layout.is_timed:
            return math.inf
        table = self.table
        shown_at_s = np.full(len(self.video.packets), -math.inf)
        shown_at_s[table.packet_index] = table.times_s
        keys_s = np.maximum(shown_at_s[table.start_index], 0.0)
        return float(np.max(table.times_s - keys_s))

    def nothing_decoded(self) -> VideoError:
        """Say why no frame at all could be decoded."""
        num_packets = len(self.video.packets)
        if self.video.is_encrypted:
            return VideoError(FailureKind.ENCRYPTED, "the video stream is encrypted")
        if self.video.errors:
            text = f"none of {num_packets} packets could be decoded: {self.video.errors[-1]}"
            return VideoError(FailureKind.CORRUPT, text)
        return VideoError(FailureKind.NO_FRAMES, f"the decoder made no picture of {num_packets} packets")

    def _beyond(self, run: Run) -> int:
        """Return how far to read on so that the next call can go on here, instead of decoding all this again."""
        after = run.last + 1
        goes_on = after < len(self.video.packets) and not self.video.packets.is_key[after]
        return MOST_BEYOND if goes_on and after - run.start >= LONG_RUN else 0

    def _read_run(self, run: Run, size_px: int, beyond: int = 0) -> dict[int, Picture]:
        ticks = self._layout.ticks
        pending = sorted(run.frames)
        found: dict[int, Picture] = {}
        before: Decoded | None = None
        wanted = {int(ticks[frame]): int(self.table.packet_index[frame]) for frame in run.frames}
        if not self._stream.can_give(run.start, ((packet, time) for time, packet in wanted.items())):
            self._stream = FrameStream(self.video, run.start)
        for decoded in self._stream.frames(run.last, wanted, beyond):
            if decoded.ticks is None:
                continue
            while pending and ticks[pending[0]] <= decoded.ticks:
                wish = pending.pop(0)
                self._keep(found, wish, _nearer(int(ticks[wish]), before, decoded), size_px)
            if not pending:
                return found
            before = decoded
        for wish in pending:
            if before is not None:
                self._keep(found, wish, before, size_px)
        return found

    def _read_in_order(self, frames: Sequence[int], size_px: int) -> dict[int, Picture]:
        found: dict[int, Picture] = {}
        for wish in frames:
            while self._in_order_at is None or self._in_order_at[0] < wish:
                following = next(self._in_order, None)
                if following is None:
                    break
                self._in_order_at = following
            if self._in_order_at is not None:
                number, decoded = self._in_order_at
                time_s = float(self.table.times_s[min(number, len(self.table) - 1)])
                is_same = number == wish and self.video.num_damaged == 0  # after damage there is no sure count
                self._keep_at(found, wish, decoded, size_px, time_s, is_same=is_same)
        return found

    def _keep(self, found: dict[int, Picture], wish: int, decoded: Decoded, size_px: int) -> None:
        ticks = self._layout.ticks
        time_s = ((decoded.ticks or 0) - int(ticks[0])) * self.video.tick_s
        self._keep_at(found, wish, decoded, size_px, time_s, is_same=decoded.ticks == int(ticks[wish]))

    def _keep_at(
        self, found: dict[int, Picture], wish: int, decoded: Decoded, size_px: int, time_s: float, *, is_same: bool
    ) -> None:
        rgb_HWC = self.video.picture(decoded, size_px)
        if rgb_HWC is not None:
            found[wish] = Picture(time_s, is_same and not decoded.is_damaged, rgb_HWC)


def in_order(found: dict[int, Picture]) -> dict[int, Picture]:
    """Leave out stand-ins that would turn time back: where times jump, the nearest frame need not lie in order.

    Args:
        found: Pictures by the frame they were asked for as.

    Returns:
        Those whose times rise with their frames; exact ones come first.
    """
    if all(found[a].time_s <= found[b].time_s for a, b in pairwise(sorted(found))):
        return found
    kept: dict[int, Picture] = {}
    for wish in sorted(found, key=lambda frame: (not found[frame].is_exact, frame)):
        mine_s = found[wish].time_s
        if all(p.time_s <= mine_s if frame < wish else p.time_s >= mine_s for frame, p in kept.items()):
            kept[wish] = found[wish]
    return kept


def _numbered(frames: Iterable[Decoded]) -> Iterator[tuple[int, Decoded]]:
    """Number frames in order of presentation, leaving out the numbers of packets that gave none."""
    number = -1
    for decoded in frames:
        number = number + 1 if decoded.place is None else max(number + 1, decoded.place)
        yield number, decoded


def _nearer(ticks: int, before: Decoded | None, after: Decoded) -> Decoded:
    if before is None or before.ticks is None or after.ticks is None:
        return after
    return before if ticks - before.ticks < after.ticks - ticks else after


def _lay_out(video: VideoSource, limits: DecodeLimits) -> Layout:
    if not video.packets.is_shown.any():
        if video.is_encrypted:
            raise VideoError(FailureKind.ENCRYPTED, "the video stream is encrypted", "probe")
        text = f"{len(video.packets)} packets in the video stream, none to be shown"
        raise VideoError(FailureKind.NO_FRAMES, text, "probe")
    layout = lay_out(video.packets, video.tick_s, video.rate_fps, decode_order_times=video.has_decode_order_times)
    if layout.table.duration_s > limits.max_duration_s:
        text = f"{layout.table.duration_s:.6g} s by its time stamps, at most {limits.max_duration_s:g} s are allowed"
        raise VideoError(FailureKind.LIMIT_EXCEEDED, text, "probe")
    return layout
