"""Decode in a child process that may crash, hang or bloat without taking anything else along.

One :class:`IsolatedDecoder` owns one child and reuses it from video to video; when the child dies or is too slow it
is killed and the next video gets a fresh one. The child is not believed: every size is computed here from the
specification, every number is checked, and nothing it sends is unpickled.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from fal_model.errors import FailureKind, VideoError
from fal_model.spec import ClipSpec
from pipelines import answers
from pipelines.clip_ring import RingReader, are_numbers
from pipelines.clips import Clip, VideoInfo
from pipelines.decode_worker import REQUEST, TAKEN, Operation
from pipelines.ffmpeg_builds import build_in_use, check_build
from pipelines.limits import DecodeLimits

WORKER_MODULE = "pipelines.decode_worker"
ALL_WINDOWS = range(2**32)
"""More than any video has."""
START_TIMEOUT_S = 60.0
"""Longest wait for a child to import what it needs, seconds."""
EXIT_TIMEOUT_S = 5.0
"""Longest wait for a child that was killed or that has closed its socket to be gone, seconds."""


def why_unconfined(worker: str = WORKER_MODULE) -> str:
    """Start a decoding process and ask what it could not give up.

    Args:
        worker: The module that the process runs.

    Returns:
        Empty if its system calls are filtered; otherwise why not, and then only the limits on resources hold.

    Raises:
        RuntimeError: the process could not be started.
    """
    child = _Child(ClipSpec(), DecodeLimits(), Operation.CLIPS, worker)
    child.end()
    return child.unconfined


class IsolatedDecoder:
    """A child process that looks at videos, one at a time; subclasses say at what. One object per thread.

    Args:
        spec: What a clip is.
        limits: What one video may cost.
        operation: What the child does with a video.
        worker: The module that the child runs.
    """

    def __init__(self, spec: ClipSpec, limits: DecodeLimits, operation: Operation, *, worker: str) -> None:
        self._spec = spec
        self._limits = limits
        self._operation = operation
        self._worker = worker
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
        """End the child; the next video would start another."""
        if self._child is not None:
            self._child.end()
        self._child = None
        self._is_busy = False

    @property
    def child_pid(self) -> int | None:
        """Return the process id of the child, None before the first video and after a crash."""
        return None if self._child is None else self._child.process.pid

    def _begin(self, source: BinaryIO, windows: range = ALL_WINDOWS) -> tuple[_Child, _Clock]:
        """Hand a video to the child; its first answer is awaited next."""
        descriptor = open_read_only(source)
        try:
            child = self._fresh_child()
            self._video_number += 1
            self._is_busy = True
            clock = _Clock(self._limits)
            with self._ending_on_error():
                child.request(descriptor, windows, clock)
        finally:
            os.close(descriptor)
        return child, clock

    def _fresh_child(self) -> _Child:
        """Return a child that waits for a video."""
        if self._is_busy or (self._child is not None and self._child.process.poll() is not None):
            self.close()  # the clips of the video before were not all taken, or somebody killed the child
        if self._child is None:
            check_build(build_in_use())
            self._child = _Child(self._spec, self._limits, self._operation, self._worker)
        return self._child

    def _next_header(self, child: _Child, clock: _Clock) -> dict[str, Any]:
        clock.start_step()
        header = child.receive(clock)
        if header["type"] == "error":
            error = answers.read_error(header)
            self._is_busy = False  # the child is in good order and takes the next video
            raise error
        return header

    @contextmanager
    def _ending_on_error(self) -> Iterator[None]:
        """End the child after any error but one that it reported itself."""
        try:
            yield
        except BaseException:  # a consumer that is stopped leaves the child amid a video too
            if self._is_busy:
                self.close()
            raise


class IsolatedPreparer(IsolatedDecoder):
    """Turn videos into clips in a child process. One video at a time; one object per thread.

    Args:
        spec: What a clip is.
        limits: What one video may cost.
        worker: The module that the child runs.
    """

    def __init__(self, spec: ClipSpec, limits: DecodeLimits, *, worker: str = WORKER_MODULE) -> None:
        super().__init__(spec, limits, Operation.CLIPS, worker=worker)

    def prepare(self, source: BinaryIO, windows: range = ALL_WINDOWS) -> tuple[VideoInfo, Iterator[Clip]]:
        """Read a video into clips, as :func:`pipelines.clips.prepare_clips` does.

        Args:
            source: A file with a descriptor (``fileno``); its position is neither used nor moved.
            windows: Which windows of it; more than it has are none.

        Returns:
            Facts about the video, and these clips of it in order. Starting another video ends this one's clips.

        Raises:
            VideoError: the video cannot be used; also while the clips are taken. ``decoder_crash``, ``timeout`` and
                ``limit_exceeded`` are what became of the child.
            RuntimeError: the child could not be started at all, or FFmpeg is too old; no video is to blame for that.
        """
        child, clock = self._begin(source, windows)
        with self._ending_on_error():
            info = answers.read_info(self._next_header(child, clock), self._spec, self._limits)
        clock.video_duration_s = info.duration_s
        return info, self._clips(child, self._video_number, info.served(windows), clock)

    def _clips(self, child: _Child, video_number: int, windows: range, clock: _Clock) -> Iterator[Clip]:
        next_index, num_taken = windows.start, 0
        while True:
            if self._video_number != video_number or self._child is not child:
                raise RuntimeError("clips were taken after another video was started, or after close()")
            with self._ending_on_error():
                header = self._next_header(child, clock)
                if header["type"] == "end":
                    self._is_busy = False
                    return
                facts = answers.read_clip(header, self._spec, range(next_index, windows.stop))
                arrays = child.take(num_taken, clock)
            next_index, num_taken = facts["index"] + 1, num_taken + 1
            yield Clip(**facts, **arrays)


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

    def patience_s(self) -> float:
        """Return the remaining time for a socket to wait, seconds, more than 0.

        Raises:
            VideoError: time is up.
        """
        remaining_s = self.remaining_s()
        if remaining_s <= 0:
            raise _timeout()
        return remaining_s


class _Child:
    """The process, the shared memory and our end of the socket; all end when this object does."""

    exit_timeout_s = EXIT_TIMEOUT_S

    def __init__(self, spec: ClipSpec, limits: DecodeLimits, operation: Operation, worker: str) -> None:
        # Held by nothing else: it goes with the last reference, for a thread may still be copying out of it.
        self._ring = RingReader(spec)
        with ExitStack() as kept, ExitStack() as given:
            given.callback(os.close, self._ring.descriptor)
            lifeline, our_end = os.pipe()
            kept.callback(os.close, our_end)
            given.callback(os.close, lifeline)
            self._channel, channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            kept.callback(self._channel.close)
            given.callback(channel.close)
            descriptors = {"channel": channel.fileno(), "ring": self._ring.descriptor, "lifeline": lifeline}
            options = {"operation": operation.value, "spec": spec.to_dict(), "limits": limits.to_dict()}
            self.process = _start(worker, descriptors, options)
            kept.callback(_kill, self.process)
            self.end = weakref.finalize(self, kept.pop_all().close)
        try:
            clock = _Clock(DecodeLimits(wall_time_s=START_TIMEOUT_S))
            self.unconfined = answers.read_ready(self.receive(clock))
        except VideoError as error:  # no video is to blame: the installation is broken, or memory is too small
            self.end()
            raise RuntimeError(f"the decoding process could not start: {error.message}") from None

    def request(self, descriptor: int, windows: range, clock: _Clock) -> None:
        """Ask for windows of a video by its open descriptor."""
        data = REQUEST.pack(os.fstat(descriptor).st_size, windows.start, windows.stop)
        self._channel.settimeout(clock.patience_s())
        try:
            socket.send_fds(self._channel, [data], [descriptor])
        except TimeoutError:
            raise _timeout() from None
        except OSError:
            raise self._crash() from None

    def receive(self, clock: _Clock) -> dict[str, Any]:
        """Wait for the next message and return its header."""
        self._channel.settimeout(clock.patience_s())
        try:
            data = self._channel.recv(answers.MAX_HEADER_BYTES + 1)
        except TimeoutError:
            raise _timeout() from None
        except OSError:
            data = b""
        if not data:
            raise self._crash()
        clock.end_step()
        return answers.read_header(data)

    def take(self, number: int, clock: _Clock) -> dict[str, Any]:
        """Copy the arrays of a clip and let the child use their place again."""
        arrays = self._ring.take(number)
        if not are_numbers(arrays):
            raise answers.nonsense("a clip with values that are no numbers")
        self._channel.settimeout(clock.patience_s())
        try:
            self._channel.send(TAKEN)
        except TimeoutError:
            raise _timeout() from None
        except OSError:
            raise self._crash() from None
        clock.end_step()
        return arrays

    def _crash(self) -> VideoError:
        """Say what the child died of."""
        try:
            code = self.process.wait(timeout=self.exit_timeout_s)
        except subprocess.TimeoutExpired:
            return VideoError(FailureKind.DECODER_CRASH, "the decoding process closed its socket")
        if code == -signal.SIGXCPU:
            return VideoError(FailureKind.TIMEOUT, "decoding used more processor time than allowed")
        return VideoError(FailureKind.DECODER_CRASH, f"the decoding process died of {_cause_of(code)}")


def _start(worker: str, descriptors: dict[str, int], options: dict[str, Any]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - one of our own modules, without a shell
        [sys.executable, "-P", "-m", worker, json.dumps({**descriptors, **options})],
        pass_fds=list(descriptors.values()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=_environment(),
        start_new_session=True,
    )


def _cause_of(code: int) -> str:
    """Name a return code; most real-time signals, which hostile code may send itself, have no name in Python."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _kill(process: subprocess.Popen[bytes], timeout_s: float = EXIT_TIMEOUT_S) -> None:
    process.kill()
    with suppress(subprocess.TimeoutExpired):  # the kernel holds it, in a read that hangs; Python reaps it later
        process.wait(timeout=timeout_s)


def open_read_only(source: BinaryIO) -> int:
    """Return a new descriptor of an open file that cannot be written through.

    Args:
        source: A file with a descriptor; temporary files are usually open for writing too.

    Raises:
        VideoError: it is no file that can be opened again.
    """
    descriptor = source.fileno()
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        return os.dup(descriptor)
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        text = f"the file cannot be opened for reading only: {error.strerror}"
        raise VideoError(FailureKind.STORAGE_ERROR, text, "open") from None


def _environment() -> dict[str, str]:
    """Return what the child may know of our environment: where code is, and no credentials."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH") if name in os.environ}
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *(path for path in sys.path if path)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**kept, **threads, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


def _timeout() -> VideoError:
    return VideoError(FailureKind.TIMEOUT, "decoding took longer than allowed and was ended")
