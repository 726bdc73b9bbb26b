"""The job that generates the stand-in corpus."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fal_model.errors import ConfigError, OutputError
from jobs import make_corpus as script
from jobs.runtime.config import load_config
from jobs.runtime.make_corpus import generate
from pipelines import manifest
from pipelines.standin import standin_taxonomy
from tests.helpers.corpus import digests


def test_the_corpus_is_written_to_a_folder() -> None:
    with pytest.raises(ConfigError, match="the stand-in corpus is written to a folder"):
        generate("s3://bucket/corpus", load_config(None))


def test_a_place_that_cannot_be_written_fails_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot write"):
        generate(str(tmp_path / "file" / "corpus"), load_config(None))


@pytest.mark.ray
def test_videos_truth_and_broken_files_are_made_once(tmp_path: Path, ray_local: tuple[str, ...]) -> None:
    settings = ("corpus.train_videos=2", "corpus.val_videos=1", "corpus.test_videos=2", *ray_local)
    arguments = ["--output", str(tmp_path / "corpus"), *settings]

    assert script.main(arguments) == 0

    folder = tmp_path / "corpus"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert (summary["train"], summary["val"], summary["test"]) == (2, 1, 2)
    taxonomy = manifest.read_taxonomy(str(folder / "taxonomy.json"))
    assert taxonomy.taxonomy_id == standin_taxonomy().taxonomy_id
    training, _ = manifest.load_input(str(folder / "train.jsonl"))
    held_out, _ = manifest.load_input(str(folder / "test.jsonl"))
    assert sorted(training["split"].to_pylist()) == ["train", "train", "val"]
    for table in (training, held_out):
        manifest.check_labels(table, taxonomy)
        assert all(Path(uri).is_file() for uri in table["uri"].to_pylist())
    without_truth = [row["video_id"] for row in held_out.to_pylist() if row["labels"] is None]
    assert without_truth == sorted(summary["broken"])
    assert held_out.num_rows == 2 + len(without_truth)
    assert summary["broken"]["broken/empty.mp4"] == "empty_file"

    before = digests(folder, "train", "val", "test", "broken")
    one = next((folder / "train").iterdir())
    one.unlink()
    assert script.main(arguments) == 0
    assert digests(folder, "train", "val", "test", "broken") == before

    assert script.main([*arguments, "corpus.has_broken=false"]) == 0
    assert manifest.load_input(str(folder / "test.jsonl"))[0].num_rows == 2
