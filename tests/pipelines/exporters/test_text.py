"""JSON in pieces."""

from __future__ import annotations

import io
import json
import math

import pytest

from pipelines.exporters.text import Items, json_text


@pytest.mark.parametrize("count", [0, 1, 3])
def test_items_make_a_list(count: int) -> None:
    file = io.BytesIO()
    items = Items(file, '{"a": [')
    for number in range(count):
        items.add(json_text({"é": number}))
    items.end("]}\n")
    assert json.loads(file.getvalue()) == {"a": [{"é": n} for n in range(count)]}
    assert file.getvalue().decode().count("\n") == count + 2


def test_json_has_no_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text({"score": math.nan})
