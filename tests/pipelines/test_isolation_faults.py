from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from fal_model.errors import VideoError
from pipelines.isolation import IsolatedPreparer, _environment
from pipelines.limits import DecodeLimits
from tests.helpers import faulty_worker
from tests.helpers.children import SPEC, Descriptors, is_alive, open_descriptors, pid_of, works
from tests.helpers.faulty_worker import fault_file
from tests.helpers.video import numbered_video

ROOT = Path(__file__).resolve().parents[2]
LIMITS = DecodeLimits()
HASTY = DecodeLimits(wall_time_s=3, total_wall_time_s=3, wall_time_per_video_s=0, max_duration_s=1e7)


@pytest.fixture(scope="module")
def good_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered_video(tmp_path_factory.mktemp("videos") / "short.mp4", 10)


@pytest.fixture
def descriptors_before() -> Descriptors:
    return open_descriptors()


@pytest.mark.parametrize(
    ("fault", "limits", "says"),
    [
        ("segfault", LIMITS, "decoder_crash: the decoding process died of SIGSEGV"),
        ("abort", LIMITS, "decoder_crash: the decoding process died of SIGABRT"),
        ("silent_exit", LIMITS, "decoder_crash: the decoding process died of exit code 3"),
        ("loop", HASTY, "timeout: decoding took longer than allowed and was ended"),
        ("deaf_loop", HASTY, "timeout: decoding took longer than allowed and was ended"),
        ("sleep", HASTY, "timeout: decoding took longer than allowed and was ended"),
        ("clips_unread", HASTY, "timeout: decoding took longer than allowed and was ended"),
        ("endless_clips", HASTY, "timeout: decoding took longer than allowed and was ended"),
        ("endless_facts", HASTY, "decoder_crash: the decoding process sent a malformed clip"),
        ("endless_noise", LIMITS, "decoder_crash: the decoding process sent a message of more than 65536 bytes"),
        ("deep_json", LIMITS, "decoder_crash: the decoding process sent a message that is not JSON"),
    ],
)
def test_a_fault_is_one_failure_and_the_next_video_works(
    good_video: Path,
    tmp_path: Path,
    descriptors_before: Descriptors,
    fault: str,
    limits: DecodeLimits,
    says: str,
) -> None:
    path = fault_file(tmp_path / "fault", fault)
    with IsolatedPreparer(SPEC, limits, worker=faulty_worker.MODULE) as preparer:
        assert works(preparer, good_video)
        pid = pid_of(preparer)
        with path.open("rb") as file, pytest.raises(VideoError, match=f"^{says}$"):
            list(preparer.prepare(file)[1])
        assert preparer.child_pid is None
        assert not is_alive(pid)  # not even as a zombie
        assert open_descriptors() <= descriptors_before
        assert works(preparer, good_video)


@pytest.mark.parametrize("fault", ["bomb", "bomb_of_small_things", "bomb_in_opencv"])
def test_a_memory_bomb_is_over_the_limit_and_the_child_lives_on(good_video: Path, tmp_path: Path, fault: str) -> None:
    path = fault_file(tmp_path / "bomb", fault)
    with IsolatedPreparer(SPEC, DecodeLimits(memory_bytes=2**30), worker=faulty_worker.MODULE) as preparer:
        assert works(preparer, good_video)
        pid = pid_of(preparer)
        says = "^limit_exceeded: decoding needs more than 1073741824 bytes of memory$"
        with path.open("rb") as file, pytest.raises(VideoError, match=says):
            list(preparer.prepare(file)[1])
        assert works(preparer, good_video)
        assert pid_of(preparer) == pid


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("mistake", "internal_error: ZeroDivisionError: by nought"),
        ("bad_disk", r"storage_error: reading failed: \[Errno 5\] Input/output error"),
    ],
)
def test_the_child_lets_no_error_out_and_lives_on(good_video: Path, tmp_path: Path, fault: str, says: str) -> None:
    path = fault_file(tmp_path / "fault", fault)
    with IsolatedPreparer(SPEC, LIMITS, worker=faulty_worker.MODULE) as preparer:
        with path.open("rb") as file, pytest.raises(VideoError, match=f"^{says}$"):
            preparer.prepare(file)
        pid = pid_of(preparer)
        assert works(preparer, good_video)
        assert pid_of(preparer) == pid


@pytest.mark.parametrize("fault", ["deaf_loop", "loop_without_lifeline"])
def test_a_hanging_child_dies_with_its_parent(tmp_path: Path, fault: str) -> None:
    fault_file(tmp_path / "fault", fault)
    numbered_video(tmp_path / "good.mp4", 10)
    code = (
        "import sys; from fal_model.spec import ClipSpec; from pipelines import isolation, limits\n"
        f"preparer = isolation.IsolatedPreparer(ClipSpec(), limits.DecodeLimits(), worker='{faulty_worker.MODULE}')\n"
        "list(preparer.prepare(open('good.mp4', 'rb'))[1]); print(preparer.child_pid, flush=True)\n"
        "preparer.prepare(open('fault', 'rb'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=tmp_path, env=environment
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        child = os.pidfd_open(pid)
        try:
            begun_s = cpu_time_s(pid)
            while cpu_time_s(pid) < begun_s + 0.2:  # it computes in the loop
                os.sched_yield()
            parent.kill()
            assert select.select([child], [], [], 30)[0]
        finally:
            os.close(child)


def cpu_time_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_child_sees_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("HOME", "/nowhere")
    seen = outcome_of_fault(tmp_path, "environment")
    assert "OMP_NUM_THREADS" in seen
    assert set(seen) <= set(_environment()) | {"LC_CTYPE"}
    assert not {"AWS_SECRET_ACCESS_KEY", "HOME"} & set(seen)


def outcome_of_fault(folder: Path, fault: str) -> list[str]:
    path = fault_file(folder / "fault", fault)
    with (
        IsolatedPreparer(SPEC, LIMITS, worker=faulty_worker.MODULE) as preparer,
        path.open("rb") as file,
        pytest.raises(VideoError, match="corrupt") as caught,
    ):
        preparer.prepare(file)
    return caught.value.message.split()
