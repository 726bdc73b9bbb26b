import pytest
from pydantic import ValidationError

from fal_model.errors import ConfigError
from jobs.runtime.config import load_config
from jobs.runtime.serve_config import ServeArgs, ServeSection


def test_the_default_listens_on_this_machine_only() -> None:
    assert ServeSection().host == "127.0.0.1"
    assert ServeSection(max_body_mib=2).max_body_bytes == 2 * 1024 * 1024


def test_every_problem_is_listed() -> None:
    with pytest.raises(ConfigError) as caught:
        ServeSection(port=0, max_body_mib=0, uri_prefix="http://")
    assert caught.value.problems == [
        "serve.port: got 0, must be ≥ 1 and ≤ 65535",
        "serve.max_body_mib: got 0, must be ≥ 1 and ≤ 65536",
        "serve.uri_prefix: got 'http://', must start with 's3://'",
    ]


def test_the_section_is_part_of_the_settings() -> None:
    assert load_config(None, ["serve.port=8123"]).serve.port == 8123
    with pytest.raises(ConfigError, match=r"serve\.prot: unknown setting; did you mean serve\.port"):
        load_config(None, ["serve.prot=1"])


def test_arguments_of_the_application_are_closed() -> None:
    assert ServeArgs(model="m").overrides == []
    with pytest.raises(ValidationError, match="extra_forbidden"):
        ServeArgs.model_validate({"model": "m", "modle": "n"})
