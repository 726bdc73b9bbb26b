"""Settings of the search are checked."""

from __future__ import annotations

import pytest

from fal_model.errors import ConfigError
from pipelines.search_settings import SearchConfig


def test_values_out_of_range_are_named() -> None:
    with pytest.raises(ConfigError) as raised:
        SearchConfig(k=0, num_probes=0)
    assert [problem.split(":")[0] for problem in raised.value.problems] == ["search.k", "search.num_probes"]
