"""The models of these tests are too small to be shared between cores; some tests need more than the model does."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch

# The model runs, and is tested, where only torch, numpy, safetensors, huggingface_hub and pytest are installed. The
# tests in these folders want one library more; without it each of their files is reported as skipped.
NEEDS = {"properties": "hypothesis", "peers": "transformers"}


class SkippedModule(pytest.Module):
    """A test file that cannot even be imported here."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Skip the file, with the reason."""
        pytest.skip(f"{NEEDS[self.path.parent.name]} is not installed", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Take the place of a file that needs a library which is not there."""
    library = NEEDS.get(module_path.parent.name)
    if library is None or importlib.util.find_spec(library):
        return None
    return SkippedModule.from_parent(parent, path=module_path)


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
