"""A Python that has a few libraries and what they require, and nothing else. Made without network."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import venv
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def closure(*names: str) -> set[str]:
    """Return these distributions and all that they require on this machine, as canonical names."""
    found: set[str] = set()
    todo = [(name, "") for name in names]
    seen = set(todo)
    while todo:
        name, extra = todo.pop()
        found.add(canonicalize_name(name))
        for text in importlib.metadata.requires(name) or ():
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                new = {(canonicalize_name(wanted.name), e) for e in ("", *wanted.extras)} - seen
                seen |= new
                todo += new
    return found


def modules_of_others(distributions: Iterable[str]) -> list[str]:
    """Return every module that is installed here and belongs to none of these distributions."""
    ours = set(distributions)
    owners = importlib.metadata.packages_distributions()
    return sorted(n for n, by in owners.items() if n.isidentifier() and ours.isdisjoint(map(canonicalize_name, by)))


class BarePython:
    """A virtual environment whose libraries are links to those of this one.

    Args:
        folder: Where the environment is made.
        distributions: What is in it.
    """

    def __init__(self, folder: Path, distributions: Iterable[str]) -> None:
        venv.create(folder, symlinks=True)
        self.executable = folder / "bin" / "python"
        (site,) = (folder / "lib").glob("python3*/site-packages")
        for name in distributions:
            distribution = importlib.metadata.distribution(name)
            tops = {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}
            for top in tops:
                if not (site / top).exists():
                    (site / top).symlink_to(Path(str(distribution.locate_file(top))))

    def run(self, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments and with no setting of the Python that runs the tests."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST"))}
        command = [str(self.executable), "-s", *arguments]
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
