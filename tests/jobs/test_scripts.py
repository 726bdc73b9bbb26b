"""Every job as a program: from any folder, and submitted to a cluster."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.helpers.corpus import BROKEN, write_broken, write_model, write_videos
from tests.helpers.processes import DEADLINE_S, ROOT, run_job, wait_until

SCRIPTS = sorted(path.name for path in (ROOT / "jobs").glob("*.py") if path.name != "__init__.py")
RAY = Path(sys.executable).with_name("ray")


def test_every_script_can_be_executed() -> None:
    assert {"label_corpus.py", "prepare_corpus.py", "train.py", "evaluate.py", "serve.py"} <= set(SCRIPTS)
    for name in SCRIPTS:
        path = ROOT / "jobs" / name
        assert os.access(path, os.X_OK), name
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[0] == "#!/usr/bin/env python3", name
        assert len(lines) <= 60, name


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_and_wrong_usage_work_from_any_folder(script: str, tmp_path: Path) -> None:
    helped = run_job(script, ["--help"], tmp_path)
    assert helped.returncode == 0, helped.stderr
    assert helped.stderr == ""
    for word in ("--config FILE.yaml", "section.key=value", "exit codes: 0 done"):
        assert word in " ".join(helped.stdout.split())

    wrong = run_job(script, ["label.nonsense=1", "loop.workers=0"], tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("2 problems:\n  label.nonsense: unknown setting;")
    assert "Traceback" not in wrong.stderr
    assert wrong.stdout.splitlines()[-1] == "exit code 2: wrong usage"
    assert list(tmp_path.iterdir()) == []


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processes_of(mark: str) -> list[int]:
    """Find the processes whose command line names this cluster's folder; other Rays are left alone."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue  # it has just ended
            if mark.encode() in line:
                found.append(int(folder.name))
    return found


def kill_all(mark: str) -> bool:
    """Kill what is left of a cluster; tell whether nothing was."""
    found = processes_of(mark)
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return not found


@pytest.fixture
def cluster() -> Iterator[str]:
    """Start a Ray cluster of one node with ports and a folder of its own; give the address that jobs are sent to."""
    dashboard = free_port()
    # Jobs are started as `python`: that of the environment the cluster was started in.
    environment = os.environ | {"PATH": f"{RAY.parent}{os.pathsep}{os.environ['PATH']}"}
    # Sockets lie below it, and their paths must be short.
    with tempfile.TemporaryDirectory(prefix="fal", dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = [str(RAY), "start", "--head", f"--port={free_port()}", f"--dashboard-port={dashboard}"]
        command += [
            f"--temp-dir={folder}",
            # The default port of the agent that takes jobs may belong to another Ray on this machine, as of the tests.
            f"--dashboard-agent-listen-port={free_port()}",
            "--num-cpus=4",
            f"--object-store-memory={200 << 20}",
            "--disable-usage-stats",
        ]
        try:
            started = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
            )
            assert started.returncode == 0, started.stdout + started.stderr
            yield f"http://127.0.0.1:{dashboard}"
        finally:
            wait_until(lambda: kill_all(folder))


@pytest.mark.ray
@pytest.mark.slow
def test_a_job_is_submitted_to_a_cluster(cluster: str, tmp_path: Path) -> None:
    write_videos(tmp_path / "videos", 2)
    write_broken(tmp_path / "videos")
    job = ["python", "jobs/label_corpus.py", "--input", str(tmp_path / "videos"), "--output", str(tmp_path / "out")]
    job += ["--model", str(write_model(tmp_path / "model")), "label.max_failed_share=1", "tracking.is_enabled=false"]
    # The checkout is what users are in; .rayignore keeps the environment and the history out of the package.
    command = [str(RAY), "job", "submit", "--address", cluster, "--working-dir", ".", "--", *job]
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}

    tries: list[subprocess.CompletedProcess[str]] = []

    def is_taken() -> bool:
        """Submit; the part of a young cluster that takes jobs may need a moment more than the rest."""
        tries.append(
            subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
            )
        )
        return "No available agent to submit job" not in tries[-1].stderr

    wait_until(is_taken)
    done = tries[-1]

    assert done.returncode == 0, done.stdout + done.stderr
    assert "seen 5 = labelled 2 + failed 3" in done.stdout
    assert "exit code 0: done" in done.stdout
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["labelled"], summary["failed"]) == (2, len(BROKEN))
    assert (tmp_path / "out" / "report.html").is_file()
