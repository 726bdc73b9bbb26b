"""The papers agree with the tree: README, changelog, lock file, make targets."""

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {"help", "setup", "demo", "test", "check", "bench", "doctor", "serve", "fmt", "lint", "type", "lock", "clean"}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    data: dict[str, Any] = tomllib.loads(read("pyproject.toml"))["project"]
    return data


def file_map() -> list[str]:
    """Return the paths named in the README's section ``## Files``, in its order."""
    section = re.search(r"^## Files\n(.*?)(?=^## |\Z)", read("README.md"), re.MULTILINE | re.DOTALL)
    assert section, "README.md has no section '## Files'"
    return re.findall(r"^- `([^`]+)` — \S", section[1], re.MULTILINE)


def pins() -> dict[str, Version]:
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    pairs = [line.split("==") for line in lines]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def requirements() -> list[Requirement]:
    groups = [project()["dependencies"], *project()["optional-dependencies"].values()]
    found = [Requirement(text) for group in groups for text in group]
    return [r for r in found if r.name != project()["name"]]


def test_the_readme_names_every_source_file() -> None:
    tree = {
        path.relative_to(ROOT).as_posix()
        for package in ("fal_model", "pipelines", "jobs")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert tree - set(file_map()) == set()


def test_the_readme_names_only_what_exists() -> None:
    named = file_map()
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert len(named) == len(set(named))


def test_the_changelog_knows_the_version() -> None:
    versions = re.findall(r"^## (\d+\.\d+\.\d+)\b", read("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == project()["version"]
    assert versions == sorted(versions, key=Version, reverse=True)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))


def test_the_makefile_has_the_promised_targets() -> None:
    assert make_targets() == TARGETS


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_documents_name_only_make_targets_that_exist(document: str) -> None:
    named = set(re.findall(r"(?:^ {4}|`|&& )make ([a-z]+)", read(document), re.MULTILINE))
    assert "test" in named
    assert named <= make_targets()


def test_make_alone_explains_every_target() -> None:
    env = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    done = subprocess.run(["make"], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert set(re.findall(r"^  make ([a-z]+) +\S", done.stdout, re.MULTILINE)) == TARGETS


def test_continuous_integration_calls_make_check() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.search(r"^make .*\bcheck\b", script.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_lock_file_pins_every_dependency_within_its_bounds() -> None:
    locked = pins()
    assert requirements()
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        assert name in locked, f"{name} is in pyproject.toml, but not in constraints.txt: make lock"
        assert locked[name] in requirement.specifier, f"constraints.txt pins {name} {locked[name]}, not {requirement}"


def test_the_lock_file_is_sorted_and_open_to_any_build() -> None:
    lines = [line for line in read("constraints.txt").splitlines() if not line.startswith("#")]
    assert lines == sorted(lines, key=str.upper)
    assert [str(version) for version in pins().values() if version.local] == []
    assert canonicalize_name(project()["name"]) not in pins()


def test_the_licence_is_the_declared_one() -> None:
    assert project()["license"] == "Apache-2.0"
    text = read("LICENSE")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
