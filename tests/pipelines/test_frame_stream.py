from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest

from pipelines.frame_stream import FrameStream
from pipelines.limits import DecodeLimits
from pipelines.pictures import PictureReader
from pipelines.video import VideoSource
from pipelines.video_writer import write_video
from tests.helpers.video import numbered_frames, read_number

NUM_FRAMES = 60


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Make a video of one group with B-frames, whose pictures show their number."""
    path = tmp_path_factory.mktemp("stream") / "a.mp4"
    options = {"preset": "veryfast", "bf": "3", "sc_threshold": "0"}
    write_video(path, numbered_frames(NUM_FRAMES), fps=10, options=options, keyframe_interval=1000)
    return path.read_bytes()


@pytest.fixture
def source(data: bytes) -> Iterator[VideoSource]:
    source = VideoSource(io.BytesIO(data), DecodeLimits())
    yield source
    source.close()


def test_a_stream_halted_and_taken_up_again_gives_every_frame_once(source: VideoSource) -> None:
    ticks = sorted(int(time) for time in source.packets.pts)
    stream = FrameStream(source, 0)
    seen: list[int | None] = []
    for last in (20, 45):
        for decoded in stream.frames(last, None, beyond=32):
            seen.append(decoded.ticks)
            if decoded.ticks == ticks[last - 5]:
                break
        assert stream.is_open
        assert stream.can_give(0, [(stream.next_index, ticks[-1])])
    seen += [decoded.ticks for decoded in stream.frames(NUM_FRAMES - 1, None)]
    assert seen == ticks
    assert not stream.is_open
    assert not stream.can_give(0, [(NUM_FRAMES - 1, ticks[-1])])


def test_what_was_passed_cannot_be_given_again(source: VideoSource) -> None:
    stream = FrameStream(source, 0)
    next(stream.frames(30, {int(source.packets.pts[0])}))
    assert not stream.can_give(0, [(0, int(source.packets.pts[0]))])
    assert not stream.can_give(5, [(50, int(source.packets.pts[50]))])
    assert stream.can_give(0, [(50, int(source.packets.pts[50]))])


def test_windows_of_one_long_group_are_decoded_once(data: bytes) -> None:
    reader = PictureReader(io.BytesIO(data), DecodeLimits())
    numbers: list[int] = []
    for wanted in ([0, 3, 18], [22, 23, 37], [38, 41], [55, 59]):
        pictures = reader.pictures(wanted, 64)
        assert all(picture.is_exact for picture in pictures.values())
        numbers += [read_number(pictures[frame].rgb_HWC) for frame in wanted]
    assert numbers == [0, 3, 18, 22, 23, 37, 38, 41, 55, 59]
    assert reader.video.num_decoded <= NUM_FRAMES
    reader.close()


def test_pictures_are_the_same_whether_decoding_went_on_or_began_again(data: bytes) -> None:
    in_turns, at_once = (PictureReader(io.BytesIO(data), DecodeLimits()) for _ in range(2))
    wanted = list(range(0, NUM_FRAMES, 3))
    pictures = {
        k: v for start in range(0, len(wanted), 4) for k, v in in_turns.pictures(wanted[start : start + 4], 48).items()
    }
    for frame in reversed(wanted):  # backwards: each begins again
        (picture,) = at_once.pictures([frame], 48).values()
        assert np.array_equal(picture.rgb_HWC, pictures[frame].rgb_HWC)
    assert at_once.video.num_decoded > in_turns.video.num_decoded
    in_turns.close()
    at_once.close()
