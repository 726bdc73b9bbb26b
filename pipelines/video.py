"""Containers and codecs: write videos, index them, decode chosen frames. The only file that knows PyAV.

Reading goes in two passes. The first runs the demuxer once over the video stream and notes every packet: time,
size, keyframe. That table, not the header, says how long the video is and which frames it has. The second decodes
exactly the wanted frames: it starts at the keyframe before them and lets the decoder skip frames that nothing else
refers to. Packets of small files are kept between the passes, so a "seek" is an index into a list; large files are
sought, and the packet found is checked against the table.

Times are seconds on the container's presentation clock, counted from the first presented frame of the video stream.
Where a container has no usable presentation times (raw streams, B-frames in AVI), frames are read in order and the
n-th picture out of the decoder gets the n-th time.

Colours: swscale turns every pixel format into 8-bit RGB with the matrix and range the stream declares (BT.601 if it
declares none); high dynamic range is cut to 8 bits without tone mapping.
"""

from __future__ import annotations

import io
from array import array
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.sidedata.sidedata import SideData
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from fal_model.errors import FailureKind, VideoError
from pipelines import pixels
from pipelines.limits import DecodeLimits
from pipelines.packets import NO_TIME, Layout, Packets, Run, lay_out, plan_runs
from pipelines.sniff import HEAD_BYTES, check_head, looks_like_container

DEMUXERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,rm,mxf,gxf,dv,swf,ivf,nut,gif,"
    "h264,hevc,vvc,obu,av1,m4v,mpegvideo,h263,vc1"
)
"""Demuxers that may run: none of them can refer to another file. HLS, DASH, concat, SDP, image lists are not here."""
DECODERS = """
    h264 hevc vvc av1 libdav1d vp8 vp9 vp3 vp5 vp6 vp6a vp6f vp7 theora mpeg1video mpeg2video mpeg4 msmpeg4v1 msmpeg4v2
    msmpeg4 h261 h263 h263i h263p flv wmv1 wmv2 wmv3 vc1 rv10 rv20 rv30 rv40 svq1 svq3 mjpeg prores dnxhd cfhd dvvideo
    rawvideo ffv1 huffyuv ffvhuff utvideo magicyuv cinepak indeo3 indeo4 indeo5 msvideo1 rpza qtrle gif png
""".split()
"""Decoders that may run."""
HELD_BYTES = 64 * 2**20
"""Compressed video kept in memory between the two passes; more is read again from the file."""
SKIP_READ_BYTES = 2 * 2**20
"""Reading on over this much is no dearer than a seek."""
IO_BUFFER_BYTES = 128 * 2**10
MAX_DEMUX_ERRORS = 20
MAX_NOTED_ERRORS = 5
_SCALING = (
    Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
)  # exact rounding: the same bytes on every processor


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded frame, upright and stretched to the wanted size.

    Attributes:
        time_s: Presentation time of this frame, seconds; not always that of the frame asked for.
        is_exact: Whether it is the frame asked for; otherwise it is the nearest that could be decoded.
        rgb_HWC: Pixels.
    """

    time_s: float
    is_exact: bool
    rgb_HWC: npt.NDArray[np.uint8]


class _Nameless:
    """The only thing FFmpeg is given: bytes without a name, so that nothing beside the file can be looked up."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.failure: OSError | None = None

    def read(self, size: int) -> bytes:
        try:
            return self._source.read(size)
        except OSError as error:
            self.failure = error
            raise

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()


class VideoFile:
    """An opened and indexed video. Close it, or use it as a context manager; not for several threads at once.

    Args:
        source: Readable and seekable; read from its beginning, never closed here.
        limits: What the video may cost.

    Attributes:
        table: Every presented frame.
        codec: Name of the decoder.
        container: Name of the demuxer.

    Raises:
        VideoError: not a video, not allowed, over a limit, or without frames.
    """

    def __init__(self, source: BinaryIO, limits: DecodeLimits) -> None:
        av.logging.set_level(av.logging.PANIC)
        self._limits = limits
        self._head = _read_head(source, limits)
        self._source = _Nameless(source)
        self._held: list[Packet[VideoStream]] = []
        self._is_encrypted = b"encv" in self._head
        self._errors: list[str] = []
        self._container = self._open()
        try:
            self._stream = self._pick_stream()
            self._context = self._open_decoder()
            self.container = self._container.format.name
            self.codec = self._context.name
            self._packets = self._index()
            self._layout = self._lay_out()
        except BaseException:
            self._container.close()
            raise
        self.table = self._layout.table
        gaps_s = np.diff(self.table.times_s)
        self._half_gap_s = float(np.median(gaps_s)) / 2 if len(gaps_s) > 0 else self.table.duration_s
        self._reformatter = VideoReformatter()
        self._turn: tuple[int, bool] | None = None
        self._position: int | None = None
        self._ordered = self._frames_in_order()
        self._ordered_last: tuple[int, VideoFrame] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the decoder and the demuxer now rather than when the object is collected."""
        self._ordered.close()
        self._ordered_last = None
        self._held.clear()
        self._container.close()

    @property
    def size_px(self) -> tuple[int, int]:
        """Return height and width of the upright picture, pixels."""
        height_px, width_px = self._context.height, self._context.width
        return (width_px, height_px) if self.rotation_deg % 180 else (height_px, width_px)

    @property
    def rotation_deg(self) -> int:
        """Return the clockwise turn that made the pictures upright; known once one was decoded, 0 before."""
        return 90 * self._turn[0] if self._turn else 0

    def pictures(self, frames: Sequence[int], size_px: int) -> dict[int, Picture]:
        """Decode chosen frames.

        Args:
            frames: Indices into ``table``; never before those of an earlier call by more than one frame.
            size_px: Height and width of the pictures.

        Returns:
            A picture for each frame that could be decoded, or for which one near by could.

        Raises:
            VideoError: the decoder ran out of memory, or reading the file failed.
        """
        if not self._layout.is_timed:
            return self._pictures_in_order(sorted(set(frames)), size_px)
        found: dict[int, Picture] = {}
        for run in plan_runs(self._layout, sorted(set(frames))):
            pictures = self._decode_run(run, size_px)
            if not pictures and run.start > 0:  # the keyframe was none: try from the one before
                earlier = np.flatnonzero(self._packets.is_key[: run.start])
                start = int(earlier[-1]) if len(earlier) > 0 else 0
                pictures = self._decode_run(Run(start, run.last, run.frames), size_px)
            found.update(pictures)
        return found

    def no_pictures_error(self) -> VideoError:
        """Say why nothing could be decoded."""
        if self._is_encrypted:
            return VideoError(FailureKind.ENCRYPTED, "the video stream is encrypted")
        if self._errors:
            return VideoError(
                FailureKind.CORRUPT, f"none of {len(self._packets)} packets could be decoded: {self._errors[-1]}"
            )
        return VideoError(FailureKind.NO_FRAMES, f"the decoder made no picture of {len(self._packets)} packets")

    def _open(self) -> InputContainer:
        self._source.seek(0)
        try:
            container = av.open(
                self._source,
                "r",
                options={"max_pixels": str(self._limits.max_pixels_per_frame), "threads": "1"},
                container_options={
                    "format_whitelist": DEMUXERS,
                    "codec_whitelist": ",".join(DECODERS),
                    "protocol_whitelist": "none",
                    "max_streams": str(self._limits.max_streams),
                    "enable_drefs": "0",
                    "use_absolute_path": "0",
                },
                metadata_errors="replace",
                buffer_size=IO_BUFFER_BYTES,
                io_open=_refuse_to_open,
            )
        except Exception as error:
            raise self._open_error(error) from error
        if not isinstance(container, InputContainer):
            raise TypeError(f"av.open gave a {type(container).__name__} for reading")
        return container

    def _open_error(self, error: Exception) -> VideoError:
        text = _text_of(error)
        if isinstance(error, VideoError):
            return error
        if self._source.failure is not None:
            kind, text = FailureKind.STORAGE_ERROR, f"reading failed: {self._source.failure}"
        elif isinstance(error, MemoryError):
            kind = FailureKind.LIMIT_EXCEEDED
            text = f"over {self._limits.max_streams} streams, or more memory than allowed"
        elif isinstance(error, av.ArgumentError | av.PatchWelcomeError | av.DemuxerNotFoundError):
            kind, text = FailureKind.UNSUPPORTED_FORMAT, f"not an allowed container ({text})"
        elif not isinstance(error, av.FFmpegError):
            kind = FailureKind.INTERNAL_ERROR
        elif looks_like_container(self._head):
            kind, text = FailureKind.CORRUPT, f"the container cannot be read ({text})"
        else:
            kind, text = FailureKind.NOT_A_VIDEO, f"no container was recognised ({text})"
        return VideoError(kind, text, "open")

    def _pick_stream(self) -> VideoStream:
        allowed = self._limits.max_streams
        if len(self._container.streams) > allowed:
            num = len(self._container.streams)
            raise VideoError(FailureKind.LIMIT_EXCEEDED, f"{num} streams, at most {allowed} are allowed", "probe")
        stream = self._container.streams.best("video")
        if not isinstance(stream, VideoStream) or stream.disposition & av.stream.Disposition.attached_pic:
            types = ", ".join(sorted({s.type for s in self._container.streams})) or "none"
            raise VideoError(FailureKind.NO_VIDEO_STREAM, f"no video stream; streams: {types}", "probe")
        for other in self._container.streams:
            if other.index != stream.index:
                other.discard = av.stream.Discard.all
        return stream

    def _open_decoder(self) -> VideoCodecContext:
        context: VideoCodecContext | None = self._stream.codec_context
        if context is None or context.name not in DECODERS:
            name = context.name if context else "unknown to this build of FFmpeg"
            raise VideoError(FailureKind.UNSUPPORTED_CODEC, f"no allowed decoder for the stream ({name})", "probe")
        if context.width * context.height > self._limits.max_pixels_per_frame:
            text = f"{context.width} x {context.height} pixels, at most {self._limits.max_pixels_per_frame} are allowed"
            raise VideoError(FailureKind.LIMIT_EXCEEDED, text, "probe")
        context.thread_count = 1
        context.options = {"max_pixels": str(self._limits.max_pixels_per_frame)}
        return context

    def _demux(self) -> Iterator[Packet[VideoStream]]:
        """Yield the packets of the video stream, reading on after damaged places."""
        for _ in range(MAX_DEMUX_ERRORS):
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size > 0:  # the last one is empty and only flushes
                        yield packet
            except av.FFmpegError as error:
                self._note(error)
            else:
                return

    def _index(self) -> Packets:
        pts, dts, duration, size, flags = array("q"), array("q"), array("q"), array("q"), array("b")
        num_bytes = 0
        for packet in self._demux():
            if len(pts) >= self._limits.max_frames:
                text = f"more than {self._limits.max_frames} packets in the video stream"
                raise VideoError(FailureKind.LIMIT_EXCEEDED, text, "probe")
            if not pts:
                self._is_encrypted |= packet.has_sidedata("encryption_info")
            pts.append(NO_TIME if packet.pts is None else packet.pts)
            dts.append(NO_TIME if packet.dts is None else packet.dts)
            duration.append(packet.duration or 0)
            size.append(packet.size)
            flags.append(packet.is_keyframe | packet.is_discard << 1)
            num_bytes += packet.size
            if num_bytes <= HELD_BYTES:
                self._held.append(packet)
        if num_bytes > HELD_BYTES:
            self._held.clear()
        bits = np.array(flags, np.int8)
        return Packets(
            pts=np.array(pts, np.int64),
            dts=np.array(dts, np.int64),
            duration=np.array(duration, np.int64),
            size_bytes=np.array(size, np.int64),
            is_key=(bits & 1).astype(np.bool_),
            is_shown=(bits & 2) == 0,
        )

    def _lay_out(self) -> Layout:
        if self._source.failure is not None:
            raise VideoError(FailureKind.STORAGE_ERROR, f"reading failed: {self._source.failure}", "probe")
        if not self._packets.is_shown.any():
            if self._is_encrypted:
                raise VideoError(FailureKind.ENCRYPTED, "the video stream is encrypted", "probe")
            text = f"{len(self._packets)} packets in the video stream, none to be shown"
            raise VideoError(FailureKind.NO_FRAMES, text, "probe")
        rate = self._stream.guessed_rate or self._stream.average_rate
        layout = lay_out(
            self._packets,
            float(self._stream.time_base or 0),
            float(rate) if rate else None,
            decode_order_times=self._container.format.name == "avi" and self._context.has_b_frames,
        )
        if layout.table.duration_s > self._limits.max_duration_s:
            text = (
                f"{layout.table.duration_s:.6g} s by its time stamps, at most {self._limits.max_duration_s:g} allowed"
            )
            raise VideoError(FailureKind.LIMIT_EXCEEDED, text, "probe")
        return layout

    def _packets_from(self, index: int) -> Iterator[tuple[int, Packet[VideoStream]]]:
        """Yield packets in decoding order from an index on."""
        if self._held:
            for i in range(index, len(self._held)):
                yield i, self._held[i]
            return
        yield from self._reread(index)

    def _decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """Decode one packet, or drain the decoder; damage gives no frames."""
        try:
            return self._context.decode(packet)
        except MemoryError as error:
            raise VideoError(FailureKind.LIMIT_EXCEEDED, "decoding needs more memory than allowed") from error
        except av.FFmpegError as error:
            if packet is not None:
                self._note(error)
            return []

    def _decode_run(self, run: Run, size_px: int) -> dict[int, Picture]:
        ticks = self._layout.ticks
        wanted = {int(ticks[frame]) for frame in run.frames}
        pending = sorted(run.frames)
        found: dict[int, Picture] = {}
        before: VideoFrame | None = None
        for frame in self._frames_of_run(run, wanted):
            while pending and frame.pts is not None and ticks[pending[0]] <= frame.pts:
                wish = pending.pop(0)
                is_before_nearer = before is not None and 2 * ticks[wish] < (before.pts or 0) + frame.pts
                self._keep(found, wish, before if is_before_nearer and before is not None else frame, size_px)
            if not pending:
                break
            before = frame if frame.pts is not None else before
        for wish in pending:
            if before is not None:
                self._keep(found, wish, before, size_px)
        return found

    def _frames_of_run(self, run: Run, wanted: set[int]) -> Iterator[VideoFrame]:
        self._context.flush_buffers()
        for index, packet in self._packets_from(run.start):
            if index > run.last:
                break
            self._context.skip_frame = "DEFAULT" if packet.pts is None or packet.pts in wanted else "NONREF"
            yield from self._decode(packet)
        yield from self._decode(None)
        self._context.flush_buffers()

    def _reread(self, index: int) -> Iterator[tuple[int, Packet[VideoStream]]]:
        """Yield packets of a large file from an index on: read on, seek, or start over, whichever is sound."""
        at = self._position
        skipped = self._packets.size_bytes[at:index].sum() if at is not None and at <= index else SKIP_READ_BYTES + 1
        if at is None or skipped > SKIP_READ_BYTES:
            at = self._seek(index)
        for packet in self._demux():
            at = self._identify(packet, at)
            self._position = at + 1
            if at >= index:
                yield at, packet
            at += 1
        self._position = None

    def _seek(self, index: int) -> int:
        """Move the demuxer to a packet, or before it; return where in decoding order it then stands."""
        dts, pts = int(self._packets.dts[index]), int(self._packets.pts[index])
        time = dts if dts != NO_TIME else pts
        if index > 0 and time != NO_TIME:
            try:
                self._container.seek(time, stream=self._stream)
                packet = next(self._demux(), None)
                at = -1 if packet is None else self._identify(packet, -1)
                if 0 <= at <= index:
                    self._container.seek(time, stream=self._stream)
                    return at
            except av.FFmpegError as error:
                self._note(error)
        self._reopen()
        return 0

    def _identify(self, packet: Packet[VideoStream], guess: int) -> int:
        """Return the place of a packet in decoding order, by its times and size; the guess if it has no double."""
        table = self._packets
        pts = NO_TIME if packet.pts is None else packet.pts
        if 0 <= guess < len(table) and (table.pts[guess], table.size_bytes[guess]) == (pts, packet.size):
            return guess
        same = np.flatnonzero((table.pts == pts) & (table.size_bytes == packet.size))
        return int(same[0]) if len(same) == 1 else guess

    def _reopen(self) -> None:
        self._container.close()
        self._container = self._open()
        self._stream = self._pick_stream()
        self._context = self._open_decoder()

    def _frames_in_order(self) -> Generator[tuple[int, VideoFrame]]:
        """Yield every frame of a stream without usable times, with its number."""
        number = count()
        for _, packet in self._packets_from(0):
            for frame in self._decode(packet):
                yield next(number), frame
        for frame in self._decode(None):
            yield next(number), frame

    def _pictures_in_order(self, frames: Sequence[int], size_px: int) -> dict[int, Picture]:
        found: dict[int, Picture] = {}
        for wish in frames:
            while self._ordered_last is None or self._ordered_last[0] < wish:
                following = next(self._ordered, None)
                if following is None:
                    break
                self._ordered_last = following
            if self._ordered_last is not None:
                number, frame = self._ordered_last
                shown = min(number, len(self.table) - 1)
                self._keep_at(found, wish, float(self.table.times_s[shown]), frame, size_px)
        return found

    def _keep(self, found: dict[int, Picture], wish: int, frame: VideoFrame, size_px: int) -> None:
        ticks = int(frame.pts or 0) - int(self._layout.ticks[0])
        self._keep_at(found, wish, ticks * float(self._stream.time_base or 0), frame, size_px)

    def _keep_at(self, found: dict[int, Picture], wish: int, time_s: float, frame: VideoFrame, size_px: int) -> None:
        try:
            scaled = self._reformatter.reformat(
                frame, size_px, size_px, "rgb24", interpolation=_SCALING, dst_color_range="JPEG", threads=1
            )
        except av.FFmpegError as error:
            self._note(error)
            return
        if self._turn is None:
            self._turn = _turn_of(frame)
        rgb_HWC = pixels.orient(np.asarray(scaled.to_ndarray(), dtype=np.uint8), self._turn[0], mirrored=self._turn[1])
        is_exact = abs(time_s - float(self.table.times_s[wish])) <= self._half_gap_s
        found[wish] = Picture(time_s, is_exact, rgb_HWC)

    def _note(self, error: Exception) -> None:
        if len(self._errors) < MAX_NOTED_ERRORS:
            self._errors.append(_text_of(error))


def _text_of(error: Exception) -> str:
    text = error.strerror if isinstance(error, av.FFmpegError) else str(error)
    return f"{type(error).__name__}: {text}"


def _read_head(source: BinaryIO, limits: DecodeLimits) -> bytes:
    try:
        num_bytes = source.seek(0, io.SEEK_END)
        source.seek(0)
        head = source.read(HEAD_BYTES)
    except IsADirectoryError as error:
        raise VideoError(FailureKind.NOT_A_FILE, "the path is a directory", "open") from error
    except OSError as error:
        raise VideoError(FailureKind.STORAGE_ERROR, f"reading failed: {error}", "open") from error
    if num_bytes > limits.max_bytes:
        text = f"{num_bytes} bytes, at most {limits.max_bytes} are allowed"
        raise VideoError(FailureKind.LIMIT_EXCEEDED, text, "open")
    check_head(head)
    return head


def _refuse_to_open(url: str, flags: int, options: Mapping[str, str]) -> BinaryIO:
    """Answer FFmpeg's wish to open another file or address; it gets the one file and nothing else."""
    del flags, options
    raise VideoError(FailureKind.UNSUPPORTED_FORMAT, f"the file refers to {url!r}; references are not followed", "open")


def _turn_of(frame: VideoFrame) -> tuple[int, bool]:
    """Read the display matrix: clockwise quarter turns, and whether to mirror before them."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV knows not every kind of side data and then gives none at all, except the rotation
        return round(-frame.rotation / 90) % 4, False
    if not isinstance(data, SideData):
        return 0, False
    right_x, right_y, _, down_x, down_y = np.frombuffer(bytes(data), np.int32)[:5] / 2**16
    mirrored = right_x * down_y - right_y * down_x < 0
    if mirrored:
        right_x, right_y = -right_x, -right_y
    if max(abs(right_x), abs(right_y)) == 0 or min(abs(right_x), abs(right_y)) > 0:
        return 0, False  # no turn by a right angle: shown as stored
    turns = {(1, 0): 0, (0, 1): 1, (-1, 0): 2, (0, -1): 3}[int(np.sign(right_x)), int(np.sign(right_y))]
    return turns, bool(mirrored)


WRITE_TIME_BASE = Fraction(1, 60_000)
"""Ticks of written times; MPEG-4 allows no finer clock than 1/65535."""


def write_video(
    path: str | Path,
    frames: Iterable[npt.NDArray[np.uint8]],
    *,
    fps: Fraction | int,
    codec: str = "libx264",
    times_s: Sequence[float] | None = None,
    options: Mapping[str, str] | None = None,
    keyframe_interval: int | None = None,
    rotation_deg: int = 0,
) -> None:
    """Encode frames to a file; the same frames and arguments give the same bytes.

    Args:
        path: Output; its suffix chooses the container (``.mp4``, ``.mkv``, ``.webm``, ``.avi``, ``.ts`` …).
        frames: RGB pictures ``H x W x 3`` of one size; read one at a time.
        fps: Frames per second, > 0.
        codec: Encoder name of FFmpeg, such as ``libx264``, ``mpeg4``, ``libvpx-vp9``.
        times_s: Presentation time of each frame, seconds, rising; None means ``i / fps``.
        options: Encoder options, such as ``{"crf": "23", "preset": "veryfast", "pix_fmt": "yuv420p10le"}``.
        keyframe_interval: Most frames between keyframes; None leaves it to the encoder.
        rotation_deg: Clockwise turn a player must apply; written as metadata, pixels are left alone.

    Raises:
        ValueError: no frames, fewer times than frames, or an encoder that makes no video.
    """
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError("write_video: got no frames, need at least one")
    encoder_options = dict(options or {})
    pix_fmt = encoder_options.pop("pix_fmt", "yuv420p")
    if keyframe_interval is not None:
        encoder_options["g"] = str(keyframe_interval)
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=fps, options=encoder_options)
        if not isinstance(stream, av.VideoStream):
            raise ValueError(f"write_video: codec {codec!r} is not a video encoder")  # noqa: TRY004 - a wrong value
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= int(av.codec.context.Flags.bitexact)
        stream.codec_context.time_base = WRITE_TIME_BASE if times_s is not None else 1 / Fraction(fps)
        if rotation_deg % 360:
            stream.set_display_rotation(-rotation_deg)  # PyAV counts counter-clockwise
        for index in count():
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(first), format="rgb24")
            frame.time_base = stream.codec_context.time_base
            frame.pts = index if times_s is None else _pts_at(times_s, index)
            container.mux(stream.encode(frame.reformat(format=pix_fmt, threads=1)))
            first = next(pictures, None)
            if first is None:
                break
        container.mux(stream.encode(None))


def _pts_at(times_s: Sequence[float], index: int) -> int:
    if index >= len(times_s):
        raise ValueError(f"write_video: got {len(times_s)} times, need one for frame {index}")
    return round(times_s[index] / WRITE_TIME_BASE)
