from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import doctor
from pipelines.doctor import (
    Fact,
    Status,
    build_facts,
    codec_fact,
    describe,
    machine_facts,
    package_facts,
    python_fact,
    setting_facts,
    space_facts,
)
from pipelines.ffmpeg_builds import FFmpegBuild
from tests.helpers import free_worker

ROOT = Path(__file__).resolve().parents[2]


def named(facts: list[Fact], name: str) -> Fact:
    (found,) = (f for f in facts if f.name == name)
    return found


def test_a_machine_that_runs_these_tests_is_well() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.doctor", "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    facts = {f["name"]: f for f in json.loads(done.stdout)["facts"]}
    assert done.returncode == 0, done.stdout
    assert {"Python", "memory", "FFmpeg", "decoders", "decoding", "sandbox", "ray", "S3 credentials"} <= set(facts)
    assert facts["decoding"]["found"].startswith("4 frames, 1 clip")
    assert not [f for f in facts.values() if f["status"] == "ok" and f["advice"]]


def test_the_limits_of_a_container_are_told(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{2 * 2**30}\n")
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    facts = machine_facts(tmp_path)
    assert named(facts, "processor").found.endswith("container 1.5")
    memory = named(facts, "memory")
    assert (memory.status, memory.advice) == (
        Status.WARN,
        "a child may use 6.0 GiB by default: set limits.memory_bytes lower",
    )
    assert memory.found.endswith("container 2.0 GiB")


def test_no_container_is_no_limit(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert "container" not in "".join(f.found for f in machine_facts(tmp_path))


def test_a_machine_without_shared_memory_is_told_what_to_do(tmp_path: Path) -> None:
    shared = named(space_facts(tmp_path / "none"), "shared memory")
    assert shared.status is Status.WARN
    assert shared.advice.endswith("--shm-size=1g or more")


def test_other_pythons_are_refused() -> None:
    assert python_fact("3.11.7").status is Status.OK
    found = python_fact("3.13.0")
    assert (found.status, found.advice) == (Status.FAIL, "Python 3.11 is needed: make setup")


@pytest.mark.parametrize(
    ("version", "is_accepted", "status", "says"),
    [
        ("8.1.2", False, Status.OK, ""),
        ("8.1.1", False, Status.FAIL, "install a newer PyAV"),
        ("8.1.1", True, Status.WARN, "FAL_ALLOW_OLD_FFMPEG=1 accepts that"),
        ("N-1234-gabcdef", False, Status.WARN, "no release"),
    ],
)
def test_an_old_ffmpeg_is_told(version: str, is_accepted: bool, status: Status, says: str) -> None:
    build = FFmpegBuild(version, "18.0", {"libavcodec": "62.1"})
    found = named(build_facts(build, is_accepted=is_accepted), "FFmpeg")
    assert found.status is status
    assert says in found.advice


def test_a_build_that_lacks_something_is_told() -> None:
    found = codec_fact("decoder", ["h264", "no_such_decoder"], "such videos are refused")
    assert (found.name, found.status, found.found) == ("decoders", Status.WARN, "1 of 2 that may be used")
    assert found.advice.startswith("without no_such_decoder: such videos are refused; ")


def test_what_is_not_installed_is_told() -> None:
    assert [(f.name, f.status, f.found) for f in package_facts(["no-such-package"], ["no-other-package"])] == [
        ("no-such-package", Status.FAIL, "not installed"),
        ("no-other-package", Status.WARN, "not installed"),
    ]


@pytest.mark.parametrize("error", ["ImportError", "OSError"])
def test_a_library_that_does_not_load_is_a_fact_and_exit_code_1(tmp_path: Path, error: str) -> None:
    (tmp_path / "av").mkdir()
    (tmp_path / "av" / "__init__.py").write_text(f"raise {error}('libavcodec.so.62: cannot open shared object file')\n")
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.doctor", "--json"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    broken = [f for f in json.loads(done.stdout)["facts"] if f["name"] == "installation"]
    assert broken
    assert {f["found"] for f in broken} == {f"{error}: libavcodec.so.62: cannot open shared object file"}
    assert {(f["status"], f["advice"]) for f in broken} == {("fail", "make setup")}


def test_a_machine_on_which_nothing_decodes_is_broken() -> None:
    (found,) = doctor.decoding_facts("pipelines.no_such_module")
    assert found.status is Status.FAIL
    assert "could not start" in found.found


def test_a_weak_sandbox_is_told() -> None:
    found = named(doctor.decoding_facts(free_worker.MODULE), "sandbox")
    assert (found.status, found.found) == (Status.WARN, "no filter is known for 'pdp11'")


def test_credentials_are_named_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[default]\naws_secret_access_key = s3cret\n")
    facts = setting_facts({"AWS_SECRET_ACCESS_KEY": "s3cret", "FAL_REAL_VIDEOS": str(tmp_path / "none")}, tmp_path)
    assert named(facts, "S3 credentials").found == "AWS_SECRET_ACCESS_KEY, ~/.aws/credentials"
    assert "s3cret" not in describe(facts)
    assert named(facts, "FAL_REAL_VIDEOS").status is Status.WARN
    assert named(setting_facts({}, tmp_path / "none"), "FAL_REAL_VIDEOS").found == "not set"


def test_a_person_reads_one_line_a_fact_and_what_to_do() -> None:
    text = describe([Fact("disk", Status.OK, "9 GiB free"), Fact("FFmpeg", Status.FAIL, "4.4", "install a newer one")])
    assert text.splitlines() == [
        "ok    disk    9 GiB free",
        "fail  FFmpeg  4.4",
        "              → install a newer one",
        "",
        "1 broken, 0 to look at",
    ]
    assert describe([Fact("disk", Status.OK, "9 GiB free")]).endswith("everything is as it should be")
