from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from fal_model.errors import FailureKind, VideoError
from fal_model.spec import ClipSpec, Sampling
from pipelines.clips import prepare_clips
from pipelines.limits import DecodeLimits
from pipelines.pictures import Picture, PictureReader, in_order
from pipelines.video_writer import write_video
from tests.helpers.video import numbered_frames, numbered_video, panning_frames, read_number

LIMITS = DecodeLimits()
COUNT = 60


def file_of(data: bytes | Path) -> io.BytesIO:
    return io.BytesIO(data if isinstance(data, bytes) else data.read_bytes())


def reader_of(data: bytes | Path, limits: DecodeLimits = LIMITS) -> PictureReader:
    return PictureReader(file_of(data), limits)


def numbers_seen(reader: PictureReader, frames: list[int]) -> dict[int, int]:
    return {frame: read_number(picture.rgb_HWC) for frame, picture in reader.pictures(frames, 48).items()}


FORMATS = [
    ("mp4", "libx264", None),
    ("mkv", "libx264", None),
    ("ts", "libx264", None),
    ("flv", "libx264", None),
    ("webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    ("mp4", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1"}),
    ("avi", "mpeg4", None),
    ("avi", "mpeg4", {"bf": "2"}),  # B-frames in AVI: the container's times are those of decoding
    ("avi", "libx264", {"bf": "2"}),
    ("h264", "libx264", {"bf": "2"}),  # no times at all
    ("m4v", "mpeg4", None),
    ("mpg", "mpeg2video", {"bf": "2"}),
]


@pytest.mark.parametrize(("suffix", "codec", "options"), FORMATS)
def test_every_frame_asked_for_is_the_one_delivered(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str] | None
) -> None:
    path = tmp_path / f"a.{suffix}"
    write_video(path, numbered_frames(COUNT), fps=25, codec=codec, options=options, keyframe_interval=12)
    for frames in ([0, 11, 12, 13, 40, 59], [33], list(range(COUNT))):
        reader = reader_of(path)
        assert len(reader.table) == COUNT
        assert np.diff(reader.table.times_s) == pytest.approx(1 / 25, abs=2e-3)
        assert numbers_seen(reader, frames) == {frame: frame for frame in frames}
        reader.close()


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("ts", "libx264"), ("avi", "mpeg4")]
)
@pytest.mark.parametrize("skip_bytes", [0, 10**9])
def test_large_files_are_read_again_with_the_same_result(
    tmp_path: Path, suffix: str, codec: str, skip_bytes: int
) -> None:
    path = numbered_video(tmp_path / f"a.{suffix}", COUNT, codec=codec)
    reader = PictureReader(file_of(path), LIMITS, held_bytes=0, skip_bytes=skip_bytes)
    assert numbers_seen(reader, [5, 27, 28, 52]) == {5: 5, 27: 27, 28: 28, 52: 52}
    assert numbers_seen(reader, [55, 31]) == {31: 31, 55: 55}
    reader.close()


def test_times_are_those_of_the_container(tmp_path: Path) -> None:
    times_s = [0.0, 0.04, 0.5, 0.54, 3.0, 3.1]
    reader = reader_of(numbered_video(tmp_path / "a.mp4", 6, times_s=times_s))
    pictures = reader.pictures(range(6), 48)
    assert [pictures[i].time_s for i in range(6)] == pytest.approx(times_s, abs=1e-4)
    assert all(picture.is_exact for picture in pictures.values())


def test_time_is_counted_from_the_first_frame_shown(tmp_path: Path) -> None:
    reader = reader_of(numbered_video(tmp_path / "a.ts", 10, times_s=[7 + i / 10 for i in range(10)]))
    assert reader.table.times_s[0] == 0
    assert reader.pictures([3], 48)[3].time_s == pytest.approx(0.3, abs=1e-4)


def damage(path: Path, start: float, end: float) -> bytes:
    """Overwrite a part of the packet data of a file whose index comes last."""
    data = bytearray(path.read_bytes())
    first, last = data.index(b"mdat") + 64, data.rindex(b"moov") - 64
    low, high = (int(first + (last - first) * share) for share in (start, end))
    data[low:high] = bytes((i * 73) & 255 for i in range(high - low))
    return bytes(data)


def test_damaged_frames_are_replaced_by_the_nearest_that_decode(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", COUNT, codec="mpeg4")
    reader = reader_of(damage(path, 0.35, 0.65))
    pictures = reader.pictures(range(COUNT), 48)
    assert {0, 5, 58, 59} <= set(pictures)
    assert [read_number(pictures[i].rgb_HWC) for i in (0, 5, 58, 59)] == [0, 5, 58, 59]
    times_s = [pictures[i].time_s for i in sorted(pictures)]
    assert times_s == sorted(times_s)
    exact = {frame: picture for frame, picture in pictures.items() if picture.is_exact}
    assert {0, 5, 58, 59} <= set(exact)
    assert 20 <= len(exact) <= 50
    assert {frame: read_number(picture.rgb_HWC) for frame, picture in exact.items()} == {
        frame: frame for frame in exact
    }
    assert [picture.time_s for picture in exact.values()] == pytest.approx([frame / 10 for frame in exact])
    made_up = [f for f, p in pictures.items() if not p.is_exact and p.time_s == pytest.approx(f / 10)]
    assert made_up  # the decoder gave a picture at the right time, and filled it with what it had


def test_a_neighbour_is_never_taken_for_the_frame_itself(tmp_path: Path) -> None:
    times_s = [0.0, 0.5, 1.0, 1.02, 1.5, 2.0]  # the two in the middle are closer than half the usual step
    path, options = tmp_path / "a.mkv", {"pix_fmt": "yuvj420p"}
    write_video(path, numbered_frames(6), fps=25, codec="mjpeg", times_s=times_s, options=options)
    packets = [bytes(p) for p in av.open(str(path)).demux(video=0) if p.size]
    reader = reader_of(path.read_bytes().replace(packets[3], bytes(len(packets[3]))))
    picture = reader.pictures([3], 48)[3]
    assert (read_number(picture.rgb_HWC), picture.is_exact) == (2, False)


def test_stand_ins_never_turn_time_back() -> None:
    rgb_HWC = np.zeros((2, 2, 3), np.uint8)
    times_s = {0: (0.6, False), 3: (0.3, True), 5: (0.5, True), 7: (0.2, False), 9: (0.5, False)}
    found = {frame: Picture(time_s, is_exact, rgb_HWC) for frame, (time_s, is_exact) in times_s.items()}
    assert sorted(in_order(found)) == [3, 5, 9]
    assert in_order({}) == {}
    rising = {frame: Picture(frame // 2, frame % 3 == 0, rgb_HWC) for frame in range(9, -1, -1)}
    assert in_order(rising) == rising


def damage_packet(path: Path, number: int) -> bytes:
    """Overwrite the middle of one packet of a file that stores packets whole."""
    packet = [bytes(p) for p in av.open(str(path)).demux(video=0) if p.size][number]
    low, high = len(packet) * 3 // 10, len(packet) * 6 // 10
    noise = bytes((i * i * 73 + 11) & 255 for i in range(low, high))
    data = path.read_bytes()
    assert data.count(packet) == 1
    return data.replace(packet, packet[:low] + noise + packet[high:])


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"bf": "0"}),
        ("libx264", {"bf": "2", "x264-params": "open-gop=1"}),
        ("mpeg4", {"bf": "2"}),
        ("mpeg2video", {"bf": "2"}),
        ("mjpeg", {"pix_fmt": "yuvj420p"}),
    ],
)
def test_a_picture_that_the_decoder_mended_is_not_called_exact(
    tmp_path: Path, codec: str, options: dict[str, str]
) -> None:
    path = tmp_path / "a.mkv"
    write_video(path, panning_frames(COUNT, 2, -1), fps=25, codec=codec, options=options, keyframe_interval=12)
    whole, damaged = reader_of(path), reader_of(damage_packet(path, 14))
    wanted, found = (reader.pictures(range(COUNT), 48) for reader in (whole, damaged))
    assert all(picture.is_exact for picture in wanted.values())
    inexact = {frame for frame, picture in found.items() if not picture.is_exact}
    assert inexact
    assert inexact <= set(range(8, 28))  # up to the next keyframe, and not beyond
    for frame in set(range(COUNT)) - inexact:
        assert np.array_equal(found[frame].rgb_HWC, wanted[frame].rgb_HWC)


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "mpeg4"), ("avi", "libx264"), ("h264", "libx264")])
def test_frames_that_are_counted_are_not_exact_after_one_is_lost(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write_video(path, numbered_frames(COUNT), fps=25, codec=codec, options={"bf": "2"}, keyframe_interval=12)
    packet = [bytes(p) for p in av.open(str(path)).demux(video=0) if p.size][20]
    reader = reader_of(path.read_bytes().replace(packet, packet[:4] + bytes(len(packet) - 4)))
    pictures = reader.pictures(range(COUNT), 48)
    exact = {frame: read_number(picture.rgb_HWC) for frame, picture in pictures.items() if picture.is_exact}
    assert 10 < len(exact) < COUNT
    assert exact == {frame: frame for frame in exact}


def test_a_packet_that_says_no_frame_does_not_put_off_the_count(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    options = {"bf": "2"}
    write_video(path, numbered_frames(COUNT), fps=25, codec="mpeg4", options=options, keyframe_interval=12)
    packet = [bytes(p) for p in av.open(str(path)).demux(video=0) if p.size][20]
    reader = reader_of(path.read_bytes().replace(packet, packet[:4] + bytes(len(packet) - 4)))
    pictures = reader.pictures(range(COUNT), 48)
    inexact = {frame for frame, picture in pictures.items() if not picture.is_exact}
    assert inexact <= {19, 20, 21}  # around the one that is not there
    assert all(read_number(pictures[frame].rgb_HWC) == frame for frame in range(24, COUNT))


def test_damage_is_counted_in_the_clip(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write_video(path, panning_frames(COUNT, 2, -1), fps=25, options={"bf": "0"}, keyframe_interval=12)
    spec = ClipSpec(num_frames=30, size_px=48, flow_size_px=16, sampling=Sampling.UNIFORM)
    counts = []
    for data in (path.read_bytes(), damage_packet(path, 14)):
        _, clips = prepare_clips(io.BytesIO(data), spec, LIMITS)
        counts.append(sum(clip.num_substituted for clip in clips))
    assert counts == [0, 5]  # every other of the frames 14 to 23


def test_interlaced_pictures_keep_both_fields_and_no_comb(tmp_path: Path) -> None:
    odd_rows = np.zeros((64, 96, 3), np.uint8)
    odd_rows[:, 48:] = 200
    odd_rows[1::2] = 240 - odd_rows[1::2]  # the fields show different things
    path = tmp_path / "a.mp4"
    write_video(path, [odd_rows] * 3, fps=25, options={"flags": "+ilme+ildct", "crf": "4"})
    picture_HWC = reader_of(path).pictures([1], 16)[1].rgb_HWC.astype(int)
    assert np.abs(np.diff(picture_HWC, axis=0)).max() <= 12
    assert np.abs(picture_HWC - 120).max() <= 12


def test_recordings_strung_together_are_read_again_with_the_same_result(tmp_path: Path) -> None:
    first, second = (numbered_video(tmp_path / f"{n}.ts", n, codec="mpeg2video").read_bytes() for n in (30, 20))
    whole = reader_of(first + second)
    assert len(whole.table) == 50
    assert np.diff(whole.table.times_s) == pytest.approx(0.1, abs=1e-4)
    expected = {**{n: n for n in range(30)}, **{30 + n: n for n in range(20)}}
    assert numbers_seen(whole, list(range(50))) == expected
    reader = PictureReader(file_of(first + second), LIMITS, held_bytes=0, skip_bytes=0)
    for frames in ([3, 35], [48, 12], [29, 30], [5]):
        assert numbers_seen(reader, frames) == {frame: expected[frame] for frame in sorted(frames)}


def test_when_nothing_decodes_the_reason_is_given(tmp_path: Path) -> None:
    reader = reader_of(damage(numbered_video(tmp_path / "a.mp4", 20), 0, 1))
    assert reader.pictures(range(20), 48) == {}
    error = reader.nothing_decoded()
    assert error.kind is FailureKind.CORRUPT
    assert "none of 20 packets could be decoded: InvalidDataError" in error.message


def test_a_decoder_that_stays_silent_gave_no_frames(tmp_path: Path) -> None:
    reader = reader_of(numbered_video(tmp_path / "a.mp4", 3))
    error = reader.nothing_decoded()  # nothing was asked for, so nothing went wrong
    assert error.kind is FailureKind.NO_FRAMES
    assert error.message == "the decoder made no picture of 3 packets"


def test_a_video_longer_than_allowed_is_refused(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 2, times_s=[0.0, 100.0])
    with pytest.raises(VideoError, match=r"limit_exceeded: 100\.1 s by its time stamps, at most 50 s are allowed"):
        reader_of(path, DecodeLimits(max_duration_s=50))


def test_a_video_without_packets_has_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"movflags": "empty_moov"}) as container:
        container.add_stream("mpeg4", rate=10, width=96, height=64)
        container.start_encoding()
    with pytest.raises(VideoError, match="no_frames: 0 packets in the video stream, none to be shown"):
        reader_of(path)
