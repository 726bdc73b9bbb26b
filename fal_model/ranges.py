"""Allowed ranges, written in annotations: ``width: Annotated[int, Range(ge=1)]``.

The dataclasses of this package check themselves with :func:`range_problems`. Where pydantic is installed it reads
the same annotations through ``__get_pydantic_core_schema__``, so a range is written once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True)
class Range:
    """Inclusive (``ge``, ``le``) and exclusive (``gt``, ``lt``) bounds of a number."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Tell pydantic the bounds without importing it."""
        schema = dict(handler(source))
        schema.update({name: value for name, value in self.bounds().items() if value is not None})
        return schema

    def bounds(self) -> dict[str, float | None]:
        """Return the bounds by name."""
        return {"ge": self.ge, "gt": self.gt, "le": self.le, "lt": self.lt}

    def allows(self, value: float) -> bool:
        """Tell whether the value lies within; NaN never does."""
        return (
            value == value  # noqa: PLR0124 - NaN is the only value unequal to itself
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def __str__(self) -> str:
        signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
        return " and ".join(f"{signs[k]} {v:g}" for k, v in self.bounds().items() if v is not None)


def range_problems(config: object) -> list[str]:
    """List every field of a dataclass whose value lies outside its annotated range, or is no bool where one is wanted.

    An optional field may be None.
    """
    problems: list[str] = []
    for name, whole in get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        hint, is_optional = _without_none(whole)
        if hint is bool and not isinstance(value, bool) and not (is_optional and value is None):
            problems.append(f"{name}: got {value!r}, must be true or false")
        if get_origin(hint) is not Annotated or (is_optional and value is None):
            continue
        if not isinstance(value, int | float) or isinstance(value, bool):
            problems.append(f"{name}: got {value!r}, must be a number")
            continue
        if get_args(hint)[0] is int and not isinstance(value, int):
            problems.append(f"{name}: got {value!r}, must be a whole number")
            continue
        problems += [
            f"{name}: got {value!r}, must be {bound}"
            for bound in get_args(hint)[1:]
            if isinstance(bound, Range) and not bound.allows(value)
        ]
    return problems


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Split ``X | None`` into X and whether None was allowed."""
    choices = get_args(hint) if get_origin(hint) is UnionType or get_origin(hint) is Union else (hint,)
    others = [choice for choice in choices if choice is not type(None)]
    return (others[0], len(choices) > 1) if len(others) == 1 else (hint, False)
