from __future__ import annotations

from dataclasses import fields

import pytest

from bench.ablation_data import COARSE, DATA_SETS, EVENT_SET, FIGHTS, STANDIN
from bench.ablation_peers import PEERS
from bench.ablation_rows import FULL, Row, rows
from bench.model_layouts import twins
from fal_model.config import LossConfig, ModelConfig
from fal_model.spec import Sampling
from fal_model.taxonomy import Taxonomy
from tests.helpers.model import MICRO, TREE


def changed(row: Row, full: Row) -> set[str]:
    """Name what a row has other than the full model."""
    config = {f.name for f in fields(ModelConfig) if getattr(row.config, f.name) != getattr(full.config, f.name)}
    loss = {f.name for f in fields(LossConfig) if getattr(row.loss, f.name) != getattr(full.loss, f.name)}
    return config | loss


def test_each_row_lacks_one_thing() -> None:
    full, *others = rows(STANDIN, MICRO, TREE, twins(MICRO))
    assert full == Row(name=FULL, config=MICRO)
    found = {row.name: changed(row, full) for row in others if not row.peer}
    assert found == {
        "without flow": {"motion_depth"},
        "without fusion": {"fusion_depth"},
        "without pyramid": {"pyramid_width"},
        "without hierarchy loss": {"hierarchy_weight"},
        "uniform instead of key moments": {"clip"},
        **{f"tokens: {name}": {"stage_depths"} for name in twins(MICRO)},
    }
    assert [row.peer for row in others if row.peer] == list(PEERS)
    assert all(changed(row, full) <= {"width"} for row in others if row.peer)


def test_labels_without_a_tree_have_no_loss_of_the_tree_to_leave_out() -> None:
    names = [row.name for row in rows(FIGHTS, MICRO, Taxonomy.from_csv("id\nfight\ncalm\n"), {})]
    assert "without hierarchy loss" not in names
    assert "without fusion" in names


def test_short_events_need_few_rows() -> None:
    found = rows(EVENT_SET, MICRO, TREE, {"other": MICRO})
    assert [row.name for row in found] == [FULL, "uniform instead of key moments", "each frame alone"]
    assert [row.config.clip.sampling for row in found] == [
        Sampling.KEY_MOMENTS,
        Sampling.UNIFORM,
        Sampling.KEY_MOMENTS,
    ]


def test_coarse_labels_ask_what_the_tree_is_worth() -> None:
    assert [row.name for row in rows(COARSE, MICRO, TREE, {})] == [FULL, "without hierarchy loss"]


@pytest.mark.parametrize("data", DATA_SETS)
def test_names_tell_rows_apart(data: str) -> None:
    names = [row.name for row in rows(data, MICRO, TREE, twins(MICRO))]
    assert len(set(names)) == len(names)
