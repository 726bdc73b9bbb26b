"""Jobs as processes of their own, that can be killed as a machine that loses power would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
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
    """Start a job, kill it and all its processes with SIGKILL as soon as something has come, and return its exit code.

    Ray's daemons and workers are in process groups of their own. Left alone they notice within seconds that their
    driver is gone, and until then they go on writing: a short job would be finished by them.
    """
    command = [sys.executable, str(ROOT / "jobs" / script), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            wait_until(lambda: process.poll() is not None or has_come())
        finally:
            family = descendants(process.pid)
            if process.poll() is None:
                for pid in (process.pid, *family):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        code = process.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in family))
        return code


def descendants(pid: int) -> list[int]:
    """Return the processes below one, as they are now."""
    parents = {int(p.name): _state_and_parent(int(p.name))[1] for p in Path("/proc").iterdir() if p.name.isdigit()}
    found = [pid]
    for parent in found:
        found += [child for child, its_parent in parents.items() if its_parent == parent]
    return found[1:]


def is_alive(pid: int) -> bool:
    """Tell whether a process still runs; one that only waits to be collected does not."""
    return _state_and_parent(pid)[0] not in {"", "Z"}


def _state_and_parent(pid: int) -> tuple[str, int]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return "", 0  # it has just ended
    return fields[0], int(fields[1])


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
