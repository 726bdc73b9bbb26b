"""One video at a time through the same steps as a corpus: open, hash, decode in a child process, predict, gather.

Knows neither HTTP nor Ray: where a clip is predicted is the caller's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Protocol, TypeVar

import numpy as np

from fal_model.errors import FailureKind, VideoError
from fal_model.spec import ClipSpec
from pipelines import storage
from pipelines.clip_batches import ClipArrays, ClipOutputs
from pipelines.clips import Clip, VideoInfo
from pipelines.isolation import IsolatedPreparer
from pipelines.labels import VideoPredictions
from pipelines.limits import DecodeLimits

MAX_CLIPS_IN_FLIGHT = 16
"""Clips of one video that wait for the model at once: a long video is never whole in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """A video that was understood; what is missing for its row are thresholds."""

    sha256: str
    predictions: VideoPredictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A video that cannot be labelled. A value, not an exception: it travels between processes as it is."""

    kind: str
    message: str


Source = BinaryIO | str
"""An open file with a descriptor, or an address for ``storage.open_video``."""

_A = TypeVar("_A")
_R = TypeVar("_R")
Predict = Callable[[ClipArrays], Awaitable[ClipOutputs]]


class Backend(Protocol):
    """What analyses videos for the HTTP layer."""

    async def analyse(self, source: Source) -> Analysis | Refusal:
        """Analyse one video; a file is left open.

        Raises:
            OverloadedError: no place is free.
        """

    async def is_ready(self) -> bool:
        """Tell whether a video sent now would be analysed."""


class VideoAnalyser:
    """Analyse videos with one decoder process. Several calls may overlap; decoding takes turns.

    Args:
        spec: Input contract of the model.
        limits: What a video may cost.
        predict: Runs the model on clips, somewhere.
    """

    def __init__(self, spec: ClipSpec, limits: DecodeLimits, predict: Predict) -> None:
        self._spec = spec
        self._limits = limits
        self._predict = predict
        self._decoder = IsolatedPreparer(spec, limits)
        self._turn = asyncio.Lock()

    def close(self) -> None:
        """End the decoder process."""
        self._decoder.close()

    async def analyse(self, source: Source) -> Analysis | Refusal:
        """Analyse one video; when cancelled, its decoder is killed."""
        try:
            if not isinstance(source, str):
                return await self._analyse_file(source)
            with await asyncio.to_thread(storage.open_video, source, self._limits.max_bytes) as file:
                return await self._analyse_file(file)
        except VideoError as error:
            return Refusal(kind=error.kind.value, message=error.message)

    async def _analyse_file(self, file: BinaryIO) -> Analysis:
        sha256 = await asyncio.to_thread(storage.sha256_of, file)
        clips: list[_ClipFacts] = []
        tasks: list[asyncio.Task[ClipOutputs]] = []
        slots = asyncio.Semaphore(MAX_CLIPS_IN_FLIGHT)
        try:
            async with self._turn:
                info, rest = await self._decode(self._decoder.prepare, file)
                while (clip := await self._decode(_next, rest)) is not None:
                    await slots.acquire()
                    clips.append(_ClipFacts(clip.start_s, clip.end_s, clip.covered_s, clip.frame_times_s))
                    tasks.append(asyncio.create_task(self._predict_one(clip, slots)))
            outputs = await asyncio.gather(*tasks)
            if not all(out.are_numbers().all() for out in outputs):
                raise VideoError(FailureKind.INTERNAL_ERROR, "the model gives values that are no numbers", "predict")
        finally:
            for task in tasks:
                task.cancel()
        if not clips:
            raise VideoError(FailureKind.NO_FRAMES, "no frame could be decoded")
        return Analysis(sha256=sha256, predictions=_gathered(info, clips, outputs))

    async def _predict_one(self, clip: Clip, slots: asyncio.Semaphore) -> ClipOutputs:
        try:
            return await self._predict(ClipArrays.from_clips([clip], self._spec))
        finally:
            slots.release()

    async def _decode(self, step: Callable[[_A], _R], arg: _A) -> _R:
        """Run a step of the decoder in a thread. When cancelled, kill the child, which ends the step."""
        running = asyncio.ensure_future(asyncio.to_thread(step, arg))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._decoder.close()
            with suppress(VideoError, OSError, RuntimeError):
                await running
            raise


@dataclass(frozen=True, slots=True)
class _ClipFacts:
    start_s: float
    end_s: float
    covered_s: float
    frame_times_s: tuple[float, ...]


def _next(clips: Iterator[Clip]) -> Clip | None:
    return next(clips, None)


def _gathered(info: VideoInfo, clips: list[_ClipFacts], outputs: list[ClipOutputs]) -> VideoPredictions:
    return VideoPredictions(
        logits_NK=np.concatenate([out.logits_BK for out in outputs]),
        frame_logits_NTK=np.concatenate([out.frame_logits_BTK for out in outputs]),
        offsets_NTL2=np.concatenate([out.offsets_BTL2 for out in outputs]),
        embedding_ND=np.concatenate([out.embedding_BD for out in outputs]),
        windows_s=[(clip.start_s, clip.end_s) for clip in clips],
        frame_times_s=[clip.frame_times_s for clip in clips],
        covered_s=sum(clip.covered_s for clip in clips),
        duration_s=info.duration_s,
    )
