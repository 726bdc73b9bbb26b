"""Who may go on in an output folder, and what is said of what made it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from fal_model.errors import OutputError
from pipelines import label_parts, run_record, storage
from pipelines.config import LabelConfig
from pipelines.label_parts import LabelKey
from pipelines.limits import DecodeLimits
from pipelines.parts import RunKey
from pipelines.records import SCHEMA_VERSION
from pipelines.run_record import LastRun, Settings
from tests.pipelines.test_label_parts import KEY, planned

SETTINGS = Settings(LabelConfig(threshold=0.25, max_labels=7), DecodeLimits(max_streams=3))


def begin(output: str, video_ids: list[str], key: LabelKey = KEY) -> str:
    uri = label_parts.write_manifest(output, planned(video_ids, 4))
    run_record.begin(output, key, uri, SETTINGS)
    return uri


def test_a_new_folder_is_taken_and_the_next_run_hears_what_made_it(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    assert run_record.claim(output, KEY, ["a"]) is None
    assert not (tmp_path / "out" / "_fal").exists()
    uri = begin(output, ["a", "b"])
    assert run_record.claim(output, replace(KEY, model_id="x"), ["b", "c"]) == KEY
    assert run_record.last_run(output) == LastRun(KEY, uri, SETTINGS)


def test_videos_that_are_not_there_any_more_are_counted(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    assert run_record.num_videos_gone(output, ["a"]) == 0
    begin(output, ["a", "b", "c"])
    assert run_record.num_videos_gone(output, ["c", "d"]) == 2
    assert run_record.num_videos_gone(output, ["a", "b", "c", "d"]) == 0


def test_a_run_that_died_before_its_manifest_was_written_is_gone_on_with(tmp_path: Path) -> None:
    run_record.begin(str(tmp_path), KEY, "manifest-none.parquet", SETTINGS)
    assert run_record.claim(str(tmp_path), KEY, ["a"]) == KEY


def test_another_corpus_is_refused(tmp_path: Path) -> None:
    begin(str(tmp_path), ["a", "b"])
    with pytest.raises(OutputError, match="holds another corpus: none of its 2 videos is among the 1 of this run; use"):
        run_record.claim(str(tmp_path), KEY, ["c"])


@pytest.mark.parametrize("table", label_parts.TABLES)
def test_tables_that_fal_did_not_begin_are_left_alone(tmp_path: Path, table: str) -> None:
    storage.write_bytes(str(tmp_path / table / "mine.parquet"), b"x")
    with pytest.raises(OutputError, match=f"already holds '{table}' that this FAL did not begin; use another --output"):
        run_record.claim(str(tmp_path), KEY, ["a"])


def test_the_folder_of_another_job_or_of_an_older_fal_is_refused(tmp_path: Path) -> None:
    others: list[object] = [asdict(RunKey("m", "o", "t", "p", "s", 3)), {"job": "scan"}, []]
    for data in others:
        storage.write_bytes(str(tmp_path / "_fal" / "run.json"), json.dumps(data).encode())
        with pytest.raises(
            OutputError, match=r"run\.json' was written by another job, or by an older FAL; use another"
        ):
            run_record.claim(str(tmp_path), KEY, ["a"])


def test_the_folder_of_a_newer_fal_is_refused(tmp_path: Path) -> None:
    begin(str(tmp_path), ["a"], replace(KEY, schema_version=SCHEMA_VERSION + 1))
    words = f"made by a newer FAL: schema version {SCHEMA_VERSION + 1}, this one writes {SCHEMA_VERSION}; use another"
    with pytest.raises(OutputError, match=words):
        run_record.claim(str(tmp_path), KEY, ["a"])


KNOWN = {"job": "labelling", "key": asdict(KEY), "manifest": "x"}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "",
        '{"job": "labelling"}',
        '{"job": "labelling", "key": {}, "manifest": "x"}',
        json.dumps(KNOWN),
        json.dumps(KNOWN | {"settings": {"label": {"max_labels": 0}, "limits": {}}}),
        json.dumps(KNOWN | {"settings": {"label": {"colour": "red"}, "limits": {}}}),
        json.dumps(KNOWN | {"settings": {"label": {}, "limits": []}}),
    ],
)
def test_a_folder_that_cannot_say_what_made_it_is_refused(tmp_path: Path, text: str) -> None:
    storage.write_bytes(str(tmp_path / "_fal" / "run.json"), text.encode())
    with pytest.raises(OutputError, match=r"run\.json' is damaged: it does not say which run made the folder"):
        run_record.claim(str(tmp_path), KEY, ["a"])


def test_a_folder_without_a_run_has_no_last_one(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"is no output folder of label_corpus: there is no _fal/run\.json"):
        run_record.last_run(str(tmp_path))


def test_a_place_that_takes_no_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        run_record.claim(str(tmp_path / "file"), KEY, ["a"])


def test_what_differs_is_said_in_words() -> None:
    def said(**changes: str) -> list[str]:
        return run_record.differences(KEY, LabelKey(**(asdict(KEY) | changes)))

    assert said() == []
    assert said(labelling_id="x") == ["thresholds or other settings of labels"]
    assert said(model_id="x") == ["the calibration"]
    assert said(model_id="x", weights_id="x") == ["the model's weights"]
    assert said(model_id="x", taxonomy_id="x", pipeline_id="x") == ["the preprocessing", "the taxonomy"]


def test_the_same_in_s3(bucket: str) -> None:
    output = f"{bucket}/out"
    uri = begin(output, ["a", "b", "c"])
    assert run_record.claim(output, KEY, ["c"]) == KEY
    assert run_record.last_run(output).manifest == uri
