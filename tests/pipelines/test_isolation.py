from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fal_model.errors import FailureKind, VideoError
from fal_model.spec import ClipSpec
from pipelines import isolation
from pipelines.clips import prepare_clips
from pipelines.decode_worker import HEADER
from pipelines.isolation import IsolatedPreparer, _Child, _Clock, _environment, _read_clip, read_error, read_info
from pipelines.limits import DecodeLimits
from pipelines.video_writer import write_video
from tests.helpers.video import numbered_video, read_number

SPEC = ClipSpec(num_frames=4, size_px=64, flow_size_px=16, flow_step_s=0.1, window_s=2.0)
LIMITS = DecodeLimits()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    numbered_video(folder / "short.mp4", 10)
    numbered_video(folder / "long.mp4", 3000, codec="mpeg4")
    return folder


@pytest.fixture
def preparer() -> Iterator[IsolatedPreparer]:
    with IsolatedPreparer(SPEC, LIMITS) as made:
        yield made


def works(preparer: IsolatedPreparer, videos: Path) -> bool:
    with (videos / "short.mp4").open("rb") as file:
        _, clips = preparer.prepare(file)
        (clip,) = clips
    return [read_number(frame) for frame in clip.frames_THWC] == [round(10 * t) for t in clip.frame_times_s]


def pid_of(preparer: IsolatedPreparer) -> int:
    assert preparer.child_pid is not None
    return preparer.child_pid


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_child_gives_exactly_what_this_process_would(preparer: IsolatedPreparer, videos: Path) -> None:
    with (videos / "long.mp4").open("rb") as ours, (videos / "long.mp4").open("rb") as theirs:
        ours.seek(17)
        info, clips = prepare_clips(ours, SPEC, LIMITS)
        isolated_info, isolated_clips = preparer.prepare(theirs)
        assert isolated_info == info
        for _ in range(5):
            expected, clip = next(clips), next(isolated_clips)
            assert (clip.index, clip.start_s, clip.end_s) == (expected.index, expected.start_s, expected.end_s)
            assert clip.frame_times_s == expected.frame_times_s
            assert (clip.covered_s, clip.num_substituted) == (expected.covered_s, expected.num_substituted)
            assert np.array_equal(clip.frames_THWC, expected.frames_THWC)
            assert np.array_equal(clip.flow_q_THWC, expected.flow_q_THWC)
            assert np.array_equal(clip.flow_valid_T, expected.flow_valid_T)
            assert clip.flow_valid_T.dtype == np.bool_
        assert theirs.tell() == 0  # the position of the caller's file is left alone


def test_one_child_serves_many_videos(preparer: IsolatedPreparer, videos: Path) -> None:
    assert preparer.child_pid is None
    assert works(preparer, videos)
    pid = pid_of(preparer)
    assert works(preparer, videos)
    assert pid_of(preparer) == pid


def test_a_bad_video_is_told_by_the_child_which_lives_on(
    preparer: IsolatedPreparer, videos: Path, tmp_path: Path
) -> None:
    assert works(preparer, videos)
    pid = pid_of(preparer)
    (tmp_path / "text").write_text("hello")
    with (tmp_path / "text").open("rb") as file, pytest.raises(VideoError) as caught:
        preparer.prepare(file)
    assert (caught.value.kind, caught.value.stage) == (FailureKind.NOT_A_VIDEO, "open")
    assert type(caught.value) is VideoError
    assert works(preparer, videos)
    assert pid_of(preparer) == pid


@pytest.mark.parametrize("sent", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_crash_is_one_failure_and_the_next_video_works(
    preparer: IsolatedPreparer, videos: Path, sent: signal.Signals
) -> None:
    with (videos / "long.mp4").open("rb") as file:
        _, clips = preparer.prepare(file)
        next(clips)
        os.kill(pid_of(preparer), sent)
        with pytest.raises(VideoError, match=f"decoder_crash: the decoding process died of {sent.name}"):
            list(clips)
    assert preparer.child_pid is None
    assert works(preparer, videos)


def test_a_child_that_died_between_videos_is_replaced(preparer: IsolatedPreparer, videos: Path) -> None:
    assert works(preparer, videos)
    os.kill(pid_of(preparer), signal.SIGKILL)
    os.waitid(os.P_PID, pid_of(preparer), os.WEXITED | os.WNOWAIT)
    assert works(preparer, videos)


def test_a_hang_is_a_timeout_and_the_next_video_works(videos: Path) -> None:
    limits = DecodeLimits(wall_time_s=2)
    with IsolatedPreparer(SPEC, limits) as preparer, (videos / "long.mp4").open("rb") as file:
        _, clips = preparer.prepare(file)
        next(clips)
        pid = pid_of(preparer)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(VideoError, match="timeout: decoding took longer than allowed and was ended"):
            list(clips)
        assert not is_alive(pid)
        assert works(preparer, videos)


def test_the_time_of_a_whole_video_is_limited(videos: Path) -> None:
    limits = DecodeLimits(total_wall_time_s=0.1, wall_time_per_video_s=0)
    with (
        IsolatedPreparer(SPEC, limits) as preparer,
        (videos / "long.mp4").open("rb") as file,
        pytest.raises(VideoError, match="timeout"),
    ):
        list(preparer.prepare(file)[1])


def test_a_slow_consumer_is_no_timeout() -> None:
    clock = _Clock(DecodeLimits(wall_time_s=5, total_wall_time_s=8))
    clock.start_step()
    clock._step_from_s -= 3  # the child took three seconds
    clock.end_step()
    clock._step_from_s -= 1000  # and the consumer a quarter of an hour
    clock.start_step()
    assert clock.remaining_s() == pytest.approx(5, abs=0.5)
    clock._step_from_s -= 4
    clock.end_step()
    clock.start_step()
    assert clock.remaining_s() == pytest.approx(1, abs=0.5)
    clock.video_duration_s = 10  # a longer video may take longer
    assert clock.remaining_s() == pytest.approx(5, abs=0.5)


def test_memory_is_limited(tmp_path: Path) -> None:
    frames = (np.zeros((4320, 7680, 3), np.uint8) for _ in range(4))
    write_video(tmp_path / "8k.mp4", frames, fps=10, codec="mpeg4")
    limits = DecodeLimits(memory_bytes=2**29)
    with (
        IsolatedPreparer(SPEC, limits) as preparer,
        (tmp_path / "8k.mp4").open("rb") as file,
        pytest.raises(VideoError) as caught,
    ):
        list(preparer.prepare(file)[1])
    assert caught.value.kind is FailureKind.LIMIT_EXCEEDED
    assert "memory" in caught.value.message
    with IsolatedPreparer(SPEC, LIMITS) as preparer, (tmp_path / "8k.mp4").open("rb") as file:
        assert preparer.prepare(file)[0].width_px == 7680


def test_leaving_a_video_early_is_allowed(preparer: IsolatedPreparer, videos: Path) -> None:
    with (videos / "long.mp4").open("rb") as file:
        _, clips = preparer.prepare(file)
        next(clips)
        assert works(preparer, videos)
        with pytest.raises(RuntimeError, match="clips were taken after another video was started, or after close"):
            next(clips)


def test_closing_ends_the_child(videos: Path) -> None:
    preparer = IsolatedPreparer(SPEC, LIMITS)
    assert works(preparer, videos)
    pid = pid_of(preparer)
    preparer.close()
    preparer.close()
    assert not is_alive(pid)


def test_a_forgotten_preparer_takes_its_child_along(videos: Path) -> None:
    preparer = IsolatedPreparer(SPEC, LIMITS)
    assert works(preparer, videos)
    pid = pid_of(preparer)
    del preparer
    assert not is_alive(pid)


def test_the_child_sees_no_credentials(
    monkeypatch: pytest.MonkeyPatch, preparer: IsolatedPreparer, videos: Path
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("HOME", "/nowhere")
    assert works(preparer, videos)
    seen = Path(f"/proc/{pid_of(preparer)}/environ").read_bytes()
    assert b"s3cret" not in seen
    names = {item.partition(b"=")[0].decode() for item in seen.split(b"\0") if item}
    assert names <= set(_environment()) | {"LC_CTYPE"}
    assert Path(f"/proc/{pid_of(preparer)}/cwd").readlink() == Path("/")


def test_a_child_that_cannot_start_is_no_videos_fault(monkeypatch: pytest.MonkeyPatch, videos: Path) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        IsolatedPreparer(SPEC, LIMITS) as preparer,
        (videos / "short.mp4").open("rb") as file,
        pytest.raises(RuntimeError, match=r"the decoding process could not start: .* died of exit code 1"),
    ):
        preparer.prepare(file)


def test_a_source_needs_a_descriptor(preparer: IsolatedPreparer) -> None:
    with pytest.raises(io.UnsupportedOperation, match="fileno"):
        preparer.prepare(io.BytesIO(b"x"))


INFO: dict[str, Any] = {
    "type": "info",
    "duration_s": 1.0,
    "width_px": 2,
    "height_px": 2,
    "rotation_deg": 0,
    "codec": "h264",
    "container": "avi",
    "mean_fps": 25.0,
    "num_frames": 25,
    "num_clips": 1,
}


def test_good_facts_are_taken() -> None:
    info = read_info(INFO, SPEC, LIMITS)
    assert (info.num_frames, info.codec) == (25, "h264")


@pytest.mark.parametrize(
    "lie",
    [
        {"duration_s": 1e9},
        {"duration_s": float("nan")},
        {"width_px": -1},
        {"num_frames": 2.5},
        {"num_clips": 10**9},
        {"num_clips": True},
        {"codec": 7},
        {"container": None},
        {"mean_fps": "25"},
    ],
)
def test_a_child_that_lies_about_a_video_is_a_crash(lie: dict[str, Any]) -> None:
    with pytest.raises(VideoError, match="decoder_crash: the decoding process sent malformed facts about the video"):
        read_info({**INFO, **lie}, SPEC, LIMITS)


def test_an_error_is_believed_only_if_it_is_one() -> None:
    good = {"type": "error", "kind": "corrupt", "message": "x\ny", "stage": "decode"}
    error = read_error(good)
    assert (error.kind, error.message, error.stage) == (FailureKind.CORRUPT, "x y", "decode")
    for lie in ({"kind": "fine"}, {"message": None}, {"stage": "shell"}):
        bad = read_error({**good, **lie})
        assert bad.kind is FailureKind.DECODER_CRASH
        assert bad.message == "the decoding process sent a malformed error"


def lying_child(data: bytes, command: str = "exec cat") -> Iterator[_Child]:
    """Yield our end of a child that has sent these bytes and closed its socket."""
    child = _Child.__new__(_Child)
    child._channel, theirs = socket.socketpair()
    with subprocess.Popen(["sh", "-c", command], stdin=subprocess.PIPE) as child.process, child._channel:
        with theirs:
            theirs.sendall(data)
        yield child
        child.process.kill()


def message(header: object) -> bytes:
    data = json.dumps(header).encode()
    return HEADER.pack(len(data)) + data


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (HEADER.pack(2**31), "the decoding process sent a header of 2147483648 bytes"),
        (HEADER.pack(3) + b"{{{", "the decoding process sent a header that is not JSON"),
        (message({"type": "shell"}), "the decoding process sent a header of unknown type"),
        (message([1]), "the decoding process sent a header of unknown type"),
    ],
)
def test_nonsense_is_a_crash(data: bytes, says: str) -> None:
    for child in lying_child(data):
        with pytest.raises(VideoError, match=f"decoder_crash: {says}"):
            child.receive(_Clock(LIMITS))


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("kill -XCPU $$", "timeout: decoding used more processor time than allowed"),
        ("kill -BUS $$", "decoder_crash: the decoding process died of SIGBUS"),
        ("exit 3", "decoder_crash: the decoding process died of exit code 3"),
    ],
)
def test_what_a_child_died_of_is_told(command: str, says: str) -> None:
    for child in lying_child(b"", command):
        with pytest.raises(VideoError, match=says):
            child.receive(_Clock(LIMITS))


def test_a_child_that_only_closes_its_socket_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "EXIT_TIMEOUT_S", 0.01)
    for child in lying_child(b""):
        with pytest.raises(VideoError, match="decoder_crash: the decoding process closed its socket"):
            child.receive(_Clock(LIMITS))
        with pytest.raises(VideoError, match="decoder_crash: the decoding process closed its socket"):
            child.request(SPEC, 0)


CLIP: dict[str, Any] = {
    "type": "clip",
    "index": 1,
    "start_s": 2.0,
    "end_s": 4.0,
    "frame_times_s": [2.0, 2.5, 3.0, 3.5],
    "covered_s": 2.0,
    "num_substituted": 0,
}
NUM_CLIP_BYTES = 4 * 64 * 64 * 3 + 4 * 16 * 16 * 2 + 4


def test_a_good_clip_is_taken() -> None:
    for child in lying_child(bytes(NUM_CLIP_BYTES)):
        clip = _read_clip(CLIP, child, _Clock(LIMITS), SPEC, range(1, 3))
        assert (clip.index, clip.frame_times_s) == (1, (2.0, 2.5, 3.0, 3.5))


@pytest.mark.parametrize(
    "lie",
    [
        {"type": "info"},
        {"index": 0},
        {"index": 3},
        {"index": None},
        {"frame_times_s": [1.0]},
        {"frame_times_s": [1.0, 2.0, 3.0, "4"]},
        {"frame_times_s": [1.0, 2.0, 3.0, float("inf")]},
        {"covered_s": None},
        {"num_substituted": 5},
    ],
)
def test_a_child_that_lies_about_a_clip_is_a_crash(lie: dict[str, Any]) -> None:
    for child in lying_child(b""):
        with pytest.raises(VideoError, match="decoder_crash: the decoding process sent a malformed clip"):
            _read_clip({**CLIP, **lie}, child, _Clock(LIMITS), SPEC, range(1, 3))
