from __future__ import annotations

from typing import Any

import pytest

from bench.ablation_tables import differences, grouped, markdown, picture, spread, values_of


def result(row: str, seed: int, top1: float, **metrics: float) -> dict[str, Any]:
    return {
        "data": "made",
        "row": row,
        "seed": seed,
        "device": "cpu",
        "gflop": 0.5,
        "parameters": 1_500_000,
        "train_clips": 80,
        "test_clips": 20,
        "train_s": 9.0,
        "train_cpu_s": 7.0 + seed,
        "metrics": {"top1": top1, **metrics},
        "run": {"train": {"total_steps": 40, "learning_rate": 1e-3}, "batch_clips": 8},
    }


RESULTS = [
    result("full", 0, 0.5, ece=0.1),
    result("without <flow>", 0, 0.4),
    result("full", 1, 0.7, ece=0.3),
    result("without <flow>", 1, 0.5),
    result("without <flow>", 2, 0.9),
]


@pytest.mark.parametrize(
    ("values", "text"), [([], "–"), ([0.25], "0.250"), ([0.5, 0.7], "0.600 ± 0.141"), ([0.2, 0.2], "0.200 ± 0.000")]
)
def test_spread_is_mean_and_deviation_of_the_sample(values: list[float], text: str) -> None:
    assert spread(values) == text


def test_differences_have_a_sign() -> None:
    assert spread([0.1], is_signed=True) == "+0.100"
    assert spread([-0.1, -0.2], is_signed=True) == "-0.150 ± 0.071"


def test_only_seeds_that_both_have_are_compared() -> None:
    table = grouped(RESULTS)["made"]
    assert list(table) == ["full", "without <flow>"]
    assert values_of(table["without <flow>"], "top1") == [0.4, 0.5, 0.9]
    assert differences(table["without <flow>"], table["full"], "top1") == pytest.approx([-0.1, -0.2])
    assert differences(table["without <flow>"], table["full"], "ece") == []


def test_layouts_are_compared_with_the_one_that_was_chosen() -> None:
    lines = markdown(
        [
            result("full", 0, 0.5),
            result("tokens: as fal-375m", 0, 0.6),
            result("tokens: merged early", 0, 0.7),
        ]
    ).splitlines()
    assert [line.split(" | ")[4:6] for line in lines[4:7]] == [["0.500", ""], ["0.600", ""], ["0.700", "+0.100"]]


def test_the_table_has_a_line_per_row() -> None:
    assert markdown(RESULTS).splitlines() == [
        "### made: 80 clips to train, 20 to test, 40 steps of 8, learning rate 0.001",
        "",
        "| row | seeds | GFLOP per clip | parameters, M | top-1 | top-1 − full | ECE | training, s |",
        "|---|---|---|---|---|---|---|---|",
        "| full | 2 | 0.500 | 1.50 | 0.600 ± 0.141 |  | 0.200 ± 0.141 | 8 |",
        "| without <flow> | 3 | 0.500 | 1.50 | 0.600 ± 0.265 | -0.150 ± 0.071 | – | 8 |",
    ]


def test_the_picture_has_a_dot_per_training() -> None:
    drawn = picture(RESULTS)
    assert drawn.count("<circle") == len(RESULTS)
    assert ">without &lt;flow&gt;</text>" in drawn


def test_nothing_finished_is_an_empty_report() -> None:
    assert markdown([]) == ""
    assert "<circle" not in picture([])
