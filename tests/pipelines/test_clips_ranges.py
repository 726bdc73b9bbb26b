"""A video decoded in ranges of windows is the same as decoded at once, clip for clip."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from fal_model.errors import VideoError
from fal_model.spec import ClipSpec
from pipelines.clips import Clip, VideoInfo, prepare_clips
from pipelines.isolation import IsolatedPreparer
from pipelines.limits import DecodeLimits
from pipelines.video_writer import write_video
from tests.helpers.video import numbered_frames, numbered_video

SPEC = ClipSpec(num_frames=4, size_px=32, flow_size_px=8, flow_step_s=0.1, window_s=1.0)
LIMITS = DecodeLimits()
STEP = 3


def prepared(path: Path, spec: ClipSpec, windows: range | None = None) -> tuple[VideoInfo, list[Clip]]:
    with path.open("rb") as file:
        info, clips = prepare_clips(file, spec, LIMITS, windows=windows)
        return info, list(clips)


def in_ranges(path: Path, spec: ClipSpec) -> tuple[list[VideoInfo], list[Clip]]:
    """Decode a video range by range, each as a reader of its own."""
    infos, clips, asked = list[VideoInfo](), list[Clip](), range(STEP)
    while not infos or asked.start < infos[0].num_clips:
        info, found = prepared(path, spec, asked)
        infos.append(info)
        clips += found
        served = info.served(asked)
        assert all(clip.index in served for clip in found)
        asked = range(served.stop, served.stop + STEP)
    return infos, clips


def assert_same(ours: list[Clip], theirs: list[Clip]) -> None:
    assert [clip.index for clip in ours] == [clip.index for clip in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert a.covered_s == pytest.approx(b.covered_s)
        for field in fields(Clip):
            if field.name != "covered_s":
                assert np.array_equal(getattr(a, field.name), getattr(b, field.name)), (a.index, field.name)


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_ranges_make_up_the_video(tmp_path: Path, overlap: float) -> None:
    spec = replace(SPEC, window_overlap=overlap)
    path = numbered_video(tmp_path / "a.mp4", 115)
    whole_info, whole = prepared(path, spec)
    infos, clips = in_ranges(path, spec)
    assert whole_info.is_seekable
    assert len(whole) == whole_info.num_clips
    assert len(infos) == -(-whole_info.num_clips // STEP) > STEP
    assert set(infos) == {whole_info}
    assert_same(clips, whole)


@pytest.mark.parametrize("suffix", ["h264", "avi"])
def test_where_frames_cannot_be_found_the_first_range_is_all(tmp_path: Path, suffix: str) -> None:
    path = numbered_video(tmp_path / f"a.{suffix}", 115)
    whole_info, whole = prepared(path, SPEC)
    infos, clips = in_ranges(path, SPEC)
    assert infos == [whole_info]
    assert not whole_info.is_seekable
    assert_same(clips, whole)


@pytest.mark.parametrize(("num_frames", "is_seekable"), [(590, True), (620, False)])
def test_a_keyframe_too_far_back_makes_a_video_one_piece(tmp_path: Path, num_frames: int, is_seekable: bool) -> None:
    path, one_key = tmp_path / "a.mp4", {"preset": "ultrafast", "sc_threshold": "0"}
    write_video(path, numbered_frames(num_frames), fps=10, options=one_key, keyframe_interval=10_000)
    assert prepared(path, SPEC)[0].is_seekable == is_seekable


def test_a_range_beyond_the_end_is_empty(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 50)
    info, clips = prepared(path, SPEC, range(5, 9))
    assert (info.num_clips, clips) == (5, [])
    assert list(info.served(range(5, 9))) == []
    assert list(info.served(None)) == [0, 1, 2, 3, 4]


def test_the_decoding_process_gives_the_same_ranges(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 115)
    _, whole = prepared(path, SPEC)
    with IsolatedPreparer(SPEC, LIMITS) as preparer, path.open("rb") as file:
        for windows in (range(4, 7), range(2), range(9, 1000)):
            info, clips = preparer.prepare(file, windows)
            assert_same(list(clips), whole[windows.start : windows.stop])
            assert info.num_clips == len(whole)


@pytest.mark.real
def test_real_recordings_too(real_videos: Path) -> None:
    spec = replace(SPEC, window_overlap=0.5)
    files = [path for path in sorted(real_videos.rglob("*.*")) if path.stat().st_size < 5e6]
    num_split = 0
    for path in files[::25]:
        try:
            info, whole = prepared(path, spec)
        except VideoError:
            continue
        infos, clips = in_ranges(path, spec)
        assert set(infos) == {info}, path.name
        assert_same(clips, whole)
        num_split += len(infos) > 1
    assert num_split > 3
