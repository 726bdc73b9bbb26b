"""Output folders that cannot take a run, or only half of one: said in one sentence, and mended by the same command."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs import label_corpus
from pipelines import label_parts
from tests.helpers.corpus import digests, write_broken, write_model, write_videos

ROOT = Path(__file__).resolve().parents[3]
TABLES = ("labels", "failures", "predictions")
SETTINGS = ("tracking.is_enabled=false", "label.part_videos=2", "label.max_failed_share=1", "label.batch_clips=2")


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_videos(folder, 5)
    write_broken(folder)
    return folder


def arguments(videos: Path, output: Path, model_dir: Path, *settings: str) -> list[str]:
    return ["--input", str(videos), "--output", str(output), "--model", str(model_dir), *SETTINGS, *settings]


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.ray
@pytest.mark.slow
def test_a_full_disk_ends_the_job_and_more_room_lets_it_finish(
    tmp_path: Path, videos: Path, model_dir: Path, ray_local: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert label_corpus.main(arguments(videos, tmp_path / "clean", model_dir, *ray_local)) == 0
    with mounted(tmp_path / "disk", "size=128k") as disk:
        output = disk / "out"
        assert label_corpus.main(arguments(videos, output, model_dir, *ray_local)) == 1
        assert "No space left on device" in capfd.readouterr().err
        tables_there = digests(output, *TABLES)
        clean = digests(tmp_path / "clean", *TABLES)
        marked = label_parts.read_marks(str(output))
        assert len(marked) < len(clean) // 3
        assert all(clean[name] == digest for name, digest in tables_there.items())  # nothing half-written has a name
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert label_corpus.main(arguments(videos, output, model_dir, *ray_local)) == 0
        assert digests(output, *TABLES) == clean


def test_an_output_that_cannot_be_written_is_said_before_anything_starts(
    tmp_path: Path, videos: Path, model_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with mounted(tmp_path / "disk", "size=64k,ro") as disk:
        assert label_corpus.main(arguments(videos, disk / "out", model_dir)) == 1
    said = capfd.readouterr().err
    assert "Read-only file system" in said
    assert "Traceback" not in said


@pytest.mark.ray
@pytest.mark.slow
def test_parts_that_lost_a_file_are_done_again_wherever_the_output_lies(
    tmp_path: Path, model_dir: Path, ray_local: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "corpus"
    write_videos(corpus, 5)
    output = corpus / "labels of it"  # in the very folder that is labelled
    assert label_corpus.main(arguments(corpus, output, model_dir, *ray_local)) == 0
    clean = digests(output, *TABLES)
    first, second, *_ = sorted((output / "labels").iterdir())
    first.unlink()
    (output / "_fal" / "done" / f"{second.stem}.json").unlink()
    second.write_bytes(second.read_bytes()[:100])
    (output / "labels" / ".writing-dead").write_bytes(b"half a table")
    assert label_corpus.main(arguments(corpus, output, model_dir, *ray_local)) == 0
    assert digests(output, *TABLES) == clean
    assert not list(output.rglob(".writing-*"))
    capfd.readouterr()
    assert label_corpus.main(arguments(corpus, output, model_dir, *ray_local)) == 0
    assert "everything is labelled already: nothing to do" in capfd.readouterr().out


@pytest.mark.ray
@pytest.mark.slow
def test_a_second_job_on_the_same_output_is_refused_while_the_first_goes_on(
    tmp_path: Path, videos: Path, model_dir: Path, ray_local: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    script = [sys.executable, str(ROOT / "jobs" / "label_corpus.py"), *arguments(videos, output, model_dir)]
    refused = threading.Event()
    with subprocess.Popen([*script, "ray.num_cpus=3"], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        for line in first.stdout:
            if line.startswith("labelling:") and not refused.is_set():
                assert label_corpus.main(arguments(videos, output, model_dir, *ray_local)) == 1
                refused.set()
    assert refused.is_set()
    assert first.returncode == 0
    words = f"'{output}' is being written by process {first.pid} "
    assert words in capfd.readouterr().err
    assert len(label_parts.read_marks(str(output))) > 1
