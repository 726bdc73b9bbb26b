"""A decoding process that breaks in the way a file asks for; started in place of ``pipelines.decode_worker``.

Everything else is the real thing: the same start, the same restraints, the same answers to other files.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import resource
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fal_model.errors import FailureKind, VideoError
from pipelines import decode_worker, pixels
from pipelines.clip_ring import places
from pipelines.clips import Clip, VideoInfo, prepare_clips
from pipelines.decode_worker import DescriptorFile, send_message
from pipelines.scan import scan_video
from tests.helpers.messages import CLIP, COUNT, FACTS, INFO

MAGIC = b"FAULT "
MODULE = "tests.helpers.faulty_worker"
LONG_INFO: dict[str, Any] = {**INFO, "duration_s": 8e6, "num_frames": 500_000, "num_clips": 4_000_000}
"""Facts about a video that goes on for months."""
SHORT_INFO = VideoInfo(**{name: value for name, value in INFO.items() if name != "type"} | {"num_clips": 3})


def fault_file(path: Path, fault: str) -> Path:
    """Write a file that makes the process break."""
    path.write_bytes(MAGIC + fault.encode())
    return path


class _FaultyServer(decode_worker._Server):
    num_answered = 0

    def _answer(self, raw: DescriptorFile, windows: range) -> dict[str, Any]:
        self.num_answered += 1
        head = raw.read(100) or b""
        raw.seek(0)
        if not head.startswith(MAGIC):
            return super()._answer(raw, windows)
        fault = head.removeprefix(MAGIC).decode()
        try:
            for name in ("prepare_clips", "scan_video"):
                setattr(decode_worker, name, lambda *_, **__: getattr(self, fault)())
            return super()._answer(raw, windows)
        finally:
            setattr(decode_worker, "prepare_clips", prepare_clips)  # noqa: B010 - mypy: not exported
            setattr(decode_worker, "scan_video", scan_video)  # noqa: B010 - same

    def segfault(self) -> None:
        ctypes.string_at(0)

    def abort(self) -> None:
        os.abort()

    def loop(self) -> None:
        while True:
            pass

    def deaf_loop(self) -> None:
        """Compute in C without ever giving the interpreter back, deaf to every signal that can be ignored."""
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        sum(itertools.repeat(0))

    def loop_without_lifeline(self) -> None:
        """Try to outlive the parent: no limit on time, and no pipe to it."""
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))
        with suppress(PermissionError):
            os.close(json.loads(sys.argv[1])["lifeline"])
        self.deaf_loop()

    def sleep(self) -> None:
        self._channel.recv(1)

    def bomb(self) -> None:
        blocks = []
        while True:
            blocks.append(b"\1" * 2**24)

    def bomb_of_small_things(self) -> None:
        things: list[tuple[int, float]] = []
        things.extend((number, number + 0.5) for number in itertools.count())

    def bomb_in_opencv(self) -> None:
        pixels.resize(np.zeros((2, 2, 3), np.uint8), 2**15, 2**15)

    def mistake(self) -> None:
        raise ZeroDivisionError("by nought")

    def bad_disk(self) -> None:
        raise OSError(5, "Input/output error")

    def endless_facts(self) -> None:
        while True:
            send_message(self._channel, LONG_INFO)

    def endless_counts(self) -> None:
        """Send a good answer to a deep scan that never ends."""
        self._say_counts(itertools.repeat(COUNT))

    def falling_counts(self) -> None:
        self._say_counts([COUNT, {**COUNT, "num_decoded": 24}])

    def _say_counts(self, counts: Iterable[dict[str, Any]]) -> None:
        send_message(self._channel, FACTS)
        self._say_clip(0)
        for count in counts:
            send_message(self._channel, count)
        self.sleep()

    def endless_noise(self) -> None:
        while True:
            self._channel.send(bytes(100_000))

    def endless_clips(self) -> None:
        """Send good clips as fast as they are taken."""
        send_message(self._channel, LONG_INFO)
        for index in range(LONG_INFO["num_clips"]):
            self._wait_for_taken(index - 1)
            self._say_clip(index)

    def no_clips(self) -> tuple[VideoInfo, Iterator[Clip]]:
        """Promise clips and give none."""
        return SHORT_INFO, iter(())

    def fickle(self) -> tuple[VideoInfo, Iterator[Clip]]:
        """Give three clips and die; a process that has done nothing else gives one and is well."""
        return SHORT_INFO, self._fickle_clips()

    def _fickle_clips(self) -> Iterator[Clip]:
        is_fresh = self.num_answered == 1
        for index in range(1 if is_fresh else 3):
            yield self._blank_clip(index)
        if not is_fresh:
            self._wait_for_taken(3)
            os._exit(3)

    def _blank_clip(self, index: int) -> Clip:
        arrays = {place.name: np.zeros(place.shape, place.dtype) for place in places(self._spec)}
        start_s = float(index)
        times_s = (start_s,) * self._spec.num_frames
        facts = {"index": index, "start_s": start_s, "end_s": start_s + 1, "frame_times_s": times_s}
        checked: dict[str, Any] = {**facts, **arrays, "covered_s": 1.0, "num_substituted": 0}
        return Clip(**checked)

    def clips_unread(self) -> None:
        """Send good clips and never read that they were taken."""
        send_message(self._channel, LONG_INFO)
        for index in range(LONG_INFO["num_clips"]):
            self._say_clip(index)

    def _say_clip(self, index: int) -> None:
        times_s = [2.0] * self._spec.num_frames
        send_message(self._channel, {**CLIP, "index": index, "frame_times_s": times_s})

    def deep_json(self) -> None:
        self._channel.send(b"[" * 60_000)
        self.sleep()

    def silent_exit(self) -> None:
        os._exit(3)

    def environment(self) -> None:
        raise VideoError(FailureKind.CORRUPT, " ".join(sorted(os.environ)))


if __name__ == "__main__":
    decode_worker._Server = _FaultyServer  # type: ignore[misc] # the fault goes in where the real thing would be
    sys.exit(decode_worker.main(sys.argv[1:]))
