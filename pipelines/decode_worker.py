"""The child process that decodes: ``python -m pipelines.decode_worker JSON``. Started by :mod:`pipelines.isolation`.

It owns one end of a socket pair on which every message is one packet. A request is the size of a file and the first and
the next window to be done, eight bytes each, with a descriptor of the file beside it; the answer is one ``info``
message, then one ``clip`` message per clip, then ``end``; or at any point ``error``. A scan answers with ``facts``, one
clip of a few pictures and, if it is deep, a ``count`` again and again while every frame is decoded. Answers are JSON;
pixels lie in shared memory (:mod:`pipelines.clip_ring`), and the parent sends one byte for each clip that it has
copied. Nothing is ever unpickled in either direction. Before the first request the process gives up what it does not
need (:mod:`pipelines.sandbox`). It ends when its parent does, even while a decoder hangs, because the kernel kills it
when the other end of a pipe goes.
"""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from enum import StrEnum
from typing import Any

from fal_model.errors import FailureKind, VideoError, printable
from fal_model.spec import ClipSpec
from pipelines import sandbox
from pipelines.clip_ring import NUM_SLOTS, RingWriter
from pipelines.clips import Clip, prepare_clips
from pipelines.limits import DecodeLimits
from pipelines.scan import count_frames, scan_video

REQUEST = struct.Struct("=QQQ")
TAKEN = b"\0"
"""What the parent sends for each clip that it has copied."""
F_SETSIG = 10
"""Linux: which signal a descriptor in asynchronous mode sends; Python 3.11 has no name for it."""
NO_MEMORY_CODE = -4
"""By which OpenCV says that memory is out."""
# Four pictures of 32 x 32 that move, VP8: they run through the whole path once, so that nothing is left to be loaded.
SMALLEST_VIDEO = base64.b85decode(
    "L`z9V001BWR!}%FAOIi$82|tP0RR911ONa400000WdHyG0000000000Py_&-0V*H>AOHwQ2!(}+g@lMK0s^qhd~V{_sEb+0fMK=n"
    "vtmL1%OcW%`wm_MQ*8gTryYmA{qb3AvJDB_kL>SHC#O?uI>9i*2kKU$>|bT$KlJ9w<yTAo=rm<LC`qlgz#aeq009610000005Jjp"
    "ArW8z7!2y86}uz5kpjV_0HdAuD#^D`Y#<mJ00002000000000H0stWqU;r2ZDnKvv09*~-f`H|`jSCb2AOHXW0{{R3000005dr`)"
    "5nuoq05B*o^a8bO(K-O%ke70(f<=q06B{I$"
)


class Operation(StrEnum):
    """What the process does with each video that it is given."""

    CLIPS = "clips"
    SCAN = "scan"
    DEEP_SCAN = "deep_scan"


class DescriptorFile(io.RawIOBase):
    """Read an open descriptor by position, so that the sender's file position is left alone.

    Args:
        descriptor: Open for reading; closed with this object.
        num_bytes: Size of the file.
    """

    def __init__(self, descriptor: int, num_bytes: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._num_bytes = num_bytes
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any, /) -> int:  # Any: the buffer protocol has no type in Python 3.11
        """Fill a buffer from the current position; return how many bytes there were."""
        done = os.preadv(self._descriptor, [buffer], self._at)
        self._at += done
        return done

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move the position; return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._num_bytes}[whence]
        if base + offset < 0:
            raise OSError(f"seek to {base + offset}, before the start of the file")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def close(self) -> None:
        """Close the descriptor."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def main(argv: list[str]) -> int:
    """Serve requests until the socket closes.

    Args:
        argv: One JSON object: the descriptors ``channel``, ``ring`` and ``lifeline``, the ``spec``, the ``limits``,
            and the ``operation`` if it is not to make clips.

    Returns:
        Exit code 0.
    """
    options = json.loads(argv[0])
    spec, limits = ClipSpec.from_dict(options["spec"]), DecodeLimits.from_dict(options["limits"])
    lifeline = options["lifeline"]
    _die_with_parent(lifeline)
    channel = socket.socket(fileno=options["channel"])
    ring = RingWriter(options["ring"], spec)
    warm_up()
    send_message(channel, {"type": "ready", "unconfined": sandbox.restrain(limits, lifeline)})
    server = _Server(channel, ring, spec, limits, Operation(options.get("operation", Operation.CLIPS)))
    with suppress(ConnectionError):
        while server.serve_one():
            pass
    return 0


def warm_up() -> None:
    """Run everything once: libraries import and open more than one thinks when they are first used."""
    limits = DecodeLimits()
    spec = ClipSpec(num_frames=2, size_px=32, flow_size_px=8)
    for data in (SMALLEST_VIDEO, SMALLEST_VIDEO[:60]):
        with suppress(VideoError):
            list(prepare_clips(io.BytesIO(data), spec, limits)[1])
            scan_video(io.BytesIO(data), limits)


def send_message(channel: socket.socket, header: Mapping[str, Any]) -> None:
    """Send a message as one packet of JSON."""
    channel.sendall(json.dumps(header).encode())


class _Server:
    """Answer one request after another."""

    def __init__(
        self, channel: socket.socket, ring: RingWriter, spec: ClipSpec, limits: DecodeLimits, operation: Operation
    ) -> None:
        self._channel, self._ring, self._spec, self._limits = channel, ring, spec, limits
        self._operation = operation
        self._num_sent = self._num_taken = 0

    def serve_one(self) -> bool:
        """Wait for a request and answer it; False when there will be no more."""
        data, descriptors, _, _ = socket.recv_fds(self._channel, REQUEST.size, 1)
        if not data:
            return False
        self._num_sent = self._num_taken = 0
        num_bytes, first, stop = REQUEST.unpack(data)
        with DescriptorFile(descriptors[0], num_bytes) as raw:
            answer = self._answer(raw, range(first, stop))
        send_message(self._channel, answer)
        self._wait_for_taken(self._num_sent)
        return True

    def _answer(self, raw: DescriptorFile, windows: range) -> dict[str, Any]:
        """Send everything but the last message, and return that."""
        try:
            # Before anything is read: a video never pays for the ones before it.
            sandbox.limit_processor_time(self._limits.total_wall_time_s)
            self._work(io.BufferedReader(raw), windows)
        except VideoError as error:
            return {"type": "error", "kind": error.kind.value, "message": error.message, "stage": error.stage}
        except ConnectionError:
            raise
        except OSError as error:
            return _error(FailureKind.STORAGE_ERROR, f"reading failed: {error}")
        except Exception as error:  # noqa: BLE001 - this is the border: whatever a file provokes becomes one row
            if not isinstance(error, MemoryError) and getattr(error, "code", None) != NO_MEMORY_CODE:
                return _error(FailureKind.INTERNAL_ERROR, f"{type(error).__name__}: {error}")
        else:
            return {"type": "end"}
        # Only here is everything free again that the error held on to.
        return _error(
            FailureKind.LIMIT_EXCEEDED, f"decoding needs more than {self._limits.memory_bytes} bytes of memory"
        )

    def _work(self, source: io.BufferedReader, windows: range) -> None:
        if self._operation != Operation.CLIPS:
            self._scan(source)
            return
        info, clips = prepare_clips(source, self._spec, self._limits, windows=windows)
        sandbox.limit_processor_time(self._limits.total_wall_s(info.duration_s))
        send_message(self._channel, {"type": "info", **asdict(info)})
        for clip in clips:
            self._send_clip(clip)

    def _scan(self, source: io.BufferedReader) -> None:
        facts, pictures = scan_video(source, self._limits)
        sandbox.limit_processor_time(self._limits.total_wall_s(facts.duration_s))
        send_message(self._channel, {"type": "facts", **asdict(facts)})
        self._send_clip(pictures)
        if self._operation == Operation.DEEP_SCAN:
            for count in count_frames(source, self._limits):
                send_message(self._channel, {"type": "count", **asdict(count)})

    def _send_clip(self, clip: Clip) -> None:
        self._wait_for_taken(self._num_sent - NUM_SLOTS + 1)
        self._ring.put(clip, self._num_sent)
        self._num_sent += 1
        header = {
            "type": "clip",
            "index": clip.index,
            "start_s": clip.start_s,
            "end_s": clip.end_s,
            "frame_times_s": clip.frame_times_s,
            "covered_s": clip.covered_s,
            "num_substituted": clip.num_substituted,
        }
        send_message(self._channel, header)

    def _wait_for_taken(self, number: int) -> None:
        """Wait until the parent has copied this many clips of the video."""
        while self._num_taken < number:
            if not self._channel.recv(len(TAKEN)):
                raise BrokenPipeError
            self._num_taken += 1


def _error(kind: FailureKind, message: str) -> dict[str, Any]:
    return {"type": "error", "kind": kind.value, "message": printable(message), "stage": "decode"}


def _die_with_parent(descriptor: int) -> None:
    """Have the kernel kill this process when the other end of a pipe closes, whatever code runs then.

    ``PR_SET_PDEATHSIG`` would do so when the *thread* that started this process ends, which a pool's threads may.
    """
    fcntl.fcntl(descriptor, F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_ASYNC)
    poll = select.poll()
    poll.register(descriptor, select.POLLHUP)
    if poll.poll(0):
        os._exit(0)  # it closed before


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
