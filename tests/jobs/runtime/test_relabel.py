"""Labels anew from predictions: through the job's own command line."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.relabel_corpus import key_of, write_run
from fal_model.calibration import Calibration, Scaling
from fal_model.model import FALModel
from fal_model.taxonomy import Node, Taxonomy
from jobs import relabel
from pipelines import labelling_record, run_lock, run_record, tables
from pipelines.config import LabelConfig
from pipelines.label_parts import TABLES
from pipelines.limits import DecodeLimits
from pipelines.records import RECEIPT_KEY
from pipelines.relabelling import weights_id
from pipelines.run_record import Settings
from tests.helpers.corpus import digests
from tests.helpers.model import TREE, micro_model
from tests.helpers.processes import kill_job_when
from tests.helpers.s3 import bucket, s3_client, s3_environment, s3_server

__all__ = ["bucket", "s3_client", "s3_environment", "s3_server"]

CONFIG = LabelConfig(part_videos=16, threshold=0.5, segment_threshold=0.5)
SETTINGS = ("label.threshold=0.3", "label.segment_threshold=0.3", "tracking.is_enabled=false", "label.part_videos=16")
NUM_VIDEOS = 60


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("stored") / "run")


def made(folder: Path, config: LabelConfig = CONFIG, calibration: Calibration | None = None) -> Path:
    write_run(str(folder), TREE, NUM_VIDEOS, config=config, calibration=calibration, embedding_dim=8)
    return folder


def run(source: Path | str, output: Path | str, *more: str) -> int:
    return relabel.main(["--input", str(source), "--output", str(output), *SETTINGS, *more])


def labels_of(folder: Path | str) -> list[dict[str, Any]]:
    table = tables.read_folder(f"{folder}/labels")
    assert table is not None
    rows: list[dict[str, Any]] = table.sort_by("video_id").to_pylist()
    return rows


def test_other_thresholds_give_what_a_first_run_with_them_gives(
    tmp_path: Path, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = digests(stored)
    assert run(stored, tmp_path / "new") == 0
    clean = made(tmp_path / "clean", replace(CONFIG, threshold=0.3, segment_threshold=0.3))
    assert digests(tmp_path / "new", *TABLES) == digests(clean, *TABLES)
    assert digests(tmp_path / "new", "labels") != digests(stored, "labels")
    assert digests(stored) == before  # the input stays as it was
    assert run_record.last_run(str(tmp_path / "new")).key == run_record.last_run(str(clean)).key
    summary = json.loads((tmp_path / "new" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["job"], summary["seen"], summary["labelled"], summary["failed"]) == ("relabel", 60, 59, 1)
    assert (tmp_path / "new" / "report.html").stat().st_size > 10_000
    assert "60 videos in 4 parts, 0 parts finished before" in capsys.readouterr().out


def test_receipts_go_along_and_nothing_is_copied_on_one_file_system(tmp_path: Path, stored: Path) -> None:
    assert run(stored, tmp_path / "new") == 0
    for old in (stored / "predictions").iterdir():
        assert old.samefile(tmp_path / "new" / "predictions" / old.name)
    for path in (tmp_path / "new" / "labels").iterdir():
        receipt = (tables.read_table(str(path)).schema.metadata or {})[RECEIPT_KEY]
        assert receipt == (tables.read_table(str(stored / "labels" / path.name)).schema.metadata or {})[RECEIPT_KEY]


def test_again_it_has_nothing_to_do_and_a_lost_part_is_made_again(
    tmp_path: Path, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(stored, tmp_path / "new") == 0
    first = digests(tmp_path / "new", *TABLES, "_fal/done")
    capsys.readouterr()
    assert run(stored, tmp_path / "new") == 0
    assert "4 parts finished before" in (said := capsys.readouterr().out)
    assert "everything is labelled already: nothing to do" in said
    lost = next((tmp_path / "new" / "labels").iterdir())
    lost.unlink()
    assert run(stored, tmp_path / "new") == 0
    assert digests(tmp_path / "new", *TABLES, "_fal/done") == first


def test_the_new_folder_can_be_relabelled_in_its_turn(tmp_path: Path, stored: Path) -> None:
    (tmp_path / "map.yaml").write_text("run: move\ntennis: move\n", encoding="utf-8")
    tree = tmp_path / "tree.yaml"
    tree.write_text(yaml.safe_dump({"nodes": [{"id": "move"}, {"id": "studio"}]}), encoding="utf-8")
    wanted = ["--taxonomy", str(tree), "--class-map", str(tmp_path / "map.yaml")]
    assert run(stored, tmp_path / "merged", *wanted) == 0
    # Its tree and map stay, where nothing else is said.
    assert run(tmp_path / "merged", tmp_path / "again", "label.threshold=0.9") == 0
    assert run(stored, tmp_path / "direct", *wanted, "label.threshold=0.9") == 0
    assert digests(tmp_path / "again", *TABLES) == digests(tmp_path / "direct", *TABLES)
    # And the model's own classes come back.
    own = tmp_path / "own.json"
    own.write_text(json.dumps(TREE.to_dict()), encoding="utf-8")
    assert run(tmp_path / "merged", tmp_path / "back", "--taxonomy", str(own)) == 0
    assert run(stored, tmp_path / "plain") == 0
    assert digests(tmp_path / "back", *TABLES) == digests(tmp_path / "plain", *TABLES)


def test_merged_classes_have_the_labels_and_times_of_their_parts(tmp_path: Path, stored: Path) -> None:
    tree = tmp_path / "tree.csv"
    tree.write_text("id,parent\nmove,\nstudio,\n", encoding="utf-8")
    (tmp_path / "map.json").write_text('{"run": "move", "tennis": "move"}', encoding="utf-8")
    assert run(stored, tmp_path / "new", "--taxonomy", str(tree), "--class-map", str(tmp_path / "map.json")) == 0
    assert run(stored, tmp_path / "plain") == 0
    parts = {"run", "tennis"}
    num = 0
    for merged, plain in zip(labels_of(tmp_path / "new"), labels_of(tmp_path / "plain"), strict=True):
        now = {label["label"]: label["score"] for label in merged["labels"]}
        was = {label["label"]: label["score"] for label in plain["labels"]}
        assert now.get("move") == max((was[label] for label in parts & set(was)), default=None)
        assert now.get("studio") == was.get("studio")
        assert bool(parts & {s["label"] for s in plain["segments"]}) <= (
            "move" in {s["label"] for s in merged["segments"]}
        )
        assert merged["top_score"] == plain["top_score"]
        num += "move" in now
    assert num > 5
    ids = {(row["taxonomy_id"], row["model_id"]) for row in labels_of(tmp_path / "new")}
    assert len(ids) == 1
    assert ids.isdisjoint({(row["taxonomy_id"], row["model_id"]) for row in labels_of(tmp_path / "plain")})


def test_another_calibration_counts(tmp_path: Path, stored: Path) -> None:
    calibration = Calibration(clip=(Scaling(bias=1.0),), frame=(Scaling(bias=1.0),), abstain_below=0.9)
    (tmp_path / "calibration.json").write_text(json.dumps(calibration.to_dict()), encoding="utf-8")
    assert run(stored, tmp_path / "new", "--calibration", str(tmp_path / "calibration.json")) == 0
    rows = labels_of(tmp_path / "new")
    clean = made(tmp_path / "clean", replace(CONFIG, threshold=0.3, segment_threshold=0.3), calibration)
    for new, old in zip(rows, labels_of(clean), strict=True):
        assert {**new, "model_id": ""} == {**old, "model_id": ""}
    summary = json.loads((tmp_path / "new" / "summary.json").read_text(encoding="utf-8"))
    assert summary["abstained"] == sum(row["is_abstained"] for row in rows) > 0
    assert {row["model_id"] for row in rows}.isdisjoint({row["model_id"] for row in labels_of(stored)})


def of_model(folder: Path, model: FALModel) -> None:
    """Say that a model made a folder, and that its calibration is not known: as an earlier FAL left it."""
    last = run_record.last_run(str(folder))
    key = replace(last.key, weights_id=weights_id(model.meta()))
    (folder / "_fal" / "labelling.json").unlink()
    run_record.begin(str(folder), key, last.manifest, Settings(CONFIG, DecodeLimits()))
    for mark in (folder / "_fal" / "done").iterdir():
        data = json.loads(mark.read_text(encoding="utf-8"))
        data |= {"prediction_id": key.prediction_id, "label_id": key.label_id}
        mark.write_text(json.dumps(data), encoding="utf-8")


def test_a_model_of_the_same_weights_gives_calibration_and_texts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = made(tmp_path / "run")
    named = Taxonomy([Node(n.id, n.name.upper(), n.parent) for n in TREE.nodes])
    model = micro_model(named)
    model.calibration = Calibration(abstain_below=0.9)
    model.save_pretrained(tmp_path / "model")
    of_model(source, model)
    assert run(source, tmp_path / "new") == 2
    assert "--model: missing;" in capsys.readouterr().err
    assert run(source, tmp_path / "new", "--model", str(tmp_path / "model")) == 0
    assert {row["model_id"] for row in labels_of(tmp_path / "new")} == {model.model_id}
    assert any(row["is_abstained"] for row in labels_of(tmp_path / "new"))
    last = run_record.last_run(str(tmp_path / "new"))
    assert labelling_record.read(str(tmp_path / "new"), last.key).taxonomy.nodes == named.nodes
    assert run(tmp_path / "new", tmp_path / "third") == 0  # from now on it is known


# ---- wrong usage --------------------------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> None:
    captured = capsys.readouterr()
    assert f"exit code {code}" in captured.out
    for text in words:
        assert text in captured.err


def test_what_is_no_finished_labelling_run_is_refused(
    tmp_path: Path, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, tmp_path / "new") == 2
    refused(capsys, 2, "is no output folder of label_corpus")
    assert run(stored, stored) == 2
    refused(capsys, 2, f"--output: got the input folder {str(stored)!r}; take another, or run label_corpus again")
    half = Path(shutil.copytree(stored, tmp_path / "half"))
    next((half / "_fal" / "done").iterdir()).unlink()
    assert run(half, tmp_path / "new") == 2
    refused(capsys, 2, "is not finished: 3 of 4 parts, ", " of 60 videos are done; run label_corpus again")
    old = Path(shutil.copytree(stored, tmp_path / "old"))
    data = json.loads((old / "_fal" / "run.json").read_text(encoding="utf-8"))
    data["key"]["schema_version"] = 3
    (old / "_fal" / "run.json").write_text(json.dumps(data), encoding="utf-8")
    assert run(old, tmp_path / "new") == 2
    refused(capsys, 2, "has tables of schema version 3, this FAL reads 4; run label_corpus again with this version")
    assert not (tmp_path / "new" / "labels").exists()


def test_classes_and_calibrations_that_do_not_fit_are_refused(
    tmp_path: Path, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tmp_path / "tree.csv"
    tree.write_text("id,parent\nswim,\nfly,\n", encoding="utf-8")
    assert run(stored, tmp_path / "new", "--taxonomy", str(tree)) == 2
    refused(capsys, 2, "2 problems", "the model knows nothing of 'swim'", "the model knows nothing of 'fly'")
    tree.write_text("id,parent\nrun,sport\n", encoding="utf-8")
    assert run(stored, tmp_path / "new", "--taxonomy", str(tree)) == 2
    refused(capsys, 2, "'run' has the unknown parent 'sport'")
    path = tmp_path / "calibration.json"
    assert run(stored, tmp_path / "new", "--calibration", str(path)) == 2
    refused(capsys, 2, f"--calibration: no file at {str(path)!r}")
    path.write_text("{", encoding="utf-8")
    assert run(stored, tmp_path / "new", "--calibration", str(path)) == 2
    refused(capsys, 2, "--calibration: cannot read")
    path.write_text("[]", encoding="utf-8")
    assert run(stored, tmp_path / "new", "--calibration", str(path)) == 2
    refused(capsys, 2, "holds a list, must be a JSON object")
    path.write_text(json.dumps(Calibration().to_dict() | {"thresholds": {"swim": 0.5}}), encoding="utf-8")
    assert run(stored, tmp_path / "new", "--calibration", str(path)) == 2
    refused(capsys, 2, "calibration.thresholds.swim: no such class", "calibration.thresholds.run: missing")
    assert run(stored, tmp_path / "new", "--calibration", str(path), "--model", "m") == 2
    refused(capsys, 2, "give one of --model and --calibration")
    micro_model().save_pretrained(tmp_path / "model")
    assert run(stored, tmp_path / "new", "--model", str(tmp_path / "model")) == 2
    refused(capsys, 2, "--model: its weights and configuration have the id", "were made with made up")
    assert not (tmp_path / "new" / "labels").exists()


def test_the_output_of_another_corpus_or_of_a_running_job_is_refused(
    tmp_path: Path, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = run_record.last_run(str(stored))
    other = tmp_path / "other"
    run_record.begin(str(other), last.key, "manifest-x.parquet", last.settings)
    table = tables.read_table(last.manifest, ["video_id"])
    ids = [f"other-{i}" for i in range(table.num_rows)]
    tables.write_table(str(other / "_fal" / "manifest-x.parquet"), table.set_column(0, "video_id", [ids]))
    assert run(stored, other) == 1
    refused(capsys, 1, "holds another corpus")
    with run_lock.exclusive(str(tmp_path / "new")):
        assert run(stored, tmp_path / "new") == 1
    refused(capsys, 1, "is being written by process")


def test_predictions_that_are_gone_stop_the_job(
    tmp_path: Path, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = Path(shutil.copytree(stored, tmp_path / "half"))
    path = next((half / "predictions").iterdir())
    path.write_bytes(path.read_bytes()[:1000])
    assert run(half, tmp_path / "new") == 1
    refused(capsys, 1, "cannot read")


@pytest.mark.slow
def test_killed_at_any_part_it_goes_on_and_leaves_the_same(tmp_path: Path) -> None:
    config = replace(CONFIG, part_videos=1)
    source = made(tmp_path / "run", config)
    assert run(source, tmp_path / "clean") == 0
    arguments = ["--input", str(source), "--output", str(tmp_path / "new"), *SETTINGS]
    done = tmp_path / "new" / "_fal" / "done"
    code = kill_job_when("relabel.py", arguments, lambda: done.is_dir() and len(list(done.iterdir())) > 5)
    assert code == -signal.SIGKILL
    assert run(source, tmp_path / "new") == 0
    assert digests(tmp_path / "new", *TABLES) == digests(tmp_path / "clean", *TABLES)


def test_from_s3_to_s3(bucket: str, tmp_path: Path, stored: Path) -> None:
    write_run(f"{bucket}/run", TREE, NUM_VIDEOS, config=CONFIG, embedding_dim=8)
    assert run(f"{bucket}/run", f"{bucket}/new") == 0
    assert run(stored, tmp_path / "new") == 0
    assert run(f"{bucket}/run", tmp_path / "here") == 0
    assert digests(tmp_path / "here", *TABLES) == digests(tmp_path / "new", *TABLES)
    assert labels_of(f"{bucket}/new") == labels_of(tmp_path / "new")


def test_the_made_up_run_is_what_it_says() -> None:
    assert key_of(TREE, CONFIG).taxonomy_id == TREE.taxonomy_id
