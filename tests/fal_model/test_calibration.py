import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fal_model.calibration import Calibration, Scaling, scaled, scaling_of
from fal_model.errors import ConfigError
from tests.helpers.micro import small_tree

TREE = small_tree()
THRESHOLDS = {node.id: 0.1 * (i + 1) for i, node in enumerate(TREE.nodes)}
FULL = Calibration(
    clip=(Scaling(temperature=1.5, bias=-0.1), Scaling(), Scaling(bias=0.25)),
    frame=(Scaling(temperature=0.7),),
    thresholds=THRESHOLDS,
    frame_thresholds=dict.fromkeys(THRESHOLDS, 0.3),
    abstain_below=0.35,
)


def problems_of(change: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        Calibration.from_dict(FULL.to_dict() | change, TREE)
    return raised.value.problems


def test_the_default_changes_nothing() -> None:
    logits = np.array([[1.5, -2.0]], dtype=np.float32)
    np.testing.assert_array_equal(scaled(logits, Calibration().clip, [0, 1]), logits)
    assert Calibration().class_thresholds(TREE).tolist() == [0.5] * 7
    assert Calibration().class_frame_thresholds(TREE).tolist() == [0.5] * 7
    assert Calibration().abstain_below == 0


@pytest.mark.parametrize("calibration", [Calibration(), FULL])
def test_a_round_trip_through_json(calibration: Calibration) -> None:
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict())), TREE) == calibration


def test_thresholds_are_in_the_order_of_the_classes_or_one_number_for_all() -> None:
    shuffled = replace(FULL, thresholds=dict(reversed(THRESHOLDS.items())))
    assert shuffled.class_thresholds(TREE) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert shuffled.class_frame_thresholds(TREE).tolist() == [0.3] * 7
    assert shuffled.class_thresholds(TREE, 0.0).tolist() == [0.0] * 7
    assert shuffled.class_frame_thresholds(TREE, 0.9).tolist() == [0.9] * 7


def test_what_lies_deeper_takes_the_last_scaling() -> None:
    first, last = Scaling(bias=1), Scaling(bias=2)
    assert [scaling_of((first, last), level) for level in range(4)] == [first, last, last, last]


def test_logits_are_scaled_by_the_level_of_their_class() -> None:
    scalings = (Scaling(temperature=2.0, bias=1.0), Scaling(temperature=0.5))
    found = scaled(np.array([[[4.0, 4.0, 4.0]]], np.float32), scalings, [0, 1, 2])
    assert found.tolist() == [[[3.0, 8.0, 8.0]]]
    assert found.dtype == np.float64


def test_thresholds_of_other_classes_are_refused_where_they_are_used() -> None:
    with pytest.raises(ConfigError, match=r"calibration\.thresholds\.chess: no such class in the taxonomy"):
        Calibration(thresholds=THRESHOLDS | {"chess": 0.5}).class_thresholds(TREE)
    with pytest.raises(ConfigError, match=r"calibration\.frame_thresholds\.news: missing"):
        Calibration(frame_thresholds={"sport": 0.5}).class_frame_thresholds(TREE)


def test_thresholds_of_another_tree_are_a_short_message() -> None:
    of_other_tree = {f"other-{i}": 0.5 for i in range(300)} | {"sport": 0.5}
    with pytest.raises(ConfigError) as raised:
        Calibration(thresholds=of_other_tree).class_thresholds(TREE)
    first, *others = raised.value.problems
    assert first == f"calibration.thresholds: got 301 classes, must be the {len(TREE)} of the taxonomy"
    assert others[0] == "calibration.thresholds.other-0: no such class in the taxonomy"
    assert "calibration.thresholds.news: missing" in others
    assert len(others) <= 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 1}, "calibration.scale: unknown field"),
        ({"clip": 1}, "calibration.clip: got 1, must be a list of scalings, one per level"),
        ({"clip": []}, "calibration.clip: got 0 scalings, must be from 1 to 3, the levels of the taxonomy"),
        (
            {"frame": [{"temperature": 1.0, "bias": 0.0}] * 4},
            "calibration.frame: got 4 scalings, must be from 1 to 3, the levels of the taxonomy",
        ),
        ({"clip": [1]}, "calibration.clip[0]: got 1, must be a mapping"),
        ({"clip": [{"temperature": 1.0}]}, "calibration.clip[0].bias: missing"),
        (
            {"frame": [{"temperature": 1.0, "bias": 0}, {"temperature": 0, "bias": 0}]},
            "calibration.frame[1].temperature: got 0, must be ≥ 0.01 and ≤ 100",
        ),
        ({"thresholds": 0.5}, "calibration.thresholds: got 0.5, must be a mapping of class ids to thresholds"),
        ({"thresholds": THRESHOLDS | {"chess": 0.5}}, "calibration.thresholds.chess: no such class in the taxonomy"),
        (
            {"frame_thresholds": {k: v for k, v in THRESHOLDS.items() if k != "golf"}},
            "calibration.frame_thresholds.golf: missing",
        ),
        (
            {"thresholds": THRESHOLDS | {"golf": 1.5}},
            "calibration.thresholds.golf: got 1.5, must be a number from 0 to 1",
        ),
        (
            {"thresholds": THRESHOLDS | {"golf": True}},
            "calibration.thresholds.golf: got True, must be a number from 0 to 1",
        ),
        ({"abstain_below": "low"}, "calibration.abstain_below: got 'low', must be a number from 0 to 1"),
        ({"abstain_below": float("nan")}, "calibration.abstain_below: got nan, must be a number from 0 to 1"),
    ],
)
def test_one_thing_wrong_is_one_problem(change: dict[str, Any], message: str) -> None:
    assert problems_of(change) == [message]


def test_every_problem_is_listed() -> None:
    thresholds = {k: v for k, v in THRESHOLDS.items() if k != "news"} | {"chess": 0.5, "golf": -1}
    assert problems_of({"thresholds": thresholds, "abstain_below": 2, "clip": [{"bias": 0, "scale": 1}]}) == [
        "calibration.clip[0].scale: unknown field",
        "calibration.clip[0].temperature: missing",
        "calibration.thresholds.chess: no such class in the taxonomy",
        "calibration.thresholds.news: missing",
        "calibration.thresholds.golf: got -1, must be a number from 0 to 1",
        "calibration.abstain_below: got 2, must be a number from 0 to 1",
    ]


def test_a_missing_part_is_named() -> None:
    with pytest.raises(ConfigError) as raised:
        Calibration.from_dict({"clip": [{"temperature": 1.0, "bias": 0.0}]}, TREE)
    names = ("abstain_below", "frame", "frame_thresholds", "thresholds")
    assert raised.value.problems == [f"calibration.{name}: missing" for name in names]


def test_wrong_values_are_refused_in_python_too() -> None:
    with pytest.raises(ConfigError) as raised:
        Calibration(clip=(), thresholds={"golf": 2}, abstain_below=-1)
    assert raised.value.problems == [
        "calibration.clip: got no scaling, must be at least one",
        "calibration.thresholds.golf: got 2, must be a number from 0 to 1",
        "calibration.abstain_below: got -1, must be a number from 0 to 1",
    ]
    nothing: Any = None
    with pytest.raises(ConfigError) as raised:
        Calibration(thresholds=nothing, frame_thresholds=nothing)
    assert raised.value.problems == [
        f"calibration.{name}: got None, must be a mapping of class ids to thresholds"
        for name in ("thresholds", "frame_thresholds")
    ]
    one: Any = (1,)
    several: Any = [Scaling()]
    with pytest.raises(ConfigError) as raised:
        Calibration(clip=one, frame=several)
    assert raised.value.problems == [
        "calibration.clip: got (1,), must be a tuple of Scaling",
        f"calibration.frame: got {several!r}, must be a tuple of Scaling",
    ]
    with pytest.raises(ConfigError, match=r"calibration.bias: got 21, must be ≥ -20 and ≤ 20"):
        Scaling(bias=21)
