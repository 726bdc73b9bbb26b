"""What containers and decoders state."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from av import VideoStream

from pipelines.limits import DecodeLimits
from pipelines.pictures import PictureReader
from pipelines.stream_facts import StreamFacts, stream_facts, turn_of
from pipelines.video_writer import write_video
from tests.helpers.video import numbered_frames, numbered_video

PLAIN = StreamFacts(pixel_format="yuv420p", bit_depth=8, is_hdr=False, num_streams=1, has_audio=False)


def facts_of(path: Path) -> StreamFacts:
    """Read what is stated, after a picture was made."""
    with path.open("rb") as file:
        reader = PictureReader(file, DecodeLimits())
        try:
            reader.pictures([0], 16)
            return reader.video.facts
        finally:
            reader.close()


@pytest.mark.parametrize(("pix_fmt", "bits"), [("yuv420p", 8), ("yuv422p", 8), ("yuv420p10le", 10), ("yuv444p", 8)])
def test_pixels_have_a_name_and_a_depth(tmp_path: Path, pix_fmt: str, bits: int) -> None:
    write_video(tmp_path / "v.mkv", numbered_frames(3), fps=5, options={"pix_fmt": pix_fmt})
    found = facts_of(tmp_path / "v.mkv")
    assert (found.pixel_format, found.bit_depth, found.is_hdr) == (pix_fmt, bits, False)


@pytest.mark.parametrize(("transfer", "is_hdr"), [("smpte2084", True), ("arib-std-b67", True), ("bt709", False)])
def test_the_transfer_curve_tells_high_dynamic_range(tmp_path: Path, transfer: str, is_hdr: bool) -> None:
    options = {"x264-params": f"transfer={transfer}", "pix_fmt": "yuv420p10le"}
    write_video(tmp_path / "v.mp4", numbered_frames(3), fps=5, options=options)
    assert facts_of(tmp_path / "v.mp4").is_hdr is is_hdr


def test_sound_is_noticed(tmp_path: Path) -> None:
    assert facts_of(numbered_video(tmp_path / "v.mp4", 3)) == PLAIN
    with av.open(str(tmp_path / "s.mkv"), "w") as container:
        video = container.add_stream("mpeg4", rate=5)
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=8000)
        for number, picture in enumerate(numbered_frames(3)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        assert sound.type == "audio"
    found = facts_of(tmp_path / "s.mkv")
    assert (found.num_streams, found.has_audio) == (2, True)


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
def test_the_turn_is_read_from_the_display_matrix(tmp_path: Path, rotation_deg: int) -> None:
    path = numbered_video(tmp_path / "v.mp4", 2, rotation_deg=rotation_deg)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert turn_of(frame) == (rotation_deg // 90, False)


def test_what_is_not_known_is_as_usual(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "v.mp4", 2)
    context = av.codec.CodecContext.create("h264", "r")
    assert isinstance(context, av.VideoCodecContext)
    with av.open(str(path)) as container:
        assert stream_facts(container, context) == StreamFacts(
            pixel_format="", bit_depth=8, is_hdr=False, num_streams=1, has_audio=False
        )
