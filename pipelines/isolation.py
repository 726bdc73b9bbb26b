"""Decode in a child process that may crash, hang or bloat without taking anything else along.

One :class:`IsolatedPreparer` owns one child and reuses it from video to video; when the child dies or is too slow it
is killed and the next video gets a fresh one. The child is not believed: every size is computed here from the
specification, every number is checked, and nothing it sends is unpickled.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from fal_model.errors import FailureKind, VideoError, printable
from fal_model.spec import ClipSpec
from pipelines.clips import Clip, VideoInfo
from pipelines.decode_worker import HEADER, MAX_HEADER_BYTES
from pipelines.limits import DecodeLimits

START_TIMEOUT_S = 60.0
"""Longest wait for a child to import what it needs, seconds."""
EXIT_TIMEOUT_S = 5.0
MESSAGES = frozenset({"ready", "info", "clip", "end", "error"})
MAX_TIME_S = 1e8


class IsolatedPreparer:
    """Turn videos into clips in a child process. One video at a time; one object per thread.

    Args:
        spec: What a clip is.
        limits: What one video may cost.
    """

    def __init__(self, spec: ClipSpec, limits: DecodeLimits) -> None:
        self._spec = spec
        self._limits = limits
        self._child: _Child | None = None
        self._video_number = 0
        self._is_busy = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child; the next :meth:`prepare` would start another."""
        if self._child is not None:
            self._child.end()
        self._child = None
        self._is_busy = False

    @property
    def child_pid(self) -> int | None:
        """Return the process id of the child, None before the first video and after a crash."""
        return None if self._child is None else self._child.process.pid

    def prepare(self, source: BinaryIO) -> tuple[VideoInfo, Iterator[Clip]]:
        """Read a video into clips, as :func:`pipelines.clips.prepare_clips` does.

        Args:
            source: A file with a descriptor (``fileno``); its position is neither used nor moved.

        Returns:
            Facts about the video, and its clips in order. Starting another video ends this one's clips.

        Raises:
            VideoError: the video cannot be used; also while the clips are taken. ``decoder_crash``, ``timeout`` and
                ``limit_exceeded`` are what became of the child.
            RuntimeError: the child could not be started at all; no video is to blame for that.
        """
        descriptor = source.fileno()
        child = self._fresh_child()
        self._video_number += 1
        self._is_busy = True
        clock = _Clock(self._limits)
        with self._ending_on_error():
            child.request(self._spec, descriptor)
            header = self._next_header(child, clock)
            info = read_info(header, self._spec, self._limits)
        clock.video_duration_s = info.duration_s
        return info, self._clips(child, self._video_number, info, clock)

    def _fresh_child(self) -> _Child:
        """Return a child that waits for a video."""
        if self._is_busy or (self._child is not None and self._child.process.poll() is not None):
            self.close()  # the clips of the video before were not all taken, or somebody killed the child
        if self._child is None:
            self._child = _Child(self._limits)
        return self._child

    def _clips(self, child: _Child, video_number: int, info: VideoInfo, clock: _Clock) -> Iterator[Clip]:
        next_index = 0
        while True:
            if self._video_number != video_number or self._child is not child:
                raise RuntimeError("clips were taken after another video was started, or after close()")
            with self._ending_on_error():
                header = self._next_header(child, clock)
                if header["type"] == "end":
                    self._is_busy = False
                    return
                clip = _read_clip(header, child, clock, self._spec, range(next_index, info.num_clips))
            next_index = clip.index + 1
            yield clip

    def _next_header(self, child: _Child, clock: _Clock) -> dict[str, Any]:
        clock.start_step()
        header = child.receive(clock)
        if header["type"] == "error":
            error = read_error(header)
            self._is_busy = False  # the child is in good order and takes the next video
            raise error
        return header

    @contextmanager
    def _ending_on_error(self) -> Iterator[None]:
        """End the child after any error but one that it reported itself."""
        try:
            yield
        except BaseException:
            if self._is_busy:
                self.close()
            raise


class _Clock:
    """How long one video has been waited for; what the consumer does between two messages is not counted."""

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._waited_s = 0.0
        self._step_from_s = time.monotonic()
        self.video_duration_s = 0.0

    def start_step(self) -> None:
        """Begin to wait for the next message."""
        self._step_from_s = time.monotonic()

    def end_step(self) -> None:
        """Count the time waited for the message that has arrived."""
        self._waited_s += time.monotonic() - self._step_from_s
        self._step_from_s = time.monotonic()

    def remaining_s(self) -> float:
        """Return how much longer to wait, seconds; 0 or less when time is up."""
        step_s = time.monotonic() - self._step_from_s
        total_s = self._limits.total_wall_s(self.video_duration_s) - self._waited_s
        return min(self._limits.wall_time_s, total_s) - step_s


class _Child:
    """The process and our end of the socket; both end when this object does."""

    def __init__(self, limits: DecodeLimits) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            arguments = [str(theirs.fileno()), json.dumps(limits.to_dict())]
            self.process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-P", "-m", "pipelines.decode_worker", *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_environment(),
                start_new_session=True,
            )
        self.end = weakref.finalize(self, _end, self.process, self._channel)
        try:
            self.receive(_Clock(DecodeLimits(wall_time_s=START_TIMEOUT_S)))  # it is ready
        except VideoError as error:  # no video is to blame: the installation is broken, or memory is too small
            self.end()
            raise RuntimeError(f"the decoding process could not start: {error.message}") from None

    def request(self, spec: ClipSpec, descriptor: int) -> None:
        """Ask for a video by its open descriptor."""
        data = json.dumps(spec.to_dict()).encode()
        data = HEADER.pack(len(data)) + data
        try:
            sent = socket.send_fds(self._channel, [data], [descriptor])
            self._channel.sendall(data[sent:])
        except OSError:
            raise self._crash() from None

    def receive(self, clock: _Clock) -> dict[str, Any]:
        """Wait for the next message and return its header."""
        prefix = bytearray(HEADER.size)
        self.receive_into(memoryview(prefix), clock)
        (num_bytes,) = HEADER.unpack(prefix)
        if num_bytes > MAX_HEADER_BYTES:
            raise _nonsense(f"a header of {num_bytes} bytes")
        data = bytearray(num_bytes)
        self.receive_into(memoryview(data), clock)
        clock.end_step()
        try:
            header = json.loads(data)
        except ValueError:
            raise _nonsense("a header that is not JSON") from None
        if not isinstance(header, dict) or header.get("type") not in MESSAGES:
            raise _nonsense("a header of unknown type")
        return header

    def receive_into(self, buffer: memoryview, clock: _Clock) -> None:
        """Fill a buffer of known size from the socket."""
        while buffer:
            remaining_s = clock.remaining_s()
            if remaining_s <= 0:
                raise VideoError(FailureKind.TIMEOUT, "decoding took longer than allowed and was ended")
            self._channel.settimeout(remaining_s)
            try:
                num_bytes = self._channel.recv_into(buffer)
            except TimeoutError:
                continue
            except OSError:
                num_bytes = 0
            if num_bytes == 0:
                raise self._crash()
            buffer = buffer[num_bytes:]

    def _crash(self) -> VideoError:
        """Say what the child died of."""
        try:
            code = self.process.wait(timeout=EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return VideoError(FailureKind.DECODER_CRASH, "the decoding process closed its socket")
        if code == -signal.SIGXCPU:
            return VideoError(FailureKind.TIMEOUT, "decoding used more processor time than allowed")
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return VideoError(FailureKind.DECODER_CRASH, f"the decoding process died of {name}")


def _end(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    channel.close()
    process.kill()
    process.wait()


def _environment() -> dict[str, str]:
    """Return what the child may know of our environment: where code is, and no credentials."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH") if name in os.environ}
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *(path for path in sys.path if path)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**kept, **threads, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


def _nonsense(what: str) -> VideoError:
    return VideoError(FailureKind.DECODER_CRASH, f"the decoding process sent {what}")


def read_error(header: dict[str, Any]) -> VideoError:
    """Turn an ``error`` message into the error, believing nothing but its kind."""
    kind, message, stage = header.get("kind"), header.get("message"), header.get("stage")
    if kind not in set(FailureKind) or not isinstance(message, str) or stage not in {"open", "probe", "decode"}:
        return _nonsense("a malformed error")
    return VideoError(FailureKind(kind), message, stage)


def read_info(header: dict[str, Any], spec: ClipSpec, limits: DecodeLimits) -> VideoInfo:
    """Check an ``info`` message.

    Raises:
        VideoError: a field is missing, of another type, or out of range.
    """
    ranges = {
        "duration_s": limits.max_duration_s,
        "width_px": 2**31,
        "height_px": 2**31,
        "rotation_deg": 270,
        "mean_fps": 1e9,
        "num_frames": limits.max_frames,
        "num_clips": limits.max_duration_s / spec.window_s + 1,
    }
    values = {name: header.get(name) for name in VideoInfo.__dataclass_fields__}
    is_text = isinstance(values["codec"], str) and isinstance(values["container"], str)
    if not is_text or not all(
        _is_number(values[name], high, whole=not name.endswith(("_s", "_fps"))) for name, high in ranges.items()
    ):
        raise _nonsense("malformed facts about the video")
    texts = {name: printable(str(values[name])) for name in ("codec", "container")}
    checked: dict[str, Any] = {**values, **texts}
    return VideoInfo(**checked)


def _is_number(value: object, high: float, *, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return False
    return 0 <= value <= high


def _read_clip(header: dict[str, Any], child: _Child, clock: _Clock, spec: ClipSpec, indices: range) -> Clip:
    """Check a ``clip`` message and receive its arrays, whose sizes the specification gives."""
    times_s = header.get("frame_times_s")
    num_frames, size_px, grid_px = spec.num_frames, spec.size_px, spec.flow_size_px
    numbers = [header.get(name) for name in ("start_s", "end_s", "covered_s")]
    if (
        header["type"] != "clip"
        or header.get("index") not in indices
        or not isinstance(times_s, list)
        or len(times_s) != num_frames
        or not all(_is_number(number, MAX_TIME_S, whole=False) for number in numbers + times_s)
        or not _is_number(header.get("num_substituted"), num_frames, whole=True)
    ):
        raise _nonsense("a malformed clip")
    frames_THWC = np.empty((num_frames, size_px, size_px, 3), np.uint8)
    flow_q_THWC = np.empty((num_frames, grid_px, grid_px, 2), np.int8)
    valid_T = np.empty(num_frames, np.uint8)
    for buffer in (frames_THWC.data, flow_q_THWC.data, valid_T.data):
        child.receive_into(buffer.cast("B"), clock)
    clock.end_step()
    return Clip(
        index=header["index"],
        start_s=float(header["start_s"]),
        end_s=float(header["end_s"]),
        frame_times_s=tuple(float(time_s) for time_s in times_s),
        frames_THWC=frames_THWC,
        flow_q_THWC=flow_q_THWC,
        flow_valid_T=valid_T != 0,
        covered_s=float(header["covered_s"]),
        num_substituted=header["num_substituted"],
    )
