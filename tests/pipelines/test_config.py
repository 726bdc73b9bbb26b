"""Settings check themselves when they are made."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import ConfigError
from fal_model.ranges import Range
from pipelines.config import LabelConfig, PrepareConfig, Resources, ScanConfig

Section = type[LabelConfig] | type[PrepareConfig] | type[Resources] | type[ScanConfig]
SECTIONS: dict[str, Section] = {
    "label": LabelConfig,
    "prepare": PrepareConfig,
    "resources": Resources,
    "scan": ScanConfig,
}
FIELDS = [
    (name, field.name)
    for name, cls in SECTIONS.items()
    for field in fields(cls)
    if field.type not in {"bool", "Duplicates"}
]


def is_allowed(cls: Section, field: str, value: float) -> bool:
    hint = get_type_hints(cls, include_extras=True)[field]
    if not hasattr(hint, "__metadata__"):  # of an optional number
        hint = get_args(hint)[0]
    (allowed,) = hint.__metadata__
    assert isinstance(allowed, Range)
    is_right_kind = hint.__origin__ is float or isinstance(value, int)
    return is_right_kind and allowed.allows(value)


def test_defaults_are_allowed_and_cannot_be_changed() -> None:
    for cls in SECTIONS.values():
        with pytest.raises(FrozenInstanceError):
            setattr(cls(), fields(cls)[0].name, 1)


@pytest.mark.parametrize(("section", "field"), FIELDS)
@settings(deadline=None, max_examples=25)
@given(value=st.one_of(st.integers(-10, 10), st.integers(), st.floats()))
def test_a_value_is_taken_exactly_if_it_is_in_its_range(section: str, field: str, value: float) -> None:
    cls = SECTIONS[section]
    changes: dict[str, Any] = {field: value}
    if is_allowed(cls, field, value):
        assert getattr(cls(**changes), field) == value
    else:
        with pytest.raises(ConfigError) as raised:
            cls(**changes)
        (problem,) = raised.value.problems
        assert problem.startswith(f"{section}.{field}: got {value!r}, must be ")


@pytest.mark.parametrize(("section", "field"), FIELDS)
def test_a_value_that_is_no_number_is_refused(section: str, field: str) -> None:
    changes: dict[str, Any] = {field: "many"}
    with pytest.raises(ConfigError, match=rf"^{section}\.{field}: got 'many', must be a (whole )?number$"):
        SECTIONS[section](**changes)


def test_every_problem_is_named() -> None:
    with pytest.raises(ConfigError) as raised:
        LabelConfig(part_videos=0, threshold=1.5, max_labels=-1)
    assert raised.value.problems == [
        "label.part_videos: got 0, must be ≥ 1 and ≤ 100000",
        "label.threshold: got 1.5, must be ≥ 0 and ≤ 1",
        "label.max_labels: got -1, must be ≥ 1 and ≤ 10000",
    ]


def test_thresholds_are_the_fitted_ones_unless_said_otherwise() -> None:
    assert (LabelConfig().threshold, LabelConfig().segment_threshold) == (None, None)
    assert LabelConfig(threshold=0).threshold == 0
