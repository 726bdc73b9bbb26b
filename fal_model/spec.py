"""What goes into the model: the clip specification. Standard library only, shared by every layer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Annotated, Any

from fal_model.errors import ConfigError
from fal_model.ranges import Range, range_problems

PREPROCESSING_VERSION = 2
"""Raised whenever the same file and the same specification give other frames or flow than before."""


class Sampling(StrEnum):
    """How the frames of a window are chosen, one per stratum; none is planned to cost more decoding than ``UNIFORM``.

    Attributes:
        KEY_MOMENTS: The cheapest frame of each stratum, but where the packet sizes tell most of something happening
            the frame that looks newest.
        KEYFRAMES: The cheapest frame of each stratum: the fastest by far where keyframes are seconds apart, and as
            blind to short events as ``UNIFORM``.
        THOROUGH: As ``KEY_MOMENTS``, with all that ``UNIFORM`` would cost spent on looking.
        UNIFORM: The middle of each stratum.
    """

    KEY_MOMENTS = "key_moments"
    KEYFRAMES = "keyframes"
    THOROUGH = "thorough"
    UNIFORM = "uniform"


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipSpec:
    """The input contract of a model: how a window of video becomes frames and flow.

    It is stored in the model directory and in every shard; labelling and serving take it from there, never from
    a config file, so that training and serving cannot drift.

    Attributes:
        num_frames: Frames per clip, one per equal stratum of the window.
        size_px: Height and width of the frames; the whole picture is stretched to it, nothing is cropped away.
        flow_size_px: Height and width of the flow grid.
        flow_step_s: Time step of the flow, seconds; flow is in frame pixels (of ``size_px``) per this step.
        window_s: Longest window of one clip, seconds; a longer video is cut into equal windows.
        sampling: How frames are chosen within their strata.
        window_overlap: Share of a window that it has in common with the next one.
    """

    num_frames: Annotated[int, Range(ge=1, le=256)] = 8
    size_px: Annotated[int, Range(ge=16, le=1024)] = 224
    flow_size_px: Annotated[int, Range(ge=4, le=512)] = 56
    flow_step_s: Annotated[float, Range(gt=0, le=1)] = 1 / 15
    window_s: Annotated[float, Range(ge=0.1, le=600)] = 10.0
    sampling: Sampling = Sampling.KEY_MOMENTS
    window_overlap: Annotated[float, Range(ge=0, le=0.75)] = 0.0

    def __post_init__(self) -> None:
        problems = range_problems(self)
        if not problems and self.flow_size_px > self.size_px:
            problems.append(f"flow_size_px: got {self.flow_size_px}, must be at most size_px ({self.size_px})")
        if problems:
            raise ConfigError([f"clip.{p}" for p in problems])

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the inverse of :meth:`from_dict`."""
        return asdict(self) | {"sampling": self.sampling.value}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ClipSpec:
        """Read what :meth:`to_dict` wrote.

        Raises:
            ConfigError: an unknown or missing field, or a value out of range.
        """
        known = {f.name for f in fields(cls)}
        problems = [f"clip.{k}: unknown field" for k in sorted(set(data) - known)]
        problems += [f"clip.{k}: missing" for k in sorted(known - set(data))]
        if data.get("sampling", "uniform") not in list(Sampling):
            problems.append(f"clip.sampling: got {data['sampling']!r}, must be one of {[s.value for s in Sampling]}")
        if problems:
            raise ConfigError(problems)
        return cls(**(data | {"sampling": Sampling(data["sampling"])}))

    @property
    def pipeline_id(self) -> str:
        """Content hash of the specification and of the preprocessing version, 16 hex digits."""
        return content_id({"clip": self.to_dict(), "preprocessing_version": PREPROCESSING_VERSION})


def content_id(data: object) -> str:
    """Hash plain data by its canonical JSON: the same content gives the same 16 hex digits anywhere."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
