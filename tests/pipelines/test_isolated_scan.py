"""Scanning in the decoding process: the same facts, and a fault is one failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fal_model.errors import FailureKind, VideoError
from pipelines.isolated_scan import IsolatedScanner, Scan
from pipelines.limits import DecodeLimits
from pipelines.scan import NUM_PICTURES, PICTURE_PX, DeepCount, scan_video
from tests.helpers import faulty_worker
from tests.helpers.children import is_alive, open_descriptors
from tests.helpers.faulty_worker import fault_file
from tests.helpers.scanned import NUM_FRAMES, scene, write_scene

LIMITS = DecodeLimits()
HASTY = DecodeLimits(wall_time_s=3, total_wall_time_s=3, wall_time_per_video_s=0)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("videos") / "v.mp4", scene(1))


def failure(scanner: IsolatedScanner, path: Path) -> str:
    """Return why a file cannot be scanned; nothing else of the error, which holds on to all it went through."""
    with path.open("rb") as file, pytest.raises(VideoError) as raised:
        scanner.scan(file)
    return str(raised.value)


def test_it_says_what_a_scan_in_this_process_says(video: Path) -> None:
    with IsolatedScanner(LIMITS) as scanner, video.open("rb") as file:
        found = scanner.scan(file)
        facts, clip = scan_video(file, LIMITS)
    assert found.facts == facts
    assert found.times_s == clip.frame_times_s
    np.testing.assert_array_equal(found.pictures_NHWC, clip.frames_THWC)
    assert found.count is None


def test_only_different_pictures_are_given(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "v.mp4", scene(1, 3))
    with IsolatedScanner(LIMITS) as scanner, path.open("rb") as file:
        found = scanner.scan(file)
    assert found.pictures_NHWC.shape == (3, PICTURE_PX, PICTURE_PX, 3)
    assert found.times_s == pytest.approx((0, 0.1, 0.2))


def test_a_deep_scan_counts_every_frame_and_one_child_does_many_videos(video: Path) -> None:
    with IsolatedScanner(LIMITS, is_deep=True) as scanner:
        for _ in range(3):
            with video.open("rb") as file:
                found = scanner.scan(file)
            assert found.count == DeepCount(NUM_FRAMES, 0)
            assert found.facts.num_pictures == NUM_PICTURES
        assert scanner.child_pid is not None
        pid = scanner.child_pid
    assert not is_alive(pid)


def test_a_broken_file_is_a_failure_and_the_same_child_goes_on(video: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_bytes(b"no video at all\n" * 40)
    (tmp_path / "half.mp4").write_bytes(video.read_bytes()[:900])
    with IsolatedScanner(LIMITS, is_deep=True) as scanner:
        files = [tmp_path / f"{name}.mp4" for name in ("empty", "text", "half")]
        kinds = [failure(scanner, path).partition(":")[0] for path in files]
        pid = scanner.child_pid
        with video.open("rb") as file:
            assert scanner.scan(file).count == DeepCount(NUM_FRAMES, 0)
        assert scanner.child_pid == pid
    assert kinds == ["empty_file", "not_a_video", "corrupt"]


@pytest.mark.parametrize(
    ("fault", "limits", "says"),
    [
        ("segfault", LIMITS, "decoder_crash: the decoding process died of SIGSEGV"),
        ("deaf_loop", HASTY, "timeout: decoding took longer than allowed and was ended"),
        ("endless_facts", LIMITS, "decoder_crash: the decoding process sent malformed facts about the video"),
        ("endless_counts", HASTY, "timeout: decoding took longer than allowed and was ended"),
        ("falling_counts", LIMITS, "decoder_crash: the decoding process sent a count that cannot be"),
    ],
)
def test_a_fault_is_one_failure_and_the_next_video_works(
    video: Path, tmp_path: Path, fault: str, limits: DecodeLimits, says: str
) -> None:
    descriptors_before = open_descriptors()
    path = fault_file(tmp_path / "fault", fault)
    with IsolatedScanner(limits, is_deep=True, worker=faulty_worker.MODULE) as scanner:
        assert failure(scanner, path) == says
        with video.open("rb") as file:
            assert scanner.scan(file).count == DeepCount(NUM_FRAMES, 0)
    assert open_descriptors() <= descriptors_before


@pytest.fixture(scope="module")
def scanner() -> Iterator[IsolatedScanner]:
    with IsolatedScanner(LIMITS, is_deep=True) as shared:
        yield shared


@given(data=st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_gives_facts_or_a_kind(
    data: st.DataObject, video: Path, scanner: IsolatedScanner, tmp_path: Path
) -> None:
    damaged = bytearray(video.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        at, num_bytes = data.draw(st.integers(0, len(damaged) - 1)), data.draw(st.integers(1, 64))
        damaged[at : at + num_bytes] = data.draw(st.binary(min_size=num_bytes, max_size=num_bytes))
    del damaged[data.draw(st.integers(1, len(damaged))) :]
    (tmp_path / "damaged.mp4").write_bytes(damaged)
    found = outcome(scanner, tmp_path / "damaged.mp4")
    if isinstance(found, VideoError):
        assert found.kind not in {FailureKind.INTERNAL_ERROR, FailureKind.DECODER_CRASH}
        assert found.message
    else:
        assert found.facts.num_pictures == len(found.pictures_NHWC) == len(found.times_s)
        assert found.facts.duration_s > 0
        assert found.count is not None


def outcome(scanner: IsolatedScanner, path: Path) -> Scan | VideoError:
    """Return what became of a file."""
    try:
        with path.open("rb") as file:
            return scanner.scan(file)
    except VideoError as error:
        return error
