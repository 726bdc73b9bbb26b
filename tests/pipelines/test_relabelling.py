"""A stored run and what new labels of it are made with; the job's own tests run the whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.relabel_corpus import write_run
from fal_model.calibration import Calibration
from fal_model.errors import ConfigError, OutputError, TaxonomyError
from fal_model.taxonomy import Node, Taxonomy
from pipelines import label_parts, relabelling, run_record, storage, tables
from pipelines.config import LabelConfig
from pipelines.relabelling import StoredRun
from tests.helpers.model import TREE

CONFIG = LabelConfig(part_videos=8, batch_clips=7, threshold=0.5)
MERGED = Taxonomy([Node("move", "Moving"), Node("news", "News")])


@pytest.fixture
def stored(tmp_path: Path) -> StoredRun:
    write_run(str(tmp_path / "run"), TREE, 20, config=CONFIG, embedding_dim=8)
    return relabelling.open_run(str(tmp_path / "run"))


def test_a_run_says_its_parts_videos_and_classes(stored: StoredRun) -> None:
    assert len(stored.names) == len(label_parts.read_marks(stored.place))
    assert sorted(stored.video_ids) == [f"video-{n:06d}" for n in range(20)]
    assert stored.record.source.nodes == stored.record.taxonomy.nodes == TREE.nodes


def test_the_key_says_what_changed_and_nothing_else(stored: StoredRun, tmp_path: Path) -> None:
    output = str(tmp_path / "new")
    same = relabelling.plan_relabelling(stored, output, stored.record, LabelConfig(threshold=0.5, part_videos=3))
    assert same.key == stored.run.key
    other = relabelling.plan_relabelling(stored, output, stored.record, LabelConfig(threshold=0.4))
    assert replace(other.key, labelling_id=stored.run.key.labelling_id) == stored.run.key
    merged = replace(stored.record, taxonomy=MERGED, class_map={"run": "move", "tennis": "move"})
    plan = relabelling.plan_relabelling(stored, output, merged, LabelConfig(threshold=0.5))
    assert plan.key.taxonomy_id == MERGED.taxonomy_id
    assert plan.key.model_id not in {stored.run.key.model_id, ""}
    assert plan.key.prediction_id == stored.run.key.prediction_id
    less = replace(merged, class_map={"run": "move"})
    assert relabelling.plan_relabelling(stored, output, less, LabelConfig()).key.model_id != plan.key.model_id


def test_settings_of_the_predictions_stay_with_them(stored: StoredRun, tmp_path: Path) -> None:
    plan = relabelling.plan_relabelling(stored, str(tmp_path / "new"), stored.record, LabelConfig(threshold=0.2))
    relabelling.begin(plan, stored)
    kept = run_record.last_run(str(tmp_path / "new")).settings.label
    assert (kept.part_videos, kept.batch_clips, kept.threshold) == (8, 7, 0.2)


def test_another_calibration_has_its_own_model_id(stored: StoredRun) -> None:
    one = relabelling.with_calibration(stored, Calibration(abstain_below=0.1))
    two = relabelling.with_calibration(stored, Calibration(abstain_below=0.2))
    assert len({one.model_id, two.model_id, stored.record.model_id}) == 3


def test_what_is_missing_is_said(stored: StoredRun, tmp_path: Path) -> None:
    output = str(tmp_path / "new")
    with pytest.raises(ConfigError, match=r"--model: missing; .* does not say how its scores were calibrated"):
        relabelling.plan_relabelling(stored, output, replace(stored.record, calibration=None), CONFIG)
    with pytest.raises(TaxonomyError, match="the model knows nothing of 'move'"):
        relabelling.plan_relabelling(stored, output, replace(stored.record, taxonomy=MERGED), CONFIG)


def test_labels_of_two_settings_are_no_finished_labels(stored: StoredRun) -> None:
    name = stored.names[0]
    label_parts.void_labels(stored.place, name)
    assert relabelling.open_run(stored.place).names == stored.names
    wanted = r"is not finished: 3 of 4 parts, .* videos are done; run label_corpus or relabel again"
    with pytest.raises(ConfigError, match=wanted):
        relabelling.open_run(stored.place, are_labels_read=True)


def test_a_part_that_went_away_stops_the_run(stored: StoredRun, tmp_path: Path) -> None:
    plan = relabelling.plan_relabelling(stored, str(tmp_path / "new"), stored.record, CONFIG)
    name = stored.names[0]
    (tmp_path / "run" / "_fal" / "done" / f"{name}.json").unlink()
    with pytest.raises(OutputError, match=r"has no predictions any more; run label_corpus, then this again"):
        relabelling.relabel_part(plan, name)


def test_a_manifest_that_is_gone_is_said(stored: StoredRun) -> None:
    storage.remove(stored.run.manifest)
    with pytest.raises(OutputError, match=r"cannot read .*manifest-.*; run label_corpus again"):
        relabelling.open_run(stored.place)


def test_pictures_go_along_and_parts_of_other_runs_go(stored: StoredRun, tmp_path: Path) -> None:
    output = str(tmp_path / "new")
    first = stored.names[0]
    storage.write_bytes(label_parts.thumbnails_uri(stored.place, first), b'{"a": "picture"}')
    plan = relabelling.plan_relabelling(stored, output, stored.record, CONFIG)
    assert relabelling.begin(plan, stored) == {}
    strange = label_parts.table_uri(output, "labels", "part-strange")
    storage.copy(label_parts.table_uri(stored.place, "labels", first), strange)
    counts = {name: relabelling.relabel_part(plan, name) for name in stored.names}
    assert relabelling.finish(plan, stored.names, stored.run.manifest) == 1
    assert storage.read_bytes(label_parts.thumbnails_uri(output, first)) == b'{"a": "picture"}'
    assert relabelling.begin(plan, stored) == counts
    assert not storage.exists(strange)
    assert tables.read_folder(storage.join(output, "labels")) is not None


def test_a_folder_with_predictions_of_another_model_is_not_replaced(stored: StoredRun, tmp_path: Path) -> None:
    output = str(tmp_path / "other")
    write_run(output, TREE, 20, config=CONFIG, embedding_dim=8)
    key = run_record.last_run(output).key
    run = run_record.last_run(output)
    run_record.begin(output, replace(key, weights_id="of another model"), run.manifest, run.settings)
    plan = relabelling.plan_relabelling(stored, output, stored.record, CONFIG)
    with pytest.raises(OutputError, match="holds predictions of another model or of other settings, which would be"):
        relabelling.begin(plan, stored)
