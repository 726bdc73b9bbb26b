"""The child process that decodes: ``python -m pipelines.decode_worker FD``. Started by :mod:`pipelines.isolation`.

It owns one end of a socket pair. A request is a length-prefixed JSON header with the video's file descriptor beside
it; an answer is one ``info`` message, then one ``clip`` message per clip with the raw arrays behind it, then ``end``;
or at any point ``error``. Nothing is ever unpickled in either direction. Before the first request the process gives
up what it does not need: memory beyond the limit, writing files, opening many of them, leaving core dumps. It ends
when the socket closes, even while a decoder hangs, because a second thread watches for that.
"""

from __future__ import annotations

import io
import json
import math
import os
import resource
import select
import socket
import struct
import sys
import threading
from dataclasses import asdict
from typing import Any

from fal_model.errors import FailureKind, VideoError
from fal_model.spec import ClipSpec
from pipelines.clips import Clip, prepare_clips
from pipelines.limits import DecodeLimits

HEADER = struct.Struct(">I")
MAX_HEADER_BYTES = 64 * 2**10
MAX_OPEN_FILES = 64


class DescriptorFile(io.RawIOBase):
    """Read an open descriptor by position, so that the sender's file position is left alone.

    Args:
        descriptor: Open for reading; closed with this object.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
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
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: os.fstat(self._descriptor).st_size}[whence]
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
        argv: The number of the socket's descriptor, and the limits as JSON.

    Returns:
        Exit code 0.
    """
    channel = socket.socket(fileno=int(argv[0]))
    limits = DecodeLimits.from_dict(json.loads(argv[1]))
    threading.Thread(target=_exit_with_parent, args=(channel.fileno(),), daemon=True).start()
    _restrain(limits)
    send_message(channel, {"type": "ready"})
    while (request := _receive_request(channel)) is not None:
        spec, descriptor = request
        try:
            _serve(channel, descriptor, spec, limits)
        except BrokenPipeError:
            break
    return 0


def send_message(channel: socket.socket, header: dict[str, Any], *buffers: memoryview) -> None:
    """Send a JSON header and the raw bytes that belong to it."""
    data = json.dumps(header).encode()
    channel.sendall(HEADER.pack(len(data)) + data)
    for buffer in buffers:
        channel.sendall(buffer)


def _receive_request(channel: socket.socket) -> tuple[ClipSpec, int] | None:
    data, descriptors, _, _ = socket.recv_fds(channel, MAX_HEADER_BYTES, 1)
    if not data:
        return None
    while len(data) < HEADER.size or len(data) < HEADER.size + HEADER.unpack(data[: HEADER.size])[0]:
        more = channel.recv(MAX_HEADER_BYTES)
        if not more:
            return None
        data += more
    return ClipSpec.from_dict(json.loads(data[HEADER.size :])), descriptors[0]


def _serve(channel: socket.socket, descriptor: int, spec: ClipSpec, limits: DecodeLimits) -> None:
    with DescriptorFile(descriptor) as raw:
        # Before anything is read: a video never pays for the ones before it.
        _limit_processor_time(limits.total_wall_time_s)
        try:
            info, clips = prepare_clips(io.BufferedReader(raw), spec, limits)
            _limit_processor_time(limits.total_wall_s(info.duration_s))
            send_message(channel, {"type": "info", **asdict(info)})
            for clip in clips:
                _send_clip(channel, clip)
        except VideoError as error:
            answer = {"type": "error", "kind": error.kind.value, "message": error.message, "stage": error.stage}
        except BrokenPipeError:
            raise
        except MemoryError:
            answer = _error(FailureKind.LIMIT_EXCEEDED, f"decoding needs more than {limits.memory_bytes} bytes")
        except OSError as error:
            answer = _error(FailureKind.STORAGE_ERROR, f"reading failed: {error}")
        except Exception as error:  # noqa: BLE001 - this is the border: whatever a file provokes becomes one row
            answer = _error(FailureKind.INTERNAL_ERROR, f"{type(error).__name__}: {error}")
        else:
            answer = {"type": "end"}
    send_message(channel, answer)


def _error(kind: FailureKind, message: str) -> dict[str, Any]:
    return {"type": "error", "kind": kind.value, "message": message, "stage": "decode"}


def _send_clip(channel: socket.socket, clip: Clip) -> None:
    header = {
        "type": "clip",
        "index": clip.index,
        "start_s": clip.start_s,
        "end_s": clip.end_s,
        "frame_times_s": clip.frame_times_s,
        "covered_s": clip.covered_s,
        "num_substituted": clip.num_substituted,
    }
    frames, flow, valid = clip.frames_THWC.data, clip.flow_q_THWC.data, clip.flow_valid_T.data
    send_message(channel, header, frames.cast("B"), flow.cast("B"), valid.cast("B"))


def _restrain(limits: DecodeLimits) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_OPEN_FILES, MAX_OPEN_FILES))
    _limit_processor_time(limits.total_wall_time_s)


def _limit_processor_time(seconds: float) -> None:
    """Let the kernel end this process should it compute on after its parent gave up on it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    end = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (end if hard == resource.RLIM_INFINITY else min(end, hard), hard))


def _exit_with_parent(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP | select.POLLHUP)
    poll.poll()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
