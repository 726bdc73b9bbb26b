"""How labels follow from predictions is kept with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fal_model.calibration import Calibration, Scaling
from fal_model.errors import OutputError
from fal_model.taxonomy import Node, Taxonomy
from pipelines import label_parts, labelling_record
from pipelines.config import LabelConfig
from pipelines.labelling_record import LabellingRecord
from tests.helpers.merging import KEY
from tests.helpers.model import TREE

OTHER = Taxonomy([Node("move", "Moving"), Node("news", "News")])
RECORD = LabellingRecord(
    source=TREE,
    taxonomy=OTHER,
    calibration=Calibration(clip=(Scaling(bias=1.0),), abstain_below=0.2),
    model_id="abc",
    class_map={"run": "move"},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    labelling_record.write(str(tmp_path), KEY, RECORD)
    found = labelling_record.read(str(tmp_path), KEY)
    assert (found.source.nodes, found.taxonomy.nodes) == (TREE.nodes, OTHER.nodes)
    assert (found.calibration, found.model_id, found.class_map) == (RECORD.calibration, "abc", {"run": "move"})


def test_no_calibration_stays_none(tmp_path: Path) -> None:
    labelling_record.write(str(tmp_path), KEY, replace(RECORD, calibration=None))
    assert labelling_record.read(str(tmp_path), KEY).calibration is None


def test_one_of_other_labels_is_not_taken(tmp_path: Path) -> None:
    labelling_record.write(str(tmp_path), KEY, RECORD)
    found = labelling_record.read(str(tmp_path), replace(KEY, labelling_id="other"))
    assert (found.source.nodes, found.taxonomy.nodes) == (OTHER.nodes, OTHER.nodes)
    assert (found.calibration, found.model_id, found.class_map) == (None, KEY.model_id, {})


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"does not say its classes: there is no .*; run label_corpus again"):
        labelling_record.read(str(tmp_path), KEY)


@pytest.mark.parametrize("text", ["{", "[]", '{"label_id": "LABEL"}', '{"label_id": "LABEL", "source": {"nodes": []}}'])
def test_a_damaged_one_is_refused(tmp_path: Path, text: str) -> None:
    labelling_record.write(str(tmp_path), KEY, RECORD)
    (tmp_path / "_fal" / "labelling.json").write_text(text.replace("LABEL", KEY.label_id), encoding="utf-8")
    with pytest.raises(OutputError, match=r"labelling.json' is damaged: .*; run label_corpus again"):
        labelling_record.read(str(tmp_path), KEY)


def test_damaged_classes_are_refused(tmp_path: Path) -> None:
    labelling_record.write(str(tmp_path), KEY, RECORD)
    Path(label_parts.taxonomy_uri(str(tmp_path))).write_text("{}", encoding="utf-8")
    with pytest.raises(OutputError, match=r"taxonomy.json' is damaged"):
        labelling_record.read(str(tmp_path), KEY)


def test_only_settings_that_turn_predictions_into_labels_are_hashed() -> None:
    before = labelling_record.labelling_id(LabelConfig())
    assert labelling_record.labelling_id(LabelConfig(part_videos=7, limit=3, thumbnails=1)) == before
    assert labelling_record.labelling_id(LabelConfig(threshold=0.5)) != before
