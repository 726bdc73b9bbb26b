from __future__ import annotations

import fcntl
import io
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fal_model.errors import FailureKind, VideoError
from fal_model.spec import ClipSpec
from pipelines.clip_ring import RingReader, RingWriter, places
from pipelines.clips import Clip, VideoInfo, prepare_clips
from pipelines.isolation import ALL_WINDOWS, IsolatedPreparer, _Child, _Clock, _kill, open_read_only, why_unconfined
from pipelines.limits import DecodeLimits
from pipelines.video_writer import write_video
from tests.helpers import free_worker
from tests.helpers.children import SPEC, Descriptors, is_alive, open_descriptors, pid_of, works
from tests.helpers.model import random_clip
from tests.helpers.video import numbered_video

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


def outcome(preparer: IsolatedPreparer | None, path: Path, spec: ClipSpec = SPEC) -> tuple[VideoInfo, list[Any]] | str:
    """Return everything that a video gives, or its error; without a preparer it is decoded here."""
    with path.open("rb") as file:
        try:
            info, clips = preparer.prepare(file) if preparer else prepare_clips(file, spec, LIMITS)
            return info, [facts_of(clip, spec) for clip in clips]
        except VideoError as error:
            return f"{error.stage}: {error}"


def facts_of(clip: Clip, spec: ClipSpec) -> list[Any]:
    names = [place.name for place in places(spec)]
    arrays = [getattr(clip, name) for name in names]
    return [(name, array.dtype, array.shape, array.tobytes()) for name, array in zip(names, arrays, strict=True)] + [
        getattr(clip, name) for name in Clip.__slots__ if name not in names
    ]


def test_nobody_waits_for_ever_for_a_child_that_does_not_die() -> None:
    """As one does that hangs in the kernel: the signal arrives later."""

    class Undead(subprocess.Popen[bytes]):
        def kill(self) -> None:
            pass

    with Undead(["cat"], stdin=subprocess.PIPE) as process:
        _kill(process, timeout_s=0.01)
        assert process.poll() is None


@pytest.fixture
def descriptors_before() -> Descriptors:
    return open_descriptors()


def test_the_child_gives_exactly_what_this_process_would(preparer: IsolatedPreparer, videos: Path) -> None:
    expected = outcome(None, videos / "long.mp4")
    assert len(expected[1]) == 150
    assert outcome(preparer, videos / "long.mp4") == expected
    assert outcome(preparer, videos / "short.mp4") == outcome(None, videos / "short.mp4")
    with (videos / "short.mp4").open("rb") as file:
        file.seek(17)
        list(preparer.prepare(file)[1])
        assert file.tell() == 17  # the position of the caller's file is left alone


def test_a_video_near_the_limit_in_windows_that_overlap_passes(videos: Path) -> None:
    spec = replace(SPEC, window_s=0.2, window_overlap=0.75)
    limits = DecodeLimits(max_duration_s=1.1)
    with IsolatedPreparer(spec, limits) as preparer:
        found = outcome(preparer, videos / "short.mp4", spec)
        assert found == outcome(None, videos / "short.mp4", spec)
        assert len(found[1]) > limits.max_duration_s / spec.window_s + 1


def test_the_smallest_and_large_clips_pass(videos: Path) -> None:
    for spec in (
        ClipSpec(num_frames=1, size_px=16, flow_size_px=4, window_s=0.1),
        ClipSpec(num_frames=32, size_px=336, flow_size_px=336, window_s=100),
    ):
        with IsolatedPreparer(spec, LIMITS) as preparer:
            assert outcome(preparer, videos / "short.mp4", spec) == outcome(None, videos / "short.mp4", spec)


@pytest.mark.real
@pytest.mark.slow
def test_odd_and_broken_recordings_come_out_the_same(real_videos: Path) -> None:
    spec = ClipSpec(window_s=30)
    paths = [path for folder in ("odd", "broken") for path in sorted((real_videos / folder).iterdir())]
    assert paths
    with IsolatedPreparer(spec, LIMITS) as preparer:
        for path in paths:
            assert outcome(preparer, path, spec) == outcome(None, path, spec), path.name


def test_one_child_serves_many_videos(preparer: IsolatedPreparer, videos: Path) -> None:
    assert preparer.child_pid is None
    assert works(preparer, videos / "short.mp4")
    pid = pid_of(preparer)
    assert works(preparer, videos / "short.mp4")
    assert pid_of(preparer) == pid


def test_a_bad_video_is_told_by_the_child_which_lives_on(
    preparer: IsolatedPreparer, videos: Path, tmp_path: Path
) -> None:
    assert works(preparer, videos / "short.mp4")
    pid = pid_of(preparer)
    (tmp_path / "text").write_text("hello")
    with (tmp_path / "text").open("rb") as file, pytest.raises(VideoError) as caught:
        preparer.prepare(file)
    assert (caught.value.kind, caught.value.stage) == (FailureKind.NOT_A_VIDEO, "open")
    assert type(caught.value) is VideoError
    assert works(preparer, videos / "short.mp4")
    assert pid_of(preparer) == pid


def test_killing_the_child_under_a_video_is_one_failure(
    preparer: IsolatedPreparer, videos: Path, descriptors_before: Descriptors
) -> None:
    with (videos / "long.mp4").open("rb") as file:
        _, clips = preparer.prepare(file)
        next(clips)
        os.kill(pid_of(preparer), signal.SIGKILL)
        with pytest.raises(VideoError, match="decoder_crash: the decoding process died of SIGKILL"):
            list(clips)
    assert preparer.child_pid is None
    assert open_descriptors() <= descriptors_before
    assert works(preparer, videos / "short.mp4")


def test_a_child_that_died_between_videos_is_replaced(preparer: IsolatedPreparer, videos: Path) -> None:
    assert works(preparer, videos / "short.mp4")
    os.kill(pid_of(preparer), signal.SIGKILL)
    os.waitid(os.P_PID, pid_of(preparer), os.WEXITED | os.WNOWAIT)
    assert works(preparer, videos / "short.mp4")


def test_the_time_of_a_whole_video_is_limited(videos: Path) -> None:
    limits = DecodeLimits(total_wall_time_s=0.1, wall_time_per_video_s=0)
    with (
        IsolatedPreparer(SPEC, limits) as preparer,
        (videos / "long.mp4").open("rb") as file,
        pytest.raises(VideoError, match="timeout"),
    ):
        list(preparer.prepare(file)[1])


def test_a_slow_consumer_is_no_timeout() -> None:
    clock, begun_s = _Clock(DecodeLimits(wall_time_s=5, total_wall_time_s=8)), time.monotonic()

    def remains(expected_s: float) -> bool:
        """Tell whether so much time is left, but for what this test has taken itself."""
        remaining_s = clock.remaining_s()
        return expected_s - (time.monotonic() - begun_s) <= remaining_s <= expected_s

    clock.start_step()
    clock._step_from_s -= 3  # the child took three seconds
    clock.end_step()
    clock._step_from_s -= 1000  # and the consumer a quarter of an hour
    clock.start_step()
    assert remains(5)
    clock._step_from_s -= 4
    clock.end_step()
    clock.start_step()
    assert remains(1)
    clock.video_duration_s = 10  # a longer video may take longer
    assert remains(5)


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
        assert works(preparer, videos / "short.mp4")
        with pytest.raises(RuntimeError, match="clips were taken after another video was started, or after close"):
            next(clips)


def test_closing_ends_the_child(videos: Path) -> None:
    preparer = IsolatedPreparer(SPEC, LIMITS)
    assert works(preparer, videos / "short.mp4")
    pid = pid_of(preparer)
    preparer.close()
    preparer.close()
    assert not is_alive(pid)


def test_a_forgotten_preparer_takes_its_child_along(videos: Path) -> None:
    preparer = IsolatedPreparer(SPEC, LIMITS)
    assert works(preparer, videos / "short.mp4")
    pid = pid_of(preparer)
    del preparer
    assert not is_alive(pid)


def test_the_child_works_in_no_folder_of_ours(preparer: IsolatedPreparer, videos: Path) -> None:
    assert works(preparer, videos / "short.mp4")
    if os.geteuid() == 0:  # it hides from everybody else
        assert Path(f"/proc/{pid_of(preparer)}/cwd").readlink() == Path("/")


def test_the_child_is_confined_here() -> None:
    assert not why_unconfined()


def test_a_child_that_is_not_confined_says_so(videos: Path) -> None:
    assert why_unconfined(free_worker.MODULE) == "no filter is known for 'pdp11'"
    with IsolatedPreparer(SPEC, LIMITS, worker=free_worker.MODULE) as preparer:  # it decodes all the same
        assert works(preparer, videos / "short.mp4")


def test_a_child_that_cannot_start_is_no_videos_fault(videos: Path) -> None:
    with (
        IsolatedPreparer(SPEC, LIMITS, worker="pipelines.no_such_module") as preparer,
        (videos / "short.mp4").open("rb") as file,
        pytest.raises(RuntimeError, match=r"the decoding process could not start: .* died of exit code 1"),
    ):
        preparer.prepare(file)


def test_a_source_needs_a_descriptor(preparer: IsolatedPreparer) -> None:
    with pytest.raises(io.UnsupportedOperation, match="fileno"):
        preparer.prepare(io.BytesIO(b"x"))


def test_a_file_open_for_writing_reaches_the_child_for_reading_only(preparer: IsolatedPreparer, videos: Path) -> None:
    with tempfile.TemporaryFile() as file:  # without a name, and open for both
        file.write((videos / "short.mp4").read_bytes())
        file.flush()
        at = file.tell()
        descriptor = open_read_only(file)
        with os.fdopen(descriptor, "rb") as again:
            assert fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
            assert not os.get_inheritable(descriptor)
            assert again.read() == (videos / "short.mp4").read_bytes()
        assert len(list(preparer.prepare(file)[1])) == 1
        assert file.tell() == at
    with (videos / "short.mp4").open("rb") as file:
        os.close(open_read_only(file))
        assert file.read(1)  # ours stays open


def test_what_cannot_be_opened_again_is_refused(preparer: IsolatedPreparer) -> None:
    with socket.socket() as made, made.makefile("rb") as file:
        says = "storage_error: the file cannot be opened for reading only: No such device or address"
        with pytest.raises(VideoError, match=says):
            preparer.prepare(file)


def lost_child(command: str = "exec cat", clip: Clip | None = None) -> Iterator[_Child]:
    """Yield our end of a child that has left the pixels of a clip and closed its socket."""
    child = _Child.__new__(_Child)
    child._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child._ring = RingReader(SPEC)
    writer = RingWriter(child._ring.descriptor, SPEC)
    if clip is not None:
        writer.put(clip, 0)
    with subprocess.Popen(["sh", "-c", command], stdin=subprocess.PIPE) as child.process, child._channel:
        theirs.close()
        yield child
        child.process.kill()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("kill -XCPU $$", "timeout: decoding used more processor time than allowed"),
        ("kill -BUS $$", "decoder_crash: the decoding process died of SIGBUS"),
        ("kill -40 $$", "decoder_crash: the decoding process died of signal 40"),  # one without a name
        ("exit 3", "decoder_crash: the decoding process died of exit code 3"),
    ],
)
def test_what_a_child_died_of_is_told(command: str, says: str) -> None:
    for child in lost_child(command):
        child.process.wait()  # a busy machine may take longer to start it than the parent would wait for its end
        with pytest.raises(VideoError, match=f"^{says}$"):
            child.receive(_Clock(LIMITS))


def test_a_child_that_only_closes_its_socket_is_a_crash() -> None:
    says = "decoder_crash: the decoding process closed its socket"
    for child in lost_child():
        child.exit_timeout_s = 0.01
        with pytest.raises(VideoError, match=says):
            child.receive(_Clock(LIMITS))
        with pytest.raises(VideoError, match=says):
            child.request(0, ALL_WINDOWS, _Clock(LIMITS))
        with pytest.raises(VideoError, match=says):
            child.take(0, _Clock(LIMITS))


def take_for_ever(child: _Child, clock: _Clock) -> None:
    while True:
        clock.start_step()
        child.take(0, clock)


def test_nobody_waits_for_a_child_that_takes_nothing(descriptors_before: Descriptors) -> None:
    clock = _Clock(DecodeLimits(wall_time_s=0.05))
    child = _Child.__new__(_Child)
    child._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child._ring = RingReader(SPEC)
    os.close(child._ring.descriptor)
    with child._channel, theirs:
        with pytest.raises(VideoError, match="timeout: decoding took longer than allowed and was ended"):
            take_for_ever(child, clock)
        clock.start_step()
        with pytest.raises(VideoError, match="timeout: decoding took longer than allowed and was ended"):
            child.request(0, ALL_WINDOWS, clock)
    del child
    assert open_descriptors() <= descriptors_before


def test_pixels_that_are_no_numbers_are_a_crash() -> None:
    clip = random_clip(0, spec=SPEC)
    clip.camera_T23[-1, 1, 2] = np.nan
    says = "decoder_crash: the decoding process sent a clip with values that are no numbers"
    for child in lost_child(clip=clip):
        with pytest.raises(VideoError, match=says):
            child.take(0, _Clock(LIMITS))
