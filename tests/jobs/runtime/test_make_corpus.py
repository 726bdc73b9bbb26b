"""The job that generates the stand-in corpus."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import s3fs

from fal_model.errors import ConfigError, OutputError
from jobs import make_corpus as script
from jobs.runtime.config import CorpusSection, load_config
from jobs.runtime.make_corpus import generate, plan
from pipelines import manifest
from pipelines.standin import SPLITS, StandinCorpus
from pipelines.standin_classes import choose_classes, standin_taxonomy
from pipelines.standin_files import write_videos
from tests.helpers.corpus import digests
from tests.helpers.processes import PRIVATE_RAY, kill_job_when, run_job
from tests.helpers.s3 import bucket, s3_client, s3_environment, s3_server

__all__ = ["bucket", "s3_client", "s3_environment", "s3_server"]

TINY = StandinCorpus(classes=2, videos_per_class=3, difficulty="easy", picture="tiny")


def test_the_command_line_wins_over_the_section() -> None:
    section = CorpusSection(classes=30, videos_per_class=4, seed=1, difficulty="hard", picture="medium")

    assert plan({}, section) == StandinCorpus(
        classes=30, videos_per_class=4, seed=1, difficulty="hard", picture="medium"
    )
    given = {"classes": "2", "videos_per_class": "3", "seed": "0", "difficulty": "easy", "picture": "tiny"}
    assert plan(given, section) == TINY
    assert plan({"seed": "7", "classes": ""}, section).seed == 7


def test_every_problem_of_the_command_line_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        plan({"classes": "many", "seed": "1.5"}, CorpusSection())
    assert caught.value.problems == [
        "--classes: got 'many', must be a whole number",
        "--seed: got '1.5', must be a whole number",
    ]
    with pytest.raises(ConfigError) as caught:
        plan({"classes": "501", "seed": "-1", "difficulty": "medium"}, CorpusSection())
    assert caught.value.problems == [
        "classes: got 501, must be 2 to 500",
        "seed: got -1, must be ≥ 0",
        "difficulty: got 'medium', must be one of easy, crowded, standard, hard",
    ]


def test_a_place_that_cannot_be_written_fails_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot write"):
        generate(str(tmp_path / "file" / "corpus"), TINY, load_config(None))


@pytest.mark.ray
def test_videos_truth_and_broken_files_are_made_once(
    tmp_path: Path, ray_local: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--output", str(tmp_path / "corpus"), "--classes", "4", "--videos-per-class=3", *ray_local]
    arguments += ["corpus.picture=tiny"]

    assert script.main(arguments) == 0

    folder = tmp_path / "corpus"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert (summary["train"], summary["val"], summary["test"]) == (4, 4, 4)
    assert (summary["classes"], summary["difficulty"]) == (4, "standard")
    taxonomy = manifest.read_taxonomy(str(folder / "taxonomy.json"))
    assert taxonomy.taxonomy_id == standin_taxonomy(4).taxonomy_id
    training, _ = manifest.load_input(str(folder / "train.jsonl"))
    held_out, _ = manifest.load_input(str(folder / "test.jsonl"))
    assert sorted(training["split"].to_pylist()) == ["train"] * 4 + ["val"] * 4
    for table in (training, held_out):
        manifest.check_labels(table, taxonomy)
        assert all(Path(uri).is_file() for uri in table["uri"].to_pylist())
        assert {label for labels in table["labels"].to_pylist() for label in labels or ()} == set(choose_classes(4))
    assert (folder / "contact_sheet.html").read_text(encoding="utf-8").count("<tr>") == 4
    without_truth = [row["video_id"] for row in held_out.to_pylist() if row["labels"] is None]
    assert without_truth == sorted(summary["broken"])
    assert held_out.num_rows == 4 + len(without_truth)
    assert summary["broken"]["broken/empty.mp4"] == "empty_file"

    before = digests(folder, "train", "val", "test", "broken")
    one = next((folder / "train").iterdir())
    one.unlink()
    assert script.main(arguments) == 0
    assert digests(folder, "train", "val", "test", "broken") == before

    assert script.main([*arguments, "corpus.has_broken=false"]) == 0
    assert manifest.load_input(str(folder / "test.jsonl"))[0].num_rows == 4

    capsys.readouterr()
    assert script.main([*arguments, "--seed=1"]) == 1
    assert "is of a corpus with other settings (classes, seed, difficulty or picture)" in capsys.readouterr().err
    assert digests(folder, "train", "val", "test", "broken") == before


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_run_goes_on_and_leaves_the_same_files(tmp_path: Path, ray_local: tuple[str, ...]) -> None:
    corpus = replace(TINY, classes=20, videos_per_class=16)
    settings = ["--classes=20", "--videos-per-class=16", "--difficulty=easy", "--picture=tiny"]
    arguments = ["--output", str(tmp_path), *settings, "corpus.has_broken=false"]
    train = tmp_path / "train"

    def some_are_there() -> bool:
        return train.is_dir() and sum(not p.name.startswith(".") for p in train.iterdir()) >= 5

    assert kill_job_when("make_corpus.py", [*arguments, *PRIVATE_RAY], some_are_there) == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in train.iterdir() if not path.name.startswith(".")}
    assert 5 <= len(kept) < corpus.count("train")
    assert not (tmp_path / "train.jsonl").exists()

    assert script.main([*arguments, *ray_local]) == 0

    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    write_videos(corpus.videos("train"), str(tmp_path / "alone"))
    assert digests(train) == digests(tmp_path / "alone")


@pytest.mark.ray
@pytest.mark.slow
def test_a_corpus_is_made_in_s3(tmp_path: Path, bucket: str, s3_client: s3fs.S3FileSystem) -> None:
    # A Ray of its own: its workers must have the variables that lead to the store.
    settings = ["--classes=2", "--videos-per-class=3", "--difficulty=easy", "--picture=tiny", *PRIVATE_RAY]
    done = run_job("make_corpus.py", ["--output", f"{bucket}/corpus", *settings])
    assert done.returncode == 0, done.stderr
    for split in SPLITS:
        write_videos(TINY.videos(split), str(tmp_path / split))
        files = {path.name: path.read_bytes() for path in (tmp_path / split).iterdir()}
        assert {p.rpartition("/")[2]: s3_client.cat_file(p) for p in s3_client.ls(f"{bucket}/corpus/{split}")} == files
    summary = json.loads(s3_client.cat_file(f"{bucket}/corpus/summary.json"))
    assert (summary["train"], summary["val"], summary["test"], len(summary["broken"])) == (2, 2, 2, 9)
    assert s3_client.exists(f"{bucket}/corpus/contact_sheet.html")
