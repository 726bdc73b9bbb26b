"""The serving job: start the HTTP endpoint in a local Ray (or the cluster it joins) and keep it up until stopped."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from fal_model.errors import ConfigError
from jobs.runtime.cli import DONE, Argument, Outcome, say
from jobs.runtime.config import FalConfig, check_clip, load_config
from jobs.runtime.serve_config import ServeArgs, ServeSection
from jobs.runtime.session import ray_session
from pipelines.model_files import described

ARGUMENTS = (Argument("model", "directory of a trained model, or a hub id"),)


def application(args: ServeArgs) -> Any:
    """Build the Ray Serve application for ``serve run`` and ``serve deploy``, which own host and port.

    Raises:
        ConfigError: settings that cannot be used, or clip settings that are not the model's.
        ModelLoadError: the model cannot be read.
    """
    from jobs.runtime import ray_serve

    config = load_config(args.config or None, args.overrides)
    place, meta = described(args.model)
    check_clip(config, meta.config.clip)
    return ray_serve.build_application(place, meta, config)


def serve_videos(options: dict[str, str], config: FalConfig) -> Outcome:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        ConfigError: the port is taken, the host is not ours, or clip settings are not the model's.
        ModelLoadError: the model cannot be read.
    """
    place, meta = described(options["model"])
    check_clip(config, meta.config.clip)
    check_port(config.serve)
    say(f"starting, model {meta.model_id} with {len(meta.taxonomy)} classes")
    # Ray sets a handler for SIGTERM that aborts: ours goes around it and, once it is there, over it.
    with until_stopped(), ray_session(config.ray), until_stopped():
        from jobs.runtime import ray_serve

        try:
            ray_serve.start(ray_serve.build_application(place, meta, config), config)
            say(f"ready: http://{config.serve.host}:{config.serve.port}/ (stop with Ctrl-C)")
            threading.Event().wait()
        finally:
            ray_serve.stop()
    return Outcome(DONE, {"job": "serve", "model_id": meta.model_id}, ["stopped"])


def check_port(section: ServeSection) -> None:
    """Find out before Ray starts whether the address can be listened on.

    Raises:
        ConfigError: it cannot.
    """
    try:
        with socket.create_server((section.host, section.port)):
            pass
    except OSError as error:
        place = f"{section.host}:{section.port}"
        raise ConfigError([f"serve.host, serve.port: cannot listen on {place}: {error.strerror}"]) from None


@contextmanager
def until_stopped() -> Iterator[None]:
    """Run a block until it ends, or Ctrl-C or SIGTERM ends it; both are how a server is meant to end."""

    def stop(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    # Both are set: a shell that starts a program in the background has it ignore SIGINT.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
