from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.ablation import SCALES, executed, pending_of, write_report
from bench.ablation_data import DATA_SETS
from bench.ablation_rows import Row
from bench.ablation_runs import Run
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
    scale = SCALES[name]()
    assert set(scale.budgets) == set(DATA_SETS)
    for budget in scale.budgets.values():
        assert budget.train_config(seed=2).seed == 2
