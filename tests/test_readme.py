"""Every command of the README runs: on a demo shrunk to a few videos, word for word otherwise."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.strip().split("    #")[0] for line in README.splitlines() if re.match(r"    \S", line)]
JOBS = [c for c in COMMANDS if c.startswith(".venv/bin/python ")]
OTHERS = {
    "make demo": "demo",
    "make test": "test",
    "make serve": "serve",
    "curl -F file=@video.mp4 http://127.0.0.1:8000/v1/label": "POST /v1/label, in tests/jobs/runtime/test_ray_serve.py",
}
TINY = (
    "corpus.classes=8",
    "corpus.videos_per_class=5",
    "loop.epochs=1",
    "prepare.part_videos=16",
)


def test_every_command_is_known_here() -> None:
    submitted = [c for c in COMMANDS if c.startswith("ray job submit ")]
    assert set(COMMANDS) == {*JOBS, *OTHERS, *submitted}
    assert len(JOBS) >= 5


@pytest.mark.parametrize("target", ["demo", "test", "serve"])
def test_make_targets_exist(target: str, tmp_path: Path) -> None:
    # -n prints what would run; a missing target is an error.
    done = subprocess.run(
        ["make", "-n", target, f"MODEL={tmp_path}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_submitted_jobs_take_these_arguments() -> None:
    for command in (c for c in COMMANDS if c.startswith("ray job submit ")):
        job, *arguments = shlex.split(command.split(" -- python ")[1])
        shown = _run([sys.executable, job, "--help"], ROOT).stdout
        assert all(f"{a} " in shown for a in arguments if a.startswith("--"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out what the README takes for granted: the checkout after ``make demo``."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "jobs").symlink_to(ROOT / "jobs")
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    done = _run(
        [sys.executable, "jobs/demo.py", "--config", str(ROOT / "configs/demo.yaml"), "--output", "demo", *TINY], folder
    )
    # One epoch over 24 videos cannot reach what the demo asks of itself, and it must say so.
    assert done.returncode == 1, done.stderr
    assert "the demo wants at least 0.9" in done.stdout
    assert (folder / "demo" / "report.html").exists()
    for line in (folder / "demo" / "corpus" / "test.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "labels" in row:  # the broken files have none
            (folder / "FOLDER" / row["labels"][0]).mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "demo" / "corpus" / row["uri"], folder / "FOLDER" / row["labels"][0])
    return folder


@pytest.mark.ray
@pytest.mark.slow
def test_the_jobs_run_as_written(checkout: Path) -> None:
    for command in JOBS:
        words = [sys.executable if w == ".venv/bin/python" else w for w in shlex.split(command)]
        done = _run(words, checkout)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert (checkout / "out" / "labels" / "report.html").exists()
    assert (checkout / "out" / "train" / "model" / "model.safetensors").exists()
    assert (checkout / "out" / "eval" / "summary.json").exists()
    assert (checkout / "out" / "scan" / "report.html").exists()
    assert (checkout / "out" / "shards-page" / "shards.html").exists()
    assert json.loads((checkout / "out" / "stand-in" / "summary.json").read_text(encoding="utf-8"))["train"] == 500


@pytest.mark.ray
@pytest.mark.slow
def test_the_python_example_runs(checkout: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(code) == 1
    done = _run([sys.executable, "-c", code[0]], checkout)
    assert done.returncode == 0, done.stderr


def _run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    environment.pop("RAY_ADDRESS", None)
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, env=environment, timeout=600)
