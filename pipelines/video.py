"""Containers and codecs: index a video, decode ranges of packets. With ``stream_facts`` all that reads with PyAV.

FFmpeg is given bytes without a name, a list of demuxers and decoders it may use, and no way to open anything else.
The demuxer runs once over the video stream and notes every packet. Packets of small files are kept, so that a "seek"
is an index into a list; large files are sought, and the packet found is checked against the table.

Colours: swscale turns every pixel format into 8-bit RGB with the matrix and range the stream declares (BT.601 if it
declares none), without alpha; interlaced pictures at full size, since it would scale each field by itself and leave a
comb. ``tone`` then brings PQ and HLG into the range of a screen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

import av

# PyAV would import these where a file has subtitles; the decoding process may open no file by then.
import av.subtitles.codeccontext
import av.subtitles.stream
import numpy as np
import numpy.typing as npt
from av import Packet, VideoFrame, VideoStream
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import Interpolation, VideoReformatter

from fal_model.errors import FailureKind, VideoError
from pipelines import pixels
from pipelines.clock import without_restarts
from pipelines.damage import DamageLog, DamageMap
from pipelines.hidden_frames import CODECS, is_hidden
from pipelines.limits import DecodeLimits
from pipelines.packets import NO_TIME, PacketLog, Packets
from pipelines.sniff import DECODERS, DEMUXERS, NamelessFile, looks_like_container, read_head
from pipelines.stream_facts import StreamFacts, stream_facts, turn_of
from pipelines.tone import to_standard_range

HELD_BYTES = 64 * 2**20
SKIP_BYTES = 2 * 2**20
IO_BUFFER_BYTES = 128 * 2**10
MARGIN_PX = 512
"""Rows and columns that a decoder may need beside the picture."""
MAX_ERRORS = 20
# Exact rounding: the same bytes on every processor.
_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame out of the decoder; only :meth:`VideoSource.picture` looks inside.

    Attributes:
        ticks: Presentation time in stream ticks, None if the container has none.
        frame: Full-size pixels in the decoder's own format.
        is_damaged: Whether parts of it are made up by the decoder, or may be.
        place: Number in order of presentation of the packet it came from, None for the last ones out of the decoder.
    """

    ticks: int | None
    frame: VideoFrame
    is_damaged: bool
    place: int | None


class VideoSource:
    """An opened and indexed video stream. Close it; not for several threads at once.

    Args:
        source: Readable and seekable; read from its beginning, never closed here.
        limits: What the video may cost.
        held_bytes: Compressed video kept in memory between the two passes; more is read again from the file.
        skip_bytes: Reading on over this much is no dearer than a seek.

    Attributes:
        packets: Every packet of the stream, in decoding order.
        container: Name of the demuxer.
        codec: Name of the decoder.
        is_encrypted: Whether some packets are, which then are not to be shown.
        errors: What went wrong on the way, the first few.
        num_damaged: Packets so far that the decoder complained of.
        num_decoded: Frames that came out of the decoder so far, wanted or not.

    Raises:
        VideoError: not a video, not allowed, or over a limit.
    """

    def __init__(
        self, source: BinaryIO, limits: DecodeLimits, *, held_bytes: int = HELD_BYTES, skip_bytes: int = SKIP_BYTES
    ) -> None:
        av.logging.set_level(av.logging.PANIC)
        self._limits = limits
        self._held_bytes, self._skip_bytes = held_bytes, skip_bytes
        self._head = read_head(source, limits.max_bytes)
        self._source = NamelessFile(source)
        self._held: list[Packet[VideoStream]] = []
        self.is_encrypted = b"encv" in self._head
        self.errors: list[str] = []
        self.num_decoded = self.num_damaged = 0
        self._container = self._open()
        try:
            self._choose_stream()
            self.container = self._container.format.name
            self.codec = self._context.name
            self._read = self._index()
            self.packets = without_restarts(self._read, self.tick_s)
            if self.packets is not self._read:
                for index, packet in enumerate(self._held):
                    self._set_time(packet, index)
        except BaseException:  # whatever it was travels on
            self._container.close()
            raise
        self._reformatter, self._full_size = VideoReformatter(), VideoReformatter()
        self._damage = DamageMap(self.packets)
        self._turn: tuple[int, bool] | None = None
        self._shown_px: tuple[int, int] | None = None
        self._position: int | None = None

    def close(self) -> None:
        """Free the decoder and the demuxer now rather than when the object is collected."""
        self._held.clear()
        self._container.close()

    @property
    def tick_s(self) -> float:
        """Return the length of one tick of the stream's clock, seconds."""
        return float(self._stream.time_base or 0)

    @property
    def rate_fps(self) -> float | None:
        """Return the frame rate that the container suggests, however wrong; None if it suggests none."""
        rate = self._stream.guessed_rate or self._stream.average_rate
        return float(rate) if rate else None

    @property
    def has_decode_order_times(self) -> bool:
        """Tell whether the container's times follow decoding order while frames are presented in another."""
        return self.container == "avi" and bool(self._context.has_b_frames)

    @property
    def facts(self) -> StreamFacts:
        """Return what is stated beside the packets; colours are sure once a picture was made."""
        return stream_facts(self._container, self._context)

    @property
    def rotation_deg(self) -> int:
        """Return the clockwise turn that made the pictures upright; known once one was made, 0 before."""
        return 90 * self._turn[0] if self._turn else 0

    @property
    def size_px(self) -> tuple[int, int]:
        """Return height and width of the upright picture, pixels."""
        # A damaged packet may make the decoder forget its size; the first picture's stays.
        height_px, width_px = self._shown_px or (self._context.height, self._context.width)
        return (width_px, height_px) if self.rotation_deg % 180 else (height_px, width_px)

    def restart(self) -> DamageLog:
        """Make the decoder forget what it has seen; return an empty log of damage."""
        self._context.flush_buffers()
        return DamageLog(self._damage)

    def picture(self, decoded: Decoded, size_px: int) -> npt.NDArray[np.uint8] | None:
        """Turn a frame upright and stretch it to a square of RGB pixels; None if its format cannot be converted."""
        frame, transfer = decoded.frame, int(decoded.frame.color_trc)
        reformatter, size = (self._full_size, None) if frame.interlaced_frame else (self._reformatter, size_px)
        try:
            scaled = reformatter.reformat(
                frame, size, size, "rgb24", interpolation=_SCALING, dst_color_range="JPEG", threads=1
            )
        except av.FFmpegError as error:
            self._note(error)
            return None
        if self._turn is None:
            self._turn = turn_of(frame)
            self._shown_px = frame.height, frame.width
        rgb_HWC = np.asarray(scaled.to_ndarray(), dtype=np.uint8)
        if size is None:
            rgb_HWC = pixels.resize(rgb_HWC, size_px, size_px)
        turns, mirrored = self._turn
        return pixels.orient(to_standard_range(rgb_HWC, transfer), turns, mirrored=mirrored)

    def _open(self, *, is_strict: bool = True) -> InputContainer:
        """Open the container; if not strictly, then for a look at what is stated, and no picture is made."""
        most = {"max_pixels": str(self._limits.max_pixels_per_frame)}
        self._source.seek(0)
        try:
            return av.open(
                self._source,
                "r",
                options={"threads": "1", "skip_frame": "all", **(most if is_strict else {})},
                container_options={
                    "format_whitelist": DEMUXERS,
                    "codec_whitelist": DECODERS,
                    "protocol_whitelist": "none",
                    "max_streams": str(self._limits.max_streams + 1),
                    "enable_drefs": "0",
                    "use_absolute_path": "0",
                },
                metadata_errors="replace",
                buffer_size=IO_BUFFER_BYTES,
                io_open=_refuse_to_open,
            )
        except Exception as error:  # PyAV passes on whatever reading raised; all of it gets a kind
            raise self._open_error(error) from error

    def _open_error(self, error: Exception) -> VideoError:
        text = _text_of(error)
        if isinstance(error, VideoError):
            return error
        if self._source.failure is not None:
            kind, text = FailureKind.STORAGE_ERROR, f"reading failed: {self._source.failure}"
        elif isinstance(error, MemoryError):
            kind, text = FailureKind.LIMIT_EXCEEDED, "opening needs more memory or streams than allowed"
        elif isinstance(error, av.ArgumentError | av.PatchWelcomeError | av.DemuxerNotFoundError):
            kind, text = FailureKind.UNSUPPORTED_FORMAT, f"not an allowed container ({text})"
        elif not isinstance(error, av.FFmpegError):
            kind = FailureKind.INTERNAL_ERROR
        elif looks_like_container(self._head):
            kind, text = FailureKind.CORRUPT, f"the container cannot be read ({text})"
        else:
            kind, text = FailureKind.NOT_A_VIDEO, f"no container was recognised ({text})"
        return VideoError(kind, text, "open")

    def _choose_stream(self) -> None:
        """Take the stream that a player would show, and leave the others unread."""
        if len(self._container.streams) > self._limits.max_streams:
            raise _over_limit(f"more than {self._limits.max_streams} streams")
        stream = self._container.streams.best("video")
        if not isinstance(stream, VideoStream) or stream.disposition & av.stream.Disposition.attached_pic:
            types = ", ".join(sorted({s.type for s in self._container.streams})) or "none"
            raise VideoError(FailureKind.NO_VIDEO_STREAM, f"no video stream; streams: {types}", "probe")
        context: VideoCodecContext | None = stream.codec_context
        if context is None or context.name not in DECODERS.split(","):
            name = context.name if context else "unknown to this build of FFmpeg"
            raise VideoError(FailureKind.UNSUPPORTED_CODEC, f"no allowed decoder for the stream ({name})", "probe")
        allowed = self._limits.max_pixels_per_frame
        width_px, height_px = (context.width, context.height) if context.width else self._kept_back_size(stream.index)
        if width_px * height_px > allowed:
            raise _over_limit(f"{width_px} x {height_px} pixels, at most {allowed} are allowed")
        for other in self._container.streams:
            if other.index != stream.index:
                other.discard = av.stream.Discard.all
        context.thread_count = 1
        # Stops pictures that grow on the way; decoders compare with what they put into memory, margins included.
        context.options = {"max_pixels": str(allowed + MARGIN_PX * (width_px + height_px + MARGIN_PX))}
        with suppress(av.FFmpegError):  # decoding will meet it again
            context.open(strict=False)  # while nothing is to be skipped: dav1d would stay with what it was opened with
        self._stream, self._context = stream, context

    def _kept_back_size(self, index: int) -> tuple[int, int]:
        """Return the width and height of a stream that FFmpeg did not tell, as it does if they are over the limit."""
        position, size_px = self._source.tell(), (0, 0)
        with suppress(VideoError, IndexError), self._open(is_strict=False) as container:
            stream = container.streams[index]
            size_px = (stream.width, stream.height) if isinstance(stream, VideoStream) else size_px
        self._source.seek(position)
        return size_px

    def _demux(self) -> Iterator[Packet[VideoStream]]:
        """Yield the packets of the video stream, reading on after damaged places."""
        for _ in range(MAX_ERRORS):
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size > 0:  # the last one is empty and only flushes
                        yield packet
            except MemoryError as error:
                raise _over_limit("reading needs more memory than allowed") from error
            except av.FFmpegError as error:
                self._note(error)
            except IndexError:
                break  # the end: PyAV then asks for streams that turned up on the way and that it has not counted
            else:
                break
        if self._source.failure is not None:  # FFmpeg took it for the end of the file
            raise VideoError(FailureKind.STORAGE_ERROR, f"reading failed: {self._source.failure}")

    def _index(self) -> Packets:
        log, codec = PacketLog(), self._context.name
        may_hide = codec in CODECS
        for packet in self._demux():
            if len(log) >= self._limits.max_frames:
                raise _over_limit(f"more than {self._limits.max_frames} packets in the video stream")
            is_encrypted = packet.has_sidedata("encryption_info")  # it would decode to garbage, without an error
            self.is_encrypted |= is_encrypted
            log.add(
                (packet.pts, packet.dts, packet.duration),
                packet.size,
                is_key=packet.is_keyframe,
                is_shown=not packet.is_discard
                and not is_encrypted
                and not (may_hide and is_hidden(codec, memoryview(packet))),
            )
            if log.num_bytes <= self._held_bytes:
                self._held.append(packet)
        if log.num_bytes > self._held_bytes:
            self._held.clear()
        return log.packets()

    def packets_from(self, index: int) -> Iterator[tuple[int, Packet[VideoStream]]]:
        """Yield packets in decoding order from an index on; of large files: read on, seek, or start over."""
        if self._held:
            yield from enumerate(self._held[index:], index)
            return
        at = self._position
        if at is None or at > index or self.packets.size_bytes[at:index].sum() > self._skip_bytes:
            at = self._seek(index)
        for packet in self._demux():
            at = self._position = self._read.find(packet.pts, packet.size, at) + 1
            if at > index:
                self._set_time(packet, at - 1)
                yield at - 1, packet
        self._position = None

    def _set_time(self, packet: Packet[VideoStream], index: int) -> None:
        """Give a packet the time that the table has for it, where the container's clock starts over on the way."""
        if self.packets is not self._read and 0 <= index < len(self.packets) and packet.pts is not None:
            packet.pts = int(self.packets.pts[index])
            packet.dts = None

    def decode(
        self, packet: Packet[VideoStream] | None, index: int, damage: DamageLog, *, is_wanted: bool = True
    ) -> list[Decoded]:
        """Decode one packet, or empty the decoder; note in ``damage`` if anything was wrong with it.

        Args:
            packet: One of :meth:`packets_from`, in order; None for the end.
            index: Its index; at the end that of the last packet.
            damage: What :meth:`restart` gave.
            is_wanted: Whether its frame is; otherwise it is left out if nothing refers to it.

        Raises:
            VideoError: the decoder ran out of memory.
        """
        self._context.skip_frame = "DEFAULT" if is_wanted else "NONREF"
        num_logged = _num_logged_errors()
        frames: list[VideoFrame] = []
        try:
            frames = self._context.decode(packet)
        except MemoryError as error:
            raise _over_limit("decoding needs more memory than allowed") from error
        except av.FFmpegError as error:
            if packet is not None:
                self._note(error)
                num_logged = -1
        if _num_logged_errors() > num_logged or (packet is not None and packet.is_corrupt):
            damage.note(index)
            self.num_damaged += 1
        self.num_decoded += len(frames)
        place = None if packet is None else index - self._context.reorder_depth
        return [
            Decoded(frame.pts, frame, frame.is_corrupt or damage.spoils(frame.pts, index), place) for frame in frames
        ]

    def _seek(self, index: int) -> int:
        """Move the demuxer to a packet, or before it; return where in decoding order it then stands."""
        table = self._read
        time = int(table.pts[index] if table.dts[index] == NO_TIME else table.dts[index])
        if index > 0 and time != NO_TIME:
            try:
                self._container.seek(time, stream=self._stream)
                packet = next(self._demux(), None)
                at = -1 if packet is None else table.find(packet.pts, packet.size, -1)
                if 0 <= at <= index:
                    self._container.seek(time, stream=self._stream)
                    return at
            except av.FFmpegError as error:
                self._note(error)
        self._container.close()
        self._container = self._open()
        self._choose_stream()
        return 0

    def _note(self, error: Exception) -> None:
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(_text_of(error))


def _num_logged_errors() -> int:
    """Count the errors FFmpeg has logged in this process: how a decoder says that it made up a part of a picture."""
    return av.logging.get_last_error()[0]


def _over_limit(text: str) -> VideoError:
    return VideoError(FailureKind.LIMIT_EXCEEDED, text, "probe")


def _text_of(error: Exception) -> str:
    return f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"


def _refuse_to_open(url: str, *_: object) -> BinaryIO:
    """Answer FFmpeg's wish to open another file or address; it gets the one file and nothing else."""
    raise VideoError(FailureKind.UNSUPPORTED_FORMAT, f"the file refers to {url!r}; references are not followed", "open")
