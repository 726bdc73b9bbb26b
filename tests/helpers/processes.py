"""Jobs as processes of their own, that can be killed as a machine that loses power would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 240.0
POLL_S = 0.02
PRIVATE_RAY = ("ray.address=local", "ray.num_cpus=4", "ray.object_store_mib=200")


def run_job(script: str, arguments: Sequence[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a job to its end."""
    command = [sys.executable, str(ROOT / "jobs" / script), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def kill_job_when(script: str, arguments: Sequence[str], has_come: Callable[[], bool]) -> int:
    """Start a job, kill it and its children with SIGKILL as soon as something has come, and return its exit code.

    Ray's own daemons are in other process groups: they notice that their driver is gone and end by themselves.
    """
    command = [sys.executable, str(ROOT / "jobs" / script), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            wait_until(lambda: process.poll() is not None or has_come())
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def wait_until(is_so: Callable[[], bool]) -> None:
    """Look again and again until something is so, for as long as a busy machine may need.

    Raises:
        TimeoutError: it never was.
    """
    pause = threading.Event()
    end_s = time.monotonic() + DEADLINE_S
    while not is_so():
        if time.monotonic() > end_s:
            raise TimeoutError(f"nothing came within {DEADLINE_S:.0f} s")
        pause.wait(POLL_S)
