"""The model's stage: every batch is answered by one acknowledgement, also one that cannot be done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import label_parts, tables
from pipelines.label_stages import LabelPlan, PrepareItems
from pipelines.predict_stage import ACKS, PredictBatches
from tests.helpers.corpus import write_broken, write_model, write_videos
from tests.helpers.label_plan import begin_run, item_table


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("place")
    write_videos(folder / "videos", 2)
    write_broken(folder / "videos")
    return folder / "videos", write_model(folder / "model")


def begun(place: tuple[Path, Path], output: Path) -> tuple[LabelPlan, str]:
    plan, parts = begin_run(place[0], output, place[1], 100)
    return plan, parts.names[0]


def test_batches_are_kept_and_acknowledged(place: tuple[Path, Path], tmp_path: Path) -> None:
    plan, part = begun(place, tmp_path)
    preparing, predicting = PrepareItems(plan), PredictBatches(plan)
    answers = [predicting(row) for row in preparing(item_table(part))]
    preparing.preparer.close()
    assert all(answer.schema == ACKS for answer in answers)
    acks = [ack for answer in answers for ack in answer.to_pylist()]
    assert [(a["item_index"], a["batch_index"], a["error"]) for a in acks] == [(3, i, "") for i in range(len(acks))]
    assert [a["is_last"] for a in acks] == [False] * (len(acks) - 1) + [True]
    assert sum(a["num_videos"] for a in acks) == 5
    assert (sum(a["num_failed"] for a in acks), sum(a["num_clips"] for a in acks)) == (3, 4)
    assert all(a["prepare_busy_s"] > 0 for a in acks)
    kept = [tables.read_table(label_parts.batch_uri(str(tmp_path), "run", part, 3, i)) for i in range(len(acks))]
    assert [table.num_rows for table in kept] == [a["num_clips"] for a in acks]


def test_another_model_is_said_and_an_error_from_before_is_handed_on(place: tuple[Path, Path], tmp_path: Path) -> None:
    plan, part = begun(place, tmp_path)
    preparing = PrepareItems(plan)
    row = next(iter(preparing(item_table(part))))
    preparing.preparer.close()
    (ack,) = PredictBatches(replace(plan, model_id="x"))(row).to_pylist()
    assert ack["error"].endswith("on this worker, the job began with x")
    (missing,) = PredictBatches(replace(plan, model_dir=str(tmp_path / "gone")))(row).to_pylist()
    assert "gone: no such directory" in missing["error"]
    broken = PrepareItems(replace(plan, merge=replace(plan.merge, manifest=str(tmp_path / "none.parquet"))))
    (answer,) = broken(item_table(part))
    broken.preparer.close()
    (handed_on,) = PredictBatches(plan)(answer).to_pylist()
    assert handed_on["error"].startswith("FileNotFoundError: ")
    assert (handed_on["num_videos"], handed_on["is_last"]) == (0, True)
