"""Frame times and pictures against FFmpeg's own tools.

``make_decode.py`` made the videos and the tables with the FFmpeg that the tables name; FFmpeg is not needed here.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fal_model.errors import VideoError
from fal_model.spec import ClipSpec
from pipelines.clips import prepare_clips
from pipelines.limits import DecodeLimits
from pipelines.pictures import PictureReader

HERE = Path(__file__).parent
LIMITS = DecodeLimits()
MADE: dict[str, dict[str, Any]] = json.loads((HERE / "decode.json").read_text(encoding="utf-8"))["files"]
ODD: dict[str, dict[str, Any]] = json.loads((HERE / "decode_odd.json").read_text(encoding="utf-8"))["files"]
WITH_VIDEO = [name for name, expected in MADE.items() if "error" not in expected]
# Where two recordings meet in a transport stream, the demuxer says that packets are missing: the last frame before is
# then reported as damaged.
SPLICED = {"gap.ts", "discontinuity.ts", "size_change.ts"}
CELLS = 8
TOLERANCE = 4
"""Largest difference of a mean of 1/64 of a made picture, of 255. Frames that follow each other differ by over 100."""
ODD_TOLERANCE = 8
"""The same for recordings, whose sizes are no multiples of the cells."""


def reader_of(path: Path) -> PictureReader:
    return PictureReader(io.BytesIO(path.read_bytes()), LIMITS)


def made(name: str) -> Path:
    return HERE / "decode" / name


def wanted_pictures(expected: dict[str, Any]) -> dict[int, npt.NDArray[np.int64]]:
    return {
        int(frame): np.frombuffer(base64.b64decode(text), np.uint8).reshape(CELLS, CELLS, 3).astype(np.int64)
        for frame, text in expected["pictures"].items()
    }


def cell_means(rgb_HWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    size_px = len(rgb_HWC) // CELLS
    means: npt.NDArray[np.float64] = rgb_HWC.reshape(CELLS, size_px, CELLS, size_px, 3).mean(axis=(1, 3))
    return means


def check_times(times_s: npt.NDArray[np.float64], expected: dict[str, Any]) -> None:
    """Compare every frame time, to the tick."""
    tick_s = Fraction(expected["time_base"])
    assert len(times_s) == expected["num_frames"]
    ticks = [round(float(time_s) / float(tick_s)) for time_s in times_s]
    assert times_s == pytest.approx([float(tick * tick_s) for tick in ticks], abs=1e-6)
    if "sha256" in expected:
        assert hashlib.sha256(json.dumps(ticks).encode()).hexdigest() == expected["sha256"]
    else:
        steps = [step for step, count in expected["steps"] for _ in range(count)]
        assert np.diff(ticks).tolist() == steps


def check_pictures(reader: PictureReader, expected: dict[str, Any], size_px: int, tolerance: int) -> None:
    wanted = wanted_pictures(expected)
    found = reader.pictures(sorted(wanted), size_px)
    assert sorted(found) == sorted(wanted)
    worst = {frame: float(np.abs(cell_means(found[frame].rgb_HWC) - wanted[frame]).max()) for frame in wanted}
    assert max(worst.values()) <= tolerance, worst
    for frame, picture in found.items():
        assert picture.time_s == pytest.approx(float(reader.table.times_s[frame]), abs=1e-9)


def test_every_video_is_in_the_table_and_they_are_small() -> None:
    files = {path.name: path.stat().st_size for path in (HERE / "decode").iterdir()}
    assert set(files) == set(MADE)
    assert max(files.values()) <= 20_000
    assert sum(files.values()) <= 600_000


def test_the_pictures_tell_frames_apart() -> None:
    for name in ("b_frames.mp4", "vp9.mp4", "mpeg4.avi"):
        pictures = list(wanted_pictures(MADE[name]).values())
        assert min(np.abs(a - b).max() for i, a in enumerate(pictures) for b in pictures[:i]) > 20 * TOLERANCE


@pytest.mark.parametrize("name", WITH_VIDEO)
def test_every_frame_time_is_that_of_the_container(name: str) -> None:
    reader = reader_of(made(name))
    check_times(reader.table.times_s, MADE[name])
    reader.close()


@pytest.mark.parametrize("name", WITH_VIDEO)
def test_pictures_are_those_that_ffmpeg_makes(name: str) -> None:
    expected = MADE[name]
    reader = reader_of(made(name))
    # The tone curve is applied after scaling, and to the cells' edges that makes a difference at the smallest size.
    check_pictures(reader, expected, 64 if "transfer" in expected else CELLS, TOLERANCE)
    reader.close()


@pytest.mark.parametrize("name", WITH_VIDEO)
def test_frames_asked_for_in_any_order_are_those_decoded_in_order(name: str) -> None:
    reader = reader_of(made(name))
    frames = range(len(reader.table))
    in_order = reader.pictures(frames, 16)
    assert sorted(in_order) == list(frames)
    num_inexact = sum(not picture.is_exact for picture in in_order.values())
    assert num_inexact == (name in SPLICED)
    order = random.Random(name).sample(frames, len(frames))
    for frame in order if reader._layout.is_timed else []:
        picture = reader.pictures([frame], 16)[frame]
        assert (picture.time_s, picture.is_exact) == (in_order[frame].time_s, in_order[frame].is_exact)
        assert np.array_equal(picture.rgb_HWC, in_order[frame].rgb_HWC)
    reader.close()
    for chosen in (order[:3], order[3:5]):  # files without times are read from the start each time
        reader = reader_of(made(name))
        for frame, picture in reader.pictures(chosen, 16).items():
            assert np.array_equal(picture.rgb_HWC, in_order[frame].rgb_HWC)
        reader.close()


@pytest.mark.parametrize("name", sorted(set(MADE) - set(WITH_VIDEO)))
def test_what_has_no_video_is_refused(name: str) -> None:
    with pytest.raises(VideoError) as caught:
        reader_of(made(name))
    assert caught.value.kind == MADE[name]["error"]


@pytest.mark.parametrize("name", ["variable.mp4", "trimmed.mp4", "open_gop_hevc.mp4", "rotated_90.mp4", "mpeg4.avi"])
def test_clips_are_made_of_those_frames(name: str) -> None:
    spec = ClipSpec(num_frames=4, size_px=32, flow_size_px=16)
    _, clips = prepare_clips(io.BytesIO(made(name).read_bytes()), spec, LIMITS)
    clip = next(clips)
    reader = reader_of(made(name))
    frames = [int(np.argmin(np.abs(reader.table.times_s - time_s))) for time_s in clip.frame_times_s]
    assert clip.frame_times_s == pytest.approx(reader.table.times_s[frames], abs=1e-9)
    pictures = reader.pictures(sorted(set(frames)), spec.size_px)
    for rgb_HWC, frame in zip(clip.frames_THWC, frames, strict=True):
        assert np.array_equal(rgb_HWC, pictures[frame].rgb_HWC)
    assert clip.num_substituted == 0
    reader.close()


# ---- real recordings ----------------------------------------------------------------------------------------------


@pytest.mark.real
def test_every_odd_recording_is_in_the_table(real_videos: Path) -> None:
    assert {path.name for path in (real_videos / "odd").iterdir()} == set(ODD)


@pytest.mark.real
@pytest.mark.parametrize("name", ODD)
def test_odd_recordings_have_the_times_and_pictures_that_ffmpeg_gives_them(real_videos: Path, name: str) -> None:
    reader = reader_of(real_videos / "odd" / name)
    check_times(reader.table.times_s, ODD[name])
    check_pictures(reader, ODD[name], 64, ODD_TOLERANCE)
    reader.close()
