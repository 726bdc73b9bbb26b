from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.ablation import SCALES, Budget, executed, pending_of, runs_of, write_report
from bench.ablation_data import DATA_SETS, STANDIN
from bench.ablation_rows import Row
from bench.ablation_runs import Run
from fal_model.spec import Sampling
from tests.helpers.ablation import noise_run, write_noise
from tests.helpers.model import MICRO


@pytest.fixture
def planned(tmp_path: Path) -> list[Run]:
    shards = write_noise(tmp_path / "shards")
    rows = [Row(name="full", config=MICRO), Row(name="without flow", config=replace(MICRO, motion_depth=0))]
    return [noise_run(row, shards) for row in rows]


def test_what_is_finished_is_not_done_again(planned: list[Run], tmp_path: Path) -> None:
    folder = tmp_path / "results"
    assert [run.row.name for run, _ in executed(planned[:1], folder, 1, 1)] == ["full"]
    assert pending_of(planned, folder, [""]) == planned[1:]
    text = write_report(planned, folder, tmp_path)
    assert "| full | 1 |" in text
    assert "without flow" not in text
    assert len(list(executed(pending_of(planned, folder, [""]), folder, 1, 1))) == 1
    assert pending_of(planned, folder, [""]) == []


def test_the_report_is_table_picture_and_all_numbers(planned: list[Run], tmp_path: Path) -> None:
    folder = tmp_path / "results"
    results = [result for _, result in executed(planned, folder, 1, 1)]
    text = write_report(planned, folder, tmp_path)
    assert (tmp_path / "ablation.md").read_text(encoding="utf-8") == text
    assert [line.split(" | ")[0] for line in text.splitlines()[4:6]] == ["| full", "| without flow"]
    assert json.loads((tmp_path / "ablation.json").read_bytes()) == json.loads(json.dumps(results))
    assert (tmp_path / "ablation.svg").read_text(encoding="utf-8").count("<circle") == 2


def test_rows_are_chosen_by_words(planned: list[Run], tmp_path: Path) -> None:
    assert pending_of(planned, tmp_path, ["made/without"]) == planned[1:]
    assert pending_of(planned, tmp_path, ["flow", "full"]) == planned
    assert pending_of(planned, tmp_path, ["fights"]) == []


@pytest.mark.slow
def test_two_processes_get_the_same_results(planned: list[Run], tmp_path: Path) -> None:
    one = {run.row.name: result["metrics"] for run, result in executed(planned, tmp_path / "one", 1, 1)}
    two = {run.row.name: result["metrics"] for run, result in executed(planned, tmp_path / "two", 2, 1)}
    assert two == one


@pytest.mark.parametrize("name", sorted(SCALES))
def test_every_scale_has_a_budget_for_every_data_set(name: str) -> None:
    assert set(SCALES[name]().budgets) == set(DATA_SETS)


def test_each_row_gets_its_own_loss_and_shards_and_all_else_alike(tmp_path: Path) -> None:
    folders = {how: write_noise(tmp_path / how.value) for how in (Sampling.KEY_MOMENTS, Sampling.UNIFORM)}
    budget = Budget(steps=30, batch_clips=4, learning_rate=2e-3, is_mirrored=True)
    planned = list(runs_of(STANDIN, MICRO, {"other": MICRO}, folders, budget=budget, seed=5))

    names = [run.row.name for run in planned]
    assert len(set(names)) == len(names)
    assert {"full", "tokens: other", "TimeSformer"} <= set(names)
    for run in planned:
        assert run.train == replace(budget.train_config(5), loss=run.row.loss)
        assert run.shards == folders[run.row.config.clip.sampling]
        assert (run.batch_clips, run.is_mirrored) == (4, True)
    by_name = {run.row.name: run for run in planned}
    assert by_name["without hierarchy loss"].train.loss.hierarchy_weight == 0
    assert [name for name, run in by_name.items() if run.shards == folders[Sampling.UNIFORM]] == [
        "uniform instead of key moments"
    ]
    assert (by_name["full"].train.seed, by_name["full"].train.total_steps) == (5, 30)
    assert by_name["full"].train.learning_rate == 2e-3
