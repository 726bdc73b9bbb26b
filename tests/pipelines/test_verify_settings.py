"""Settings of the verifying job are checked."""

from __future__ import annotations

import pytest

from fal_model.errors import ConfigError
from pipelines.verify_settings import VerifyConfig


def test_a_sample_cannot_be_less_than_nothing() -> None:
    with pytest.raises(ConfigError, match=r"verify\.sample: got -1"):
        VerifyConfig(sample=-1)
