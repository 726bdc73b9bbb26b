"""A tiny model, a small video, and what answers requests in this process instead of in Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fal_model.model import FALModel
from jobs.runtime.analyse import Analysis, Refusal, Source, VideoAnalyser
from pipelines.clip_batches import ClipArrays, ClipOutputs
from pipelines.limits import DecodeLimits
from pipelines.predict import ClipPredictor
from pipelines.video_writer import write_video
from tests.helpers.micro import numbered_taxonomy
from tests.helpers.model import MICRO

FPS = 10
TINY = replace(MICRO, patch_px=8, pyramid_width=16, embedding_dim=16)


def write_tiny_model(folder: Path) -> None:
    """Save an untrained model whose scores differ from class to class."""
    torch.manual_seed(0)
    model = FALModel(TINY, numbered_taxonomy(12, 3))
    with torch.no_grad():
        for classes in (model.heads.clip_classes, model.heads.frame_classes):
            classes.weight.mul_(100)
            classes.bias.zero_()
    model.save_pretrained(folder)


def write_small_video(path: Path, duration_s: float) -> None:
    """Write a square that moves to the right."""
    write_video(path, _square(round(duration_s * FPS)), fps=FPS, options={"preset": "ultrafast"})


def _square(num_frames: int) -> Iterator[npt.NDArray[np.uint8]]:
    for i in range(num_frames):
        picture = np.full((48, 64, 3), 40, np.uint8)
        picture[16:32, (2 * i) % 48 : (2 * i) % 48 + 16] = (200, 120, 60)
        yield picture


class LocalBackend:
    """The decoder child process and the model, without Ray between them."""

    def __init__(self, predictor: ClipPredictor, limits: DecodeLimits) -> None:
        self._predictor = predictor
        self.analyser = VideoAnalyser(predictor.model.config.clip, limits, self._predict)
        self.ready = True

    async def _predict(self, clips: ClipArrays) -> ClipOutputs:
        return await asyncio.to_thread(self._predictor.predict, clips)

    async def analyse(self, source: Source) -> Analysis | Refusal:
        return await self.analyser.analyse(source)

    async def is_ready(self) -> bool:
        return self.ready


@dataclass(slots=True)
class StubBackend:
    """Answer what the test says: a result, or an error; after ``gate`` if there is one."""

    answer: Analysis | Refusal | Exception
    gate: asyncio.Event | None = None
    source: Source | None = None
    seen: asyncio.Event = field(default_factory=asyncio.Event)

    async def analyse(self, source: Source) -> Analysis | Refusal:
        self.source = source
        self.seen.set()
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def is_ready(self) -> bool:
        return False
