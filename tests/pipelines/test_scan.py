"""What a scan finds out about one video, in this process."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import FailureKind, VideoError
from pipelines import scan
from pipelines.frame_table import FrameTable
from pipelines.limits import DecodeLimits
from pipelines.pictures import PictureReader
from pipelines.scan import NUM_PICTURES, PICTURE_PX, choose_pictures, count_frames, is_irregular, scan_video
from pipelines.video_writer import write_video
from tests.helpers.video import numbered_frames, numbered_video, read_number

LIMITS = DecodeLimits()


def regular(path: Path, count: int, keyframe_interval: int) -> Path:
    """Write a video whose keyframes come in step, and nowhere else."""
    options = {"preset": "veryfast", "sc_threshold": "0"}
    write_video(path, numbered_frames(count), fps=10, options=options, keyframe_interval=keyframe_interval)
    return path


def table_of(path: Path) -> FrameTable:
    with path.open("rb") as file:
        reader = PictureReader(file, LIMITS)
        table = reader.table
        reader.close()
    return table


def test_facts_and_pictures_of_a_plain_video(tmp_path: Path) -> None:
    path = regular(tmp_path / "v.mp4", 40, 10)
    with path.open("rb") as file:
        facts, clip = scan_video(file, LIMITS)
    assert (facts.container.split(",")[0], facts.codec, facts.pixel_format) == ("mov", "h264", "yuv420p")
    assert (facts.width_px, facts.height_px, facts.rotation_deg, facts.bit_depth) == (96, 64, 0, 8)
    assert (facts.num_frames, facts.num_keyframes, facts.num_streams, facts.has_audio) == (40, 4, 1, False)
    assert facts.duration_s == pytest.approx(4.0)
    assert facts.mean_fps == pytest.approx(10.0)
    assert facts.longest_gap_s == pytest.approx(0.1)
    assert 0 < facts.stream_bytes < path.stat().st_size
    assert (facts.is_hdr, facts.is_variable_rate, facts.num_damaged_pictures) == (False, False, 0)
    assert clip.frames_THWC.shape == (NUM_PICTURES, PICTURE_PX, PICTURE_PX, 3)
    assert [read_number(frame) for frame in clip.frames_THWC] == [0, 5, 10, 15, 20, 25, 30, 35]
    assert facts.num_pictures == NUM_PICTURES


def test_a_turned_ten_bit_video_says_so(tmp_path: Path) -> None:
    options = {"preset": "veryfast", "pix_fmt": "yuv420p10le"}
    write_video(tmp_path / "v.mp4", numbered_frames(5), fps=5, options=options, rotation_deg=90)
    with (tmp_path / "v.mp4").open("rb") as file:
        facts, clip = scan_video(file, LIMITS)
    assert (facts.bit_depth, facts.pixel_format, facts.rotation_deg) == (10, "yuv420p10le", 90)
    assert (facts.width_px, facts.height_px) == (64, 96)
    assert facts.num_pictures == 5
    assert len(set(clip.frame_times_s)) == 5
    assert clip.frame_times_s[4:] == (clip.frame_times_s[4],) * 4


def test_a_long_video_is_looked_at_where_its_keyframes_are(tmp_path: Path) -> None:
    table = table_of(regular(tmp_path / "v.mp4", 300, 15))
    keys = set(np.flatnonzero(table.is_key).tolist())
    chosen = choose_pictures(table, 1920 * 1080)
    assert len(chosen) == NUM_PICTURES
    assert set(chosen) <= keys
    assert table.cost(chosen) == NUM_PICTURES


def test_few_keyframes_are_enough_where_more_would_be_dear(tmp_path: Path) -> None:
    table = table_of(regular(tmp_path / "v.mp4", 200, 100))
    assert len(choose_pictures(table, 320 * 240)) == NUM_PICTURES
    assert choose_pictures(table, 8192 * 4608) == [0, 100]


def test_a_video_that_is_read_in_order_is_looked_at_near_its_beginning(tmp_path: Path) -> None:
    table = table_of(regular(tmp_path / "v.mp4", 2_000, 20))
    in_order = replace(table, start_index=np.zeros_like(table.start_index))
    chosen = choose_pictures(in_order, 1920 * 1080)
    assert len(chosen) > 1
    assert in_order.cost(chosen) <= NUM_PICTURES + scan.MAX_IN_ORDER_FRAMES


def test_pictures_are_looked_for_elsewhere_if_those_chosen_cannot_be_made(tmp_path: Path) -> None:
    write_video(tmp_path / "v.avi", numbered_frames(200), fps=10, codec="mjpeg", options={"pix_fmt": "yuvj420p"})
    chosen = choose_pictures(table_of(tmp_path / "v.avi"), 96 * 64)
    data = bytearray((tmp_path / "v.avi").read_bytes())
    starts = [found.start() for found in re.finditer(b"\xff\xd8\xff", bytes(data))]
    assert len(starts) == 200
    for frame in {*chosen, *(max(0, frame - 1) for frame in chosen)}:
        size = int.from_bytes(data[starts[frame] - 4 : starts[frame]], "little")
        data[starts[frame] : starts[frame] + size] = bytes(size)
    facts, clip = scan_video(io.BytesIO(data), LIMITS)
    seen = {read_number(frame) for frame in clip.frames_THWC}
    assert facts.num_pictures == len(seen) > 1
    assert seen.isdisjoint(chosen)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts"])
def test_counting_finds_every_frame(tmp_path: Path, suffix: str) -> None:
    codec = "mpeg4" if suffix == "avi" else "libx264"
    path = numbered_video(tmp_path / f"v.{suffix}", 150, fps=25, keyframe_interval=50, codec=codec)
    with path.open("rb") as file:
        counts = list(count_frames(file, LIMITS))
    assert [count.num_decoded for count in counts] == [64, 128, 150]
    assert counts[-1].num_damaged == 0


def test_counting_tells_damaged_frames(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "v.mp4", 60, fps=25, keyframe_interval=60)
    data = bytearray(path.read_bytes())
    at = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[at : at + 40] = bytes(40)
    *_, last = count_frames(io.BytesIO(data), LIMITS)
    assert 0 < last.num_damaged <= last.num_decoded <= 60


@given(st.floats(1, 240), st.integers(2, 300))
@settings(deadline=None, max_examples=40)
def test_times_rounded_to_milliseconds_are_regular(fps: float, count: int) -> None:
    assert not is_irregular(np.diff(np.round(np.arange(count) / fps, 3)))


def test_a_rate_that_changes_is_variable() -> None:
    assert is_irregular(np.array([0.04] * 50 + [0.1] * 50))
    assert not is_irregular(np.array([0.04] * 199 + [0.1]))
    assert not is_irregular(np.zeros(0))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", FailureKind.EMPTY_FILE),
        (b"some text\n" * 9, FailureKind.NOT_A_VIDEO),
        (bytes(999), FailureKind.NOT_A_VIDEO),
    ],
)
def test_what_is_no_video_is_refused(data: bytes, kind: FailureKind) -> None:
    with pytest.raises(VideoError) as raised:
        scan_video(io.BytesIO(data), LIMITS)
    assert raised.value.kind is kind
