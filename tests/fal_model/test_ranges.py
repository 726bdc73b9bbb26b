import math
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from fal_model.ranges import Range, range_problems


@dataclass
class Sizes:
    share: Annotated[float, Range(gt=0, le=1)] = 0.5
    count: Annotated[int, Range(ge=1, lt=10)] = 1
    name: str = "free"


@dataclass
class Choice:
    share: Annotated[float, Range(gt=0, le=1)] | None = None
    either: int | str = 0


@pytest.mark.parametrize(
    ("bound", "inside", "outside"),
    [
        (Range(ge=1), 1, 0.999),
        (Range(gt=1), 1.001, 1),
        (Range(le=1), 1, 1.001),
        (Range(lt=1), 0.999, 1),
        (Range(ge=0, le=2), 2, -1),
    ],
)
def test_bounds(bound: Range, inside: float, outside: float) -> None:
    assert bound.allows(inside)
    assert not bound.allows(outside)


def test_nan_is_never_allowed() -> None:
    assert not Range().allows(math.nan)
    assert Range().allows(math.inf)


def test_bounds_read_as_a_sentence() -> None:
    assert str(Range(gt=0, le=1)) == "> 0 and ≤ 1"


def test_all_problems_are_listed_with_value_and_bounds() -> None:
    assert range_problems(Sizes(share=0, count=10)) == [
        "share: got 0, must be > 0 and ≤ 1",
        "count: got 10, must be ≥ 1 and < 10",
    ]
    assert range_problems(Sizes()) == []


@pytest.mark.parametrize("value", ["3", None, True])
def test_what_is_not_a_number_is_a_problem(value: object) -> None:
    sizes = Sizes()
    sizes.count = value  # type: ignore[assignment] # the test is about a wrong type
    assert range_problems(sizes) == [f"count: got {value!r}, must be a number"]


def test_a_count_is_a_whole_number() -> None:
    sizes = Sizes()
    sizes.count = 2.0  # type: ignore[assignment] # same
    assert range_problems(sizes) == ["count: got 2.0, must be a whole number"]


def test_an_optional_number_may_be_missing_but_not_wrong() -> None:
    assert range_problems(Choice()) == range_problems(Choice(share=0.5)) == []
    assert range_problems(Choice(share=0)) == ["share: got 0, must be > 0 and ≤ 1"]
    assert range_problems(Choice(share=True)) == ["share: got True, must be a number"]


@dataclass
class Switch:
    is_on: bool = True


def test_a_switch_is_true_or_false() -> None:
    assert range_problems(Switch()) == range_problems(Switch(is_on=False)) == []
    wrong: Any = 1
    assert range_problems(Switch(is_on=wrong)) == ["is_on: got 1, must be true or false"]
