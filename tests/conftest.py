"""What every test shares."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ["RAY_AUTH_MODE"] = "disabled"  # before anything can import Ray: no test writes a token or joins a cluster

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _same_random_numbers() -> Iterator[None]:
    """Seed every generator before a test and put the state back after it."""
    torch = sys.modules.get("torch")
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - code under test may use the global generator
    torch_state = torch.get_rng_state() if torch else None
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - same
    if torch:
        torch.manual_seed(0)
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002 - same
    if torch:
        torch.set_rng_state(torch_state)


@pytest.fixture(scope="session")
def real_videos() -> Path:
    """Return the folder of real recordings; skip where it is not, which in CI is a failure."""
    folder = Path(os.environ.get("FAL_REAL_VIDEOS") or ROOT.parent / "shared" / "videos")
    if not folder.is_dir():
        message = f"no real recordings at {folder}; set FAL_REAL_VIDEOS to their folder"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def ray_local() -> Iterator[tuple[str, ...]]:
    """Start one Ray for every test that wants one, and give the settings of jobs that run in it."""
    from jobs.runtime.config import RaySection
    from jobs.runtime.session import ray_session

    with ray_session(RaySection(address="local", num_cpus=4, object_store_mib=200)):
        yield ("ray.address=local",)
