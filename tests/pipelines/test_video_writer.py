from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipelines.limits import DecodeLimits
from pipelines.video import VideoSource
from pipelines.video_writer import write_video
from tests.helpers.video import numbered_frames, numbered_video

LIMITS = DecodeLimits()


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("mp4", "libx264"),
        ("mkv", "libx264"),
        ("mov", "mpeg4"),
        ("avi", "mpeg4"),
        ("ts", "libx264"),
        ("webm", "libvpx-vp9"),
    ],
)
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, suffix: str, codec: str) -> None:
    first, second = (numbered_video(tmp_path / f"{name}.{suffix}", 6, codec=codec) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size > 500


def test_written_times_are_kept(tmp_path: Path) -> None:
    times_s = [0.0, 0.1, 0.15, 0.9, 2.0]
    path = numbered_video(tmp_path / "a.mp4", 5, times_s=times_s)
    with path.open("rb") as file:
        source = VideoSource(file, LIMITS)
        assert np.sort(source.packets.pts) * source.tick_s == pytest.approx(times_s, abs=1e-4)
        source.close()


def test_keyframes_come_as_often_as_asked(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 20, keyframe_interval=4)
    source = VideoSource(io.BytesIO(path.read_bytes()), LIMITS)
    keys = np.flatnonzero(source.packets.is_key)
    assert keys[0] == 0
    assert np.diff(keys).max() <= 4


def test_ntsc_rates_can_be_written(tmp_path: Path) -> None:
    source = VideoSource(
        io.BytesIO(numbered_video(tmp_path / "a.mp4", 6, fps=Fraction(30000, 1001)).read_bytes()), LIMITS
    )
    assert source.rate_fps == pytest.approx(29.97, abs=0.01)


def test_no_frames_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="write_video: got no frames, need at least one"):
        write_video(tmp_path / "a.mp4", [], fps=10)


def test_every_frame_needs_its_time(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="write_video: got 1 times, need one for frame 1"):
        write_video(tmp_path / "a.mp4", numbered_frames(2), fps=10, times_s=[0.0])


def test_an_audio_encoder_writes_no_video(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="write_video: codec 'aac' is not a video encoder"):
        write_video(tmp_path / "a.mp4", numbered_frames(1), fps=10, codec="aac")
