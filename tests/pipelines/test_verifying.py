"""Whatever was tampered with is named, and nothing else; what nobody touched is the same to the last bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from fal_model.calibration import Calibration
from fal_model.errors import OutputError
from fal_model.model import FALModel
from pipelines import label_parts, relabelling, tables
from pipelines.config import LabelConfig
from pipelines.labelling import label_table
from pipelines.predict import ClipPredictor
from pipelines.records import RECEIPT_KEY
from pipelines.verifying import Cause, Finding, StoredPart, Verdict, Verifier
from tests.helpers.corpus import BROKEN, write_broken, write_model, write_videos
from tests.helpers.label_plan import label_in_process

LABEL = LabelConfig(threshold=0.05, segment_threshold=0.05)
NUM_VIDEOS = 3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_model(folder / "model")
    write_videos(folder / "videos", NUM_VIDEOS)
    write_broken(folder / "videos")
    label_in_process(folder / "videos", folder / "out", folder / "model", LABEL)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Iterator[Path]:
    """Hand out a copy of the output; the videos, whose addresses it holds, are put back as they were."""
    shutil.copytree(made / "out", tmp_path / "out")
    shutil.copytree(made / "videos", tmp_path / "before")
    yield tmp_path / "out"
    shutil.rmtree(made / "videos")
    shutil.copytree(tmp_path / "before", made / "videos")


def findings(place: Path, model: Path) -> dict[str, Finding]:
    stored = relabelling.open_run(str(place))
    verifier = Verifier(stored, ClipPredictor.load(str(model), "cpu"))
    part = StoredPart.read(stored.place, stored.names[0])
    found = [verifier.verify(row, part) for row in label_parts.read_part(stored.run.manifest, 0)]
    verifier.close()
    return {finding.video_id: finding for finding in found}


def changed(place: Path, model: Path) -> dict[str, set[Cause]]:
    return {name: set(finding.causes) for name, finding in findings(place, model).items() if finding.causes}


def rewrite(place: Path, table: str, change: Callable[[list[dict[str, Any]]], None]) -> None:
    (path,) = (place / table).iterdir()
    held = tables.read_table(str(path))
    rows = held.to_pylist()
    change(rows)
    tables.write_table(str(path), pa.Table.from_pylist(rows, schema=held.schema))


def test_what_nobody_touched_is_the_same(place: Path, made: Path) -> None:
    found = findings(place, made / "model")
    assert len(found) == NUM_VIDEOS + len(BROKEN)
    assert {finding.verdict for finding in found.values()} == {Verdict.SAME}
    assert {finding.max_logit_difference for finding in found.values()} == {0.0}


def test_a_row_that_somebody_edited_does_not_follow_from_the_predictions(place: Path, made: Path) -> None:
    def edit(rows: list[dict[str, Any]]) -> None:
        rows[1]["top_score"] += 0.1

    rewrite(place, "labels", edit)
    found = {name: f for name, f in findings(place, made / "model").items() if f.causes}
    ((name, finding),) = found.items()
    assert (set(finding.causes), finding.verdict) == ({Cause.LABELS}, Verdict.DIFFERENT)
    assert finding.causes[Cause.LABELS] == "the row does not follow from the stored predictions: top_score"
    assert name not in BROKEN


def test_predictions_that_somebody_edited_are_not_what_the_model_gives(place: Path, made: Path) -> None:
    def edit(rows: list[dict[str, Any]]) -> None:
        rows[0]["logits"][0] += 3.0

    rewrite(place, "predictions", edit)
    ((_, finding),) = ((n, f) for n, f in findings(place, made / "model").items() if f.causes)
    assert Cause.PREDICTIONS in finding.causes
    assert set(finding.causes) <= {Cause.PREDICTIONS, Cause.LABELS}
    assert "logits that differ by up to 3; all versions are the same" in finding.causes[Cause.PREDICTIONS]


def test_a_file_with_other_bytes_and_one_that_is_gone(place: Path, made: Path) -> None:
    first, second, third = sorted(p for p in (made / "videos").glob("*.mp4") if p.name not in BROKEN)
    shutil.copy(first, second)
    third.unlink()
    found = findings(place, made / "model")
    assert set(found[second.name].causes) == {Cause.CONTENT}
    assert found[second.name].causes[Cause.CONTENT].startswith("the file has other bytes: SHA-256 ")
    assert set(found[third.name].causes) == {Cause.VIDEO}
    assert found[third.name].causes[Cause.VIDEO].startswith("the video cannot be used now: not_found: ")
    assert sum(bool(f.causes) for f in found.values()) == 2


def test_failures_that_end_otherwise_now(place: Path, made: Path) -> None:
    good = min(p for p in (made / "videos").glob("*.mp4") if p.name not in BROKEN)
    shutil.copy(good, made / "videos" / "text.mp4")
    (made / "videos" / "zeros.mkv").write_bytes(b"")
    found = findings(place, made / "model")
    assert found["text.mp4"].causes == {Cause.OUTCOME: "the video failed then (not_a_video) and can be labelled now"}
    assert found["zeros.mkv"].causes == {
        Cause.OUTCOME: f"the video fails with empty_file now, then with {BROKEN['zeros.mkv']}"
    }
    assert sum(bool(f.causes) for f in found.values()) == 2


def test_a_row_that_is_missing_is_said(place: Path, made: Path) -> None:
    rewrite(place, "failures", lambda rows: rows.clear())
    found = changed(place, made / "model")
    assert found == {name: {Cause.LABELS} for name in BROKEN}


def test_predictions_without_a_receipt_are_said(place: Path) -> None:
    (path,) = (place / "predictions").iterdir()
    tables.write_table(str(path), tables.read_table(str(path)).replace_schema_metadata(None))
    with pytest.raises(OutputError, match=r"predictions/.*' has no receipt; FAL did not write it so, and it cannot be"):
        StoredPart.read(str(place), path.stem)


def test_another_decoder_is_told_with_its_versions(place: Path, made: Path) -> None:
    (path,) = (place / "predictions").iterdir()
    held = tables.read_table(str(path))
    metadata = dict(held.schema.metadata)
    receipt = json.loads(metadata[RECEIPT_KEY])
    receipt["decoding"]["pyav"] = ["1.2.3"]
    rows = held.to_pylist()
    rows[0]["input_sha256"] = "0" * 64
    metadata[RECEIPT_KEY] = json.dumps(receipt).encode()
    tables.write_table(str(path), pa.Table.from_pylist(rows, schema=held.schema.with_metadata(metadata)))
    ((_, finding),) = ((n, f) for n, f in findings(place, made / "model").items() if f.causes)
    assert set(finding.causes) == {Cause.DECODER}
    told = finding.causes[Cause.DECODER]
    assert told.startswith("the same bytes give other clips: input_sha256; pyav ")
    assert told.endswith(", then 1.2.3")


def altered_model(made: Path, folder: Path, change: Callable[[FALModel], FALModel | None]) -> Path:
    model = FALModel.from_pretrained(made / "model")
    (change(model) or model).save_pretrained(folder)
    return folder


def test_another_weight_is_another_model(place: Path, made: Path, tmp_path: Path) -> None:
    def nudge(model: FALModel) -> None:
        with torch.no_grad():
            next(model.parameters()).add_(0.01)

    found = findings(place, altered_model(made, tmp_path / "other", nudge))
    labelled = [f for name, f in found.items() if name not in BROKEN]
    assert {frozenset(f.causes) for f in labelled} == {frozenset({Cause.MODEL})}
    assert labelled[0].causes[Cause.MODEL].startswith("the model has other weights or another configuration: ")


def test_another_calibration_is_said_to_be_that(place: Path, made: Path, tmp_path: Path) -> None:
    def calibrate(model: FALModel) -> None:
        model.calibration = Calibration(abstain_below=0.75)

    found = findings(place, altered_model(made, tmp_path / "other", calibrate))
    told = {f.causes[Cause.MODEL] for name, f in found.items() if name not in BROKEN}
    assert told == {"the weights are the same, but the model has another calibration"}


def test_another_preprocessing_is_another_model_too(place: Path, made: Path, tmp_path: Path) -> None:
    def sampled(model: FALModel) -> FALModel:
        config = replace(model.config, clip=replace(model.config.clip, window_s=0.5))
        other = FALModel(config, model.taxonomy)
        other.load_state_dict(model.state_dict())
        return other

    found = changed(place, altered_model(made, tmp_path / "other", sampled))
    assert {frozenset(causes) for causes in found.values()} == {frozenset({Cause.PREPROCESSING, Cause.MODEL})}
    assert len(found) == NUM_VIDEOS


def test_numbers_that_differ_in_the_last_bits_are_close(place: Path, made: Path) -> None:
    def edit(rows: list[dict[str, Any]]) -> None:
        rows[0]["logits"][0] += 1e-4

    rewrite(place, "predictions", edit)
    stored = relabelling.open_run(str(place))
    (part,) = stored.names
    labeller = relabelling.plan_relabelling(stored, "", stored.record, stored.run.settings.label).labeller
    predictions = tables.read_table(label_parts.table_uri(str(place), "predictions", part))
    tables.write_table(label_parts.table_uri(str(place), "labels", part), label_table(predictions, labeller))
    ((_, finding),) = ((n, f) for n, f in findings(place, made / "model").items() if f.causes)
    assert (set(finding.causes), finding.verdict) == ({Cause.NUMERICS}, Verdict.CLOSE)
    assert finding.max_logit_difference == pytest.approx(1e-4, rel=0.1)
