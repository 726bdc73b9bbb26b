"""What PyAV says of an opened stream beside its packets: colours, other streams, and which way up pictures are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from av import VideoFrame
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.video.codeccontext import VideoCodecContext

from pipelines import pixels
from pipelines.tone import HLG, PQ

USUAL_BITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """What a container and its decoder state; colours are sure once a picture was made.

    Attributes:
        pixel_format: FFmpeg's name of the decoder's pixels, such as ``yuv420p10le``; empty while unknown.
        bit_depth: Bits of the first component of a pixel; 8 while unknown.
        is_hdr: Whether the transfer curve is PQ or HLG.
        num_streams: Streams in the container, of any kind.
        has_audio: Whether one of them is sound.
    """

    pixel_format: str
    bit_depth: int
    is_hdr: bool
    num_streams: int
    has_audio: bool


def stream_facts(container: InputContainer, context: VideoCodecContext) -> StreamFacts:
    """Read what an opened container and the decoder of its video stream state."""
    pixel_format = context.format
    types = [stream.type for stream in container.streams]
    return StreamFacts(
        pixel_format=pixel_format.name if pixel_format else "",
        bit_depth=pixel_format.components[0].bits if pixel_format and pixel_format.components else USUAL_BITS,
        is_hdr=int(context.color_trc or 0) in {PQ, HLG},
        num_streams=len(types),
        has_audio="audio" in types,
    )


def turn_of(frame: VideoFrame) -> tuple[int, bool]:
    """Read the display matrix: clockwise quarter turns, and whether to mirror before them."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV knows not every kind of side data and then gives none at all, except the rotation
        return round(-frame.rotation / 90) % 4, False
    if not isinstance(data, SideData):
        return 0, False
    return pixels.turn_of_matrix([float(value) for value in np.frombuffer(bytes(data), np.int32)])
