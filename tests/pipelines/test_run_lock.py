"""Two jobs on one output: the second is refused, whatever became of the first one it goes on."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fal_model.errors import OutputError
from pipelines import run_lock, storage
from tests.helpers.processes import wait_until

HOLDS = """
import sys
from pipelines import run_lock

with run_lock.exclusive(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(output: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, output], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    first = holder(output)
    words = rf"'{output}' is being written by process {first.pid} on {socket.gethostname()}: two jobs on one output"
    with pytest.raises(OutputError, match=words), run_lock.exclusive(output):
        pass
    kill(first)
    with run_lock.exclusive(output) as check:
        check()
    with run_lock.exclusive(output):  # let go of at the end of the block
        pass


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match=r"cannot lock '.*out/_fal/lock'"), run_lock.exclusive(str(tmp_path / "out")):
        pass


# ---- S3 -----------------------------------------------------------------------------------------------------------


def leave_lease(output: str, *, host: str, pid: int, age_s: float, space: str = "") -> None:
    data = {"host": host, "pid": pid, "token": "theirs", "renewed_s": time.time() - age_s, "space": space}
    storage.write_bytes(f"{output}/_fal/lock", json.dumps(data).encode())


def test_a_lease_in_s3_is_held_and_given_back(bucket: str) -> None:
    output = f"{bucket}/lease-held"
    with run_lock.exclusive(output) as check:
        check()
        words = f"is being written by process {os.getpid()} on "
        with pytest.raises(OutputError, match=words), run_lock.exclusive(output):
            pass
    assert not storage.exists(f"{output}/_fal/lock")


def test_a_lease_of_another_machine_counts_while_it_is_renewed(bucket: str) -> None:
    output = f"{bucket}/lease-other"
    leave_lease(output, host="elsewhere", pid=1, age_s=5.0)
    with pytest.raises(OutputError, match="process 1 on elsewhere"), run_lock.exclusive(output, lease_s=60.0):
        pass


@pytest.mark.parametrize("age_s", [61.0, 7200.0, -7200.0])
def test_a_lease_that_nobody_renews_counts_no_longer(
    bucket: str, age_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    output = f"{bucket}/lease-left"
    leave_lease(output, host="elsewhere", pid=1, age_s=age_s)
    with run_lock.exclusive(output, lease_s=0.4):
        pass
    assert "process 1 on elsewhere left" in caplog.text
    assert "seems to be dead: watching" in caplog.text


@pytest.mark.parametrize("skew_s", [7200.0, -7200.0])
def test_a_lease_that_is_renewed_counts_whatever_the_clock_of_its_machine_says(bucket: str, skew_s: float) -> None:
    output = f"{bucket}/lease-skewed"
    leave_lease(output, host="elsewhere", pid=1, age_s=skew_s)
    is_over = threading.Event()

    def renew() -> None:
        while not is_over.wait(0.01):
            leave_lease(output, host="elsewhere", pid=1, age_s=skew_s)

    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(renew)
        try:
            with (
                pytest.raises(OutputError, match="process 1 on elsewhere"),
                run_lock.exclusive(output, lease_s=2.0),
            ):
                pass
        finally:
            is_over.set()
        renewing.result()


def test_a_lease_of_a_dead_process_here_counts_no_longer(bucket: str) -> None:
    output = f"{bucket}/lease-dead"
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    host, pid = socket.gethostname(), int(done.stdout)
    leave_lease(output, host=host, pid=pid, age_s=0.0, space=run_lock._space())
    with run_lock.exclusive(output):
        pass
    # Another container may share the host's name: there the number means another process.
    leave_lease(output, host=host, pid=pid, age_s=0.0, space="another boot, another container")
    with pytest.raises(OutputError, match="is being written by process"), run_lock.exclusive(output):
        pass


def test_half_a_lease_is_none(bucket: str) -> None:
    output = f"{bucket}/lease-half"
    storage.write_bytes(f"{output}/_fal/lock", b'{"host": "x"')
    with run_lock.exclusive(output):
        pass


def test_a_lease_that_another_job_took_is_noticed_and_left_alone(bucket: str) -> None:
    output = f"{bucket}/lease-lost"
    with run_lock.exclusive(output, lease_s=0.4) as check:
        leave_lease(output, host="elsewhere", pid=1, age_s=0.0)
        wait_until(lambda: "was taken by another job" in problem_of(check))
    assert json.loads(storage.read_bytes(f"{output}/_fal/lock"))["host"] == "elsewhere"


def problem_of(check: run_lock.Check) -> str:
    try:
        check()
    except OutputError as error:
        return str(error)
    return ""


def test_a_lease_that_is_gone_was_taken_and_given_back_by_another_job(bucket: str) -> None:
    output = f"{bucket}/lease-gone"
    with run_lock.exclusive(output, lease_s=0.4) as check:

        def is_noticed() -> bool:
            storage.remove(f"{output}/_fal/lock")  # it may just be renewed
            return "was taken by another job" in problem_of(check)

        wait_until(is_noticed)
    assert not storage.exists(f"{output}/_fal/lock")


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(OutputError, match=r"cannot lock .*: No locks available"), run_lock.exclusive(str(tmp_path)):
        pass
