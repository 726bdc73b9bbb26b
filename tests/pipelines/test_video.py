from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from fal_model.errors import FailureKind, VideoError
from pipelines.frame_stream import FrameStream
from pipelines.limits import DecodeLimits
from pipelines.video import VideoSource, _refuse_to_open
from pipelines.video_writer import write_video
from tests.helpers.video import numbered_frame, numbered_frames, numbered_video, read_number

LIMITS = DecodeLimits()


def open_error(data: bytes | Path, limits: DecodeLimits = LIMITS) -> VideoError:
    with pytest.raises(VideoError) as caught:
        VideoSource(io.BytesIO(data if isinstance(data, bytes) else data.read_bytes()), limits)
    return caught.value


def test_a_range_of_packets_gives_its_frames_upright(tmp_path: Path) -> None:
    source = VideoSource(io.BytesIO(numbered_video(tmp_path / "a.mp4", 20, codec="mpeg4").read_bytes()), LIMITS)
    pictures = [source.picture(decoded, 60) for decoded in FrameStream(source, 10).frames(13, None)]
    assert [read_number(picture) for picture in pictures if picture is not None] == [10, 11, 12, 13]
    assert source.size_px == (64, 96)
    source.close()


def test_colours_come_out_as_they_went_in(tmp_path: Path) -> None:
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128)]
    frames = [np.full((32, 32, 3), colour, np.uint8) for colour in colours]
    for pix_fmt in ("yuv420p", "yuv444p", "yuv420p10le"):
        path = tmp_path / f"{pix_fmt}.mp4"
        write_video(path, frames, fps=10, options={"crf": "5", "pix_fmt": pix_fmt})
        source = VideoSource(io.BytesIO(path.read_bytes()), LIMITS)
        for decoded, colour in zip(FrameStream(source, 0).frames(3, None), colours, strict=True):
            picture_HWC = source.picture(decoded, 16)
            assert picture_HWC is not None
            assert np.abs(picture_HWC.astype(int) - colour).max() <= 6
        source.close()


def test_too_many_pixels_are_refused_before_they_are_made(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 2)
    error = open_error(path, DecodeLimits(max_pixels_per_frame=96 * 64 - 1))
    assert error.kind is FailureKind.LIMIT_EXCEEDED
    assert "96 x 64 pixels, at most 6143 are allowed" in error.message


def test_too_many_packets_are_refused(tmp_path: Path) -> None:
    error = open_error(numbered_video(tmp_path / "a.mp4", 9), DecodeLimits(max_frames=8))
    assert error.kind is FailureKind.LIMIT_EXCEEDED
    assert error.message == "more than 8 packets in the video stream"


def test_too_many_streams_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mpeg4", rate=10, width=96, height=64) for _ in range(3)]
        for stream in streams:
            assert isinstance(stream, av.VideoStream)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(1), format="rgb24")))
            container.mux(stream.encode(None))
    VideoSource(io.BytesIO(path.read_bytes()), DecodeLimits(max_streams=3)).close()
    error = open_error(path, DecodeLimits(max_streams=2))
    assert error.kind is FailureKind.LIMIT_EXCEEDED
    assert error.message == "more than 2 streams"


def audio_file(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac" if path.suffix == ".mp4" else "pcm_s16le", rate=8000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    error = open_error(audio_file(tmp_path / "a.mp4"))
    assert error.kind is FailureKind.NO_VIDEO_STREAM
    assert error.message == "no video stream; streams: audio"


def test_a_container_that_is_not_on_the_list_is_refused(tmp_path: Path) -> None:
    error = open_error(audio_file(tmp_path / "a.wav"))
    assert error.kind is FailureKind.UNSUPPORTED_FORMAT
    assert "not an allowed container" in error.message


def test_a_codec_that_is_not_on_the_list_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "a.avi", numbered_frames(2), fps=10, codec="zmbv", options={"pix_fmt": "bgr0"})
    error = open_error(tmp_path / "a.avi")
    assert error.kind is FailureKind.UNSUPPORTED_CODEC
    assert error.message == "no allowed decoder for the stream (zmbv)"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (bytes(range(128, 256)) * 20, FailureKind.NOT_A_VIDEO),
        (b"\x00\x00\x00\x20ftypisom" + bytes(200), FailureKind.CORRUPT),
        (b"\x1aE\xdf\xa3" + bytes(range(256)), FailureKind.CORRUPT),
    ],
)
def test_what_cannot_be_read_is_told_apart(data: bytes, kind: FailureKind) -> None:
    assert open_error(data).kind is kind


class _Broken(io.BytesIO):
    """Reading beyond a place fails, as on a bad disk."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= 4096:
            raise OSError(5, "Input/output error")
        return super().read(min(size or 0, 4096))


def test_a_read_error_is_not_taken_for_the_end_of_the_file(tmp_path: Path) -> None:
    data = numbered_video(tmp_path / "a.mkv", 200).read_bytes()
    assert len(data) > 8192
    with pytest.raises(VideoError, match=r"storage_error: reading failed: .*Input/output error"):
        VideoSource(_Broken(data), LIMITS)


def test_a_packet_that_no_memory_could_hold_is_over_the_limit(tmp_path: Path) -> None:
    data = bytearray(numbered_video(tmp_path / "a.ivf", 5, codec="libvpx").read_bytes())
    (first_bytes,) = struct.unpack_from("<I", data, 32)
    struct.pack_into("<I", data, 32 + 12 + first_bytes, 2**32 - 1)  # so the second frame says of itself
    error = open_error(bytes(data))
    assert (error.kind, error.message) == (FailureKind.LIMIT_EXCEEDED, "reading needs more memory than allowed")


def test_ffmpeg_is_refused_every_other_file() -> None:
    with pytest.raises(
        VideoError, match="unsupported_format: the file refers to 'http://x/y'; references are not followed"
    ):
        _refuse_to_open("http://x/y", 1, {})
