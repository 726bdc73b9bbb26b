import os
import signal
import socket
from pathlib import Path

import pytest

from fal_model.errors import ConfigError, ModelLoadError
from jobs.runtime.config import FalConfig, load_config
from jobs.runtime.serve import application, check_port, serve_videos, until_stopped
from jobs.runtime.serve_config import ServeArgs, ServeSection
from tests.helpers.serving import write_tiny_model


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            check_port(ServeSection(port=port))


def test_a_free_port_stays_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    check_port(ServeSection(port=port))
    check_port(ServeSection(port=port))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_end_the_block_in_peace(number: signal.Signals) -> None:
    before = [signal.getsignal(either) for either in (signal.SIGINT, signal.SIGTERM)]
    is_through = False
    with until_stopped():
        os.kill(os.getpid(), number)
        is_through = True
    assert not is_through
    assert [signal.getsignal(either) for either in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_model_that_is_not_there_is_found_out_before_ray_starts() -> None:
    with pytest.raises(ModelLoadError, match="no such directory"):
        serve_videos({"model": "/no/where"}, FalConfig())
    with pytest.raises(ModelLoadError, match="no such directory"):
        application(ServeArgs(model="/no/where"))


def test_clip_settings_other_than_the_models_are_refused_before_ray_starts(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model")
    options, overrides = {"model": str(tmp_path / "model")}, ["clip.sampling=uniform"]
    with pytest.raises(ConfigError, match=r"clip: the model decides .* got sampling 'uniform', must be the model's"):
        serve_videos(options, load_config(None, overrides))
    with pytest.raises(ConfigError, match=r"clip: the model decides .* got sampling 'uniform', must be the model's"):
        application(ServeArgs(model=str(tmp_path / "model"), overrides=overrides))


def test_settings_of_the_application_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"serve\.port: got 0"):
        application(ServeArgs(model="/no/where", overrides=["serve.port=0"]))
