"""Files made to harm: references to other files and addresses, floods of streams and pixels, damage of every kind."""

from __future__ import annotations

import io
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any

import av
import pytest

from bench.hostile_seeds import seeds
from fal_model.errors import FailureKind, VideoError
from fal_model.spec import ClipSpec
from pipelines.clips import prepare_clips
from pipelines.frame_stream import FrameStream
from pipelines.limits import DecodeLimits
from pipelines.listing import list_files
from pipelines.prepare import BatchPreparer
from pipelines.video import VideoSource
from pipelines.video_writer import write_video
from tests.helpers import hostile
from tests.helpers.hostile import Listener
from tests.helpers.video import numbered_frames, numbered_video

SPEC = ClipSpec(num_frames=4, size_px=32, flow_size_px=8, flow_step_s=0.1, window_s=2.0)
LIMITS = DecodeLimits()
OK = "ok"


@pytest.fixture
def listener() -> Iterator[Listener]:
    with hostile.listening() as made:
        yield made


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"marker {secrets.token_hex(16)}\n")
    return path


def attacks(folder: Path, target: str) -> dict[str, tuple[bytes, str]]:
    """Give every kind of reference to the target with what must become of it."""
    avi = numbered_video(folder / "plain.avi", 10, codec="mpeg4").read_bytes()
    mov = numbered_video(folder / "plain.mov", 10).read_bytes()
    mkv = numbered_video(folder / "plain.mkv", 10).read_bytes()
    hls = hostile.playlists(target)["hls"]
    made = {name: (data, "unsupported_format") for name, data in hostile.playlists(target).items()}
    made |= {name: (data, "not_a_video") for name, data in hostile.lists_in_plain_text(target).items()}
    return made | {
        "hls-in-wide-letters": (hls.decode().encode("utf-16"), "unsupported_format"),
        "hls-after-id3": (b"ID3\4\0\0\0\0\0\0" + hls, "not_a_video"),
        "avi-with-hls-as-subtitles": (hostile.avi_with_subtitles(avi, hls), OK),
        "avi-with-concat-as-subtitles": (hostile.avi_with_subtitles(avi, hostile.playlists(target)["ffconcat"]), OK),
        "mov-alias": (hostile.movie_with_reference(mov, hostile.alias(folder / "plain.mov")), "no_frames"),
        "mov-address": (hostile.movie_with_reference(mov, hostile.address(target)), "corrupt"),
        "mov-reference-movie": (hostile.reference_movie(target), "no_video_stream"),
        "mkv-linked-segments": (hostile.linked_matroska(mkv, target), OK),
        "mkv-web-subtitles": (hostile.matroska_with_subtitles(mkv, f"STYLE\n@import url({target});".encode()), OK),
        "aaf": (bytes.fromhex("d0cf11e0a1b11ae1") + target.encode(), "not_a_video"),
    }


def targets(secret: Path, listener: Listener) -> list[str]:
    return [str(secret), f"file://{secret}", "/etc/passwd", listener.url, f"tcp://127.0.0.1:{listener.port}"]


def outcome(data: bytes | io.BytesIO, limits: DecodeLimits = LIMITS) -> tuple[str, str]:
    try:
        list(prepare_clips(io.BytesIO(data) if isinstance(data, bytes) else data, SPEC, limits)[1])
    except VideoError as error:
        return error.kind.value, error.message
    return OK, ""


def test_nothing_a_file_refers_to_is_read_or_reached(tmp_path: Path, secret: Path, listener: Listener) -> None:
    marker = secret.read_text().split()[1]
    for target in targets(secret, listener):
        for name, (data, expected) in attacks(tmp_path, target).items():
            kind, message = outcome(data)
            assert (name, kind) == (name, expected)
            assert marker not in message
            assert "root:" not in message
    assert listener.visits == []


def test_labelling_a_folder_of_references_reads_and_reaches_nothing(
    tmp_path: Path, secret: Path, listener: Listener
) -> None:
    marker, folder = secret.read_text().split()[1], tmp_path / "corpus"
    folder.mkdir()
    expected: dict[str, str] = {}
    for number, target in enumerate((str(secret), listener.url)):
        for index, (name, (data, kind)) in enumerate(attacks(tmp_path, target).items()):
            file = f"{name}-{number}.{('mp4', 'avi', 'ts', 'm3u8')[index % 4]}"
            (folder / file).write_bytes(data)
            expected[file] = kind
    rows = [{"video_id": file.name, "uri": file.uri} for file in list_files(str(folder)).files]
    found: dict[str, str] = {}
    with BatchPreparer(SPEC, LIMITS, batch_clips=8) as preparer:
        for meta, _, _ in preparer.batches(rows):
            found |= {v.video_id: OK for v in meta.videos} | {f.video_id: f.kind for f in meta.failures}
            assert not [f for f in meta.failures if marker in f.message or "root:" in f.message]
    assert found == expected
    assert listener.visits == []


def test_the_listener_and_the_references_are_real(tmp_path: Path, listener: Listener) -> None:
    # Without our options FFmpeg follows them: the tests above can fail.
    playlist = tmp_path / "a.m3u8"
    playlist.write_bytes(hostile.playlists(listener.url)["hls"])
    with pytest.raises(av.FFmpegError):
        av.open(str(playlist), options={"protocol_whitelist": "file,http,tcp"})
    assert [visit[:10] for visit in listener.visits] == [b"GET /a.ts "]
    reference, original = tmp_path / "reference.mov", numbered_video(tmp_path / "a.mov", 10)
    reference.write_bytes(hostile.movie_with_reference(original.read_bytes(), hostile.alias(original)))
    with av.open(str(reference), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert len(list(container.decode(video=0))) == 10
    avi = numbered_video(tmp_path / "a.avi", 3, codec="mpeg4").read_bytes()
    with av.open(io.BytesIO(hostile.avi_with_subtitles(avi, playlist.read_bytes()))) as container:
        assert [stream.type for stream in container.streams] == ["video", "subtitle"]


class _Changing(io.BytesIO):
    """A file that is written anew after the first look at it."""

    has_changed = False

    def read(self, size: int | None = -1, /) -> bytes:
        if self.has_changed:
            return super().read(size)
        self.has_changed = True
        return b"\1nothing suspicious"


def test_what_the_first_look_would_miss_ffmpeg_is_not_allowed_to_follow(
    tmp_path: Path, secret: Path, listener: Listener
) -> None:
    for target in targets(secret, listener):
        for name, (data, expected) in attacks(tmp_path, target).items():
            kind, _ = outcome(_Changing(data))
            allowed = {"unsupported_format", "not_a_video"}
            assert kind in ({expected} if expected not in allowed else allowed), name
    assert listener.visits == []


@pytest.mark.parametrize("name", ["frame%03d.mp4", "concat:a.mp4|b.mp4", "http:.mp4", "subfile,,start,0,end,9,,:a.mp4"])
def test_a_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(numbered_video(tmp_path / "plain.mp4", 10).read_bytes())
    numbered_video(tmp_path / "frame001.mp4", 3)
    with BatchPreparer(SPEC, LIMITS, batch_clips=8) as preparer:
        ((meta, _, _),) = preparer.batches([{"video_id": "a", "uri": str(path)}])
    assert [v.duration_s for v in meta.videos] == [1.0]


def two_streams(folder: Path) -> bytes:
    path = folder / "two.mp4"
    with av.open(str(path), "w") as container:
        for stream in [container.add_stream("mpeg4", rate=10, width=96, height=64) for _ in range(2)]:
            assert isinstance(stream, av.VideoStream)
            for picture in numbered_frames(10):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize(
    ("limit", "most", "says"),
    [
        ("max_bytes", None, "bytes, at most"),
        ("max_pixels_per_frame", 96 * 64, "96 x 64 pixels, at most 6143 are allowed"),
        ("max_duration_s", 1.0, r"1 s by its time stamps, at most 0\.5 s are allowed"),
        ("max_frames", 10, "more than 9 packets in the video stream"),
        ("max_streams", 2, "more than 1 streams"),
    ],
)
def test_each_limit_refuses_a_real_file_before_a_picture_is_made(
    tmp_path: Path, limit: str, most: float | None, says: str
) -> None:
    data, decoding = two_streams(tmp_path), {VideoSource.decode.__code__, VideoSource.picture.__code__}
    most = len(data) if most is None else most
    with called() as functions:
        assert outcome(data, DecodeLimits.from_dict({limit: most})) == (OK, "")
    assert decoding <= functions
    less = most / 2 if isinstance(most, float) else most - 1
    with called() as functions, pytest.raises(VideoError, match=says) as caught:
        prepare_clips(io.BytesIO(data), SPEC, DecodeLimits.from_dict({limit: less}))
    assert caught.value.kind is FailureKind.LIMIT_EXCEEDED
    assert VideoSource.__init__.__code__ in functions
    assert not decoding & functions


@contextmanager
def called() -> Iterator[set[CodeType]]:
    """Note the functions that are called in the block."""
    functions: set[CodeType] = set()
    before = sys.getprofile()
    sys.setprofile(lambda frame, *_: functions.add(frame.f_code))
    try:
        yield functions
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [
        ("mp4", "mpeg4", "yuv420p"),
        ("mp4", "libx264", "yuv420p"),
        ("webm", "libvpx-vp9", "yuv420p"),
        ("mkv", "ffv1", "yuv420p"),
        ("avi", "mjpeg", "yuvj420p"),
        ("ts", "mpeg2video", "yuv420p"),
        ("gif", "gif", "rgb8"),
    ],
)
def test_too_many_pixels_are_told_whatever_the_codec(tmp_path: Path, suffix: str, codec: str, pix_fmt: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write_video(path, numbered_frames(10), fps=25, codec=codec, options={"pix_fmt": pix_fmt})
    for most, expected in ((96 * 64, OK), (96 * 64 - 1, "limit_exceeded"), (100, "limit_exceeded")):
        assert outcome(path.read_bytes(), DecodeLimits(max_pixels_per_frame=most))[0] == expected


def growing_h264(folder: Path) -> bytes:
    """Give a stream whose second half announces a picture 256 times as large."""
    small, large = folder / "small.h264", folder / "large.h264"
    write_video(small, numbered_frames(10), fps=10)
    write_video(large, numbered_frames(10, 1024, 1536), fps=10)
    return small.read_bytes() + large.read_bytes()


def growing_vp9(folder: Path) -> bytes:
    small, large, path = folder / "small.webm", folder / "large.webm", folder / "growing.mkv"
    options = {"deadline": "realtime", "cpu-used": "8"}
    write_video(small, numbered_frames(10), fps=10, codec="libvpx-vp9", options=options)
    write_video(large, numbered_frames(10, 1024, 1536), fps=10, codec="libvpx-vp9", options=options)
    with av.open(str(path), "w") as output, av.open(str(small)) as first, av.open(str(large)) as second:
        stream = output.add_stream_from_template(first.streams.video[0])
        for container, offset in ((first, 0), (second, 1000)):
            for packet in container.demux(video=0):
                if packet.pts is not None:
                    packet.pts = packet.dts = packet.pts + offset
                    packet.stream = stream
                    output.mux(packet)
    return path.read_bytes()


@pytest.mark.parametrize("make", [growing_h264, growing_vp9])
def test_a_picture_that_grows_on_the_way_is_stopped_in_the_decoder(tmp_path: Path, make: Any) -> None:
    data = make(tmp_path)
    for allowed, expected in ((1536 * 1024, 20), (96 * 64, 10)):
        source = VideoSource(io.BytesIO(data), DecodeLimits(max_pixels_per_frame=allowed))
        sizes = [decoded.frame.width for decoded in FrameStream(source, 0).frames(len(source.packets) - 1, None)]
        assert len(source.packets) == 20
        assert (len(sizes), sizes[0], max(sizes)) == (expected, 96, 1536 if expected == 20 else 96)
        source.close()
    limits = DecodeLimits(max_pixels_per_frame=96 * 64)
    info, clips = prepare_clips(io.BytesIO(data), SPEC, limits)
    assert (info.width_px, info.height_px, info.num_frames) == (96, 64, 20)
    (clip,) = clips
    assert clip.covered_s <= info.duration_s / 2 + 0.1  # and not a word is said about the rest
    assert clip.num_substituted >= 2


def test_streams_that_turn_up_late_do_not_matter() -> None:
    files = seeds(None)
    for name in ("mpeg4-yuv420p.m4v", "mpeg4-yuv420p.mov", "libvpx-vp9-yuv420p.webm"):
        source = VideoSource(io.BytesIO(files["flv-yuv420p.swf"] + files[name]), LIMITS)
        assert len(source.packets) >= 8
        source.close()


class _Moody(io.BytesIO):
    """A file that can be read once, and then is no file any more."""

    was_read = False

    def read(self, size: int | None = -1, /) -> bytes:
        if self.was_read:
            raise AttributeError("no such side data")
        self.was_read = True
        return super().read(size)


def test_an_error_that_nobody_foresaw_is_one_failure_with_its_name(tmp_path: Path) -> None:
    file = _Moody(numbered_video(tmp_path / "a.mp4", 3).read_bytes())
    assert outcome(file) == ("internal_error", "AttributeError: no such side data")
