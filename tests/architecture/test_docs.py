"""The documents name what the code has, and their links lead somewhere."""

import ast
import re
from pathlib import Path

import pytest

from fal_model.errors import FailureKind

ROOT = Path(__file__).resolve().parents[2]
ADRS = sorted((ROOT / "docs" / "adr").glob("*.md"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "cluster").rglob("*.md")])


def section(text: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title!r}"
    return found[1]


def first_column(text: str) -> list[str]:
    """Return the first cell of every row of a table, without heading and ruler."""
    cells = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    return cells[2:]


def operations() -> str:
    return (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_operations_explain_every_failure_kind() -> None:
    kinds = [cell.strip("`") for cell in first_column(section(operations(), "Why a video failed"))]
    assert sorted(kinds) == sorted(kind.value for kind in FailureKind)


def test_operations_explain_every_exit_code() -> None:
    source = (ROOT / "jobs" / "runtime" / "cli.py").read_text(encoding="utf-8")
    assigned = [
        ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and "TOO_MANY_FAILED" in ast.unparse(node.targets[0])
    ]
    assert assigned == [tuple(int(cell) for cell in first_column(section(operations(), "Exit codes")))]


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(path.name[:4]) for path in ADRS] == list(range(1, len(ADRS) + 1))
    assert len(ADRS) >= 5


@pytest.mark.parametrize("path", ADRS, ids=lambda p: p.name)
def test_a_decision_has_its_parts(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {int(path.name[:4])}. ")
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert titles == ["Context", "Decision", "Consequences"]
    assert len(text.splitlines()) <= 60


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (path.parent / target).exists()] == []


def test_some_documents_have_links() -> None:
    # Otherwise the test above would pass whatever the pattern is.
    assert any("](docs/" in path.read_text(encoding="utf-8") for path in DOCUMENTS)
