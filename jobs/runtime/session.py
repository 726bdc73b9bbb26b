"""Start or join Ray, with address and authentication mode always explicit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from fal_model.errors import ConfigError, FalError, printable
from jobs.runtime.config import RaySection

AUTH_MODES = ("token", "disabled")


def resolve_address(section: RaySection) -> str:
    """Choose the address: the settings, else RAY_ADDRESS, else a private Ray. A cluster is never joined by accident."""
    if section.address == "auto":
        return os.environ.get("RAY_ADDRESS") or "local"
    return section.address


def check_auth_mode(address: str) -> str:
    """Choose the authentication mode, before Ray is imported.

    A private Ray runs without token and leaves none behind in the home folder, so a laptop run does not change how
    the next cluster starts. A cluster's mode must be said.

    Raises:
        ConfigError: joining a cluster without RAY_AUTH_MODE, or with an unknown one.
    """
    if address == "local":
        return "disabled"
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if mode not in AUTH_MODES:
        allowed = " or ".join(AUTH_MODES)
        raise ConfigError([f"RAY_AUTH_MODE: got {mode!r} when joining Ray at {address!r}, must be {allowed}"])
    return mode


@contextmanager
def ray_session(section: RaySection) -> Iterator[None]:
    """Run a block inside Ray; a private one ends with the block.

    Raises:
        ConfigError: joining a cluster without saying how.
        FalError: Ray could not be started, or the cluster not be joined.
    """
    address = resolve_address(section)
    os.environ["RAY_AUTH_MODE"] = check_auth_mode(address)
    # One actor instead of 32 reads Parquet footers, and checkpoints are committed twice a second.
    os.environ.setdefault("RAY_DATA_PARQUET_FOOTER_NUM_ACTORS", "1")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Said every second of training where there is no dashboard; it means nothing then.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "Failed to query Ray Train Controller actor state")
    # Ray Train repeats every line that a worker prints.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    if address == "local":
        # Ray lowers the priority of its workers by default; here they are all the work there is.
        os.environ.setdefault("RAY_worker_niceness", "0")
        # Threads that wait sleep instead of spinning: on a busy laptop that is the difference between 2 and 30 clips/s
        # (docs/experiments.md).
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        _start(section, address)
        yield
    finally:
        ray.shutdown()


def _start(section: RaySection, address: str) -> None:
    import ray

    try:
        if address == "local":
            ray.init(
                address="local",
                num_cpus=section.num_cpus or max(4, os.cpu_count() or 1),
                object_store_memory=section.object_store_mib << 20,
                include_dashboard=False,
                log_to_driver=True,
                logging_level="WARNING",
            )
        else:
            ray.init(address=address, logging_level="WARNING")
    except Exception as error:  # Ray raises a plain one where a start takes too long
        what = "Ray could not be started here" if address == "local" else f"Ray at {address!r} could not be joined"
        raise FalError(f"{what}: {printable(str(error))}") from error
