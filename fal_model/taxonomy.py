"""The label tree: stable ids, one parent each, any depth. Standard library only."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fal_model.errors import TaxonomyError
from fal_model.spec import content_id

FIELDS = ("id", "name", "parent", "definition", "kind", "confusable")
BETWEEN_IDS = "|"
"""What separates several ids in one cell of CSV."""


@dataclass(frozen=True, slots=True)
class Node:
    """One class of the tree.

    Attributes:
        id: Stable identifier; what labels, manifests and outputs use.
        name: Text for people.
        parent: Identifier of the parent, or None at level 0.
        definition: One line that says what belongs here.
        kind: What settles it in a picture, such as ``motion``, ``scene`` or ``object``; empty when not said.
        confusable: Ids of classes that are easily taken for this one. Whether they exist is for the linter to say, so
            that a part of a tree can be read too.
    """

    id: str
    name: str
    parent: str | None = None
    definition: str = ""
    kind: str = ""
    confusable: tuple[str, ...] = ()


class Taxonomy:
    """A checked label tree. Class indices are dense, from zero, in the order of ``nodes``; parents come first.

    Args:
        nodes: Every class, in any order; they are put parents-first, otherwise kept in the order given.

    Raises:
        TaxonomyError: no nodes, an empty or repeated id, an unknown parent, or a cycle; all are listed.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        given = list(nodes)
        problems = tree_problems(given)
        if problems:
            raise TaxonomyError(problems)
        self.nodes: tuple[Node, ...] = _parents_first(given)
        self._index = {node.id: i for i, node in enumerate(self.nodes)}

    def __len__(self) -> int:
        return len(self.nodes)

    def __contains__(self, label: object) -> bool:
        return label in self._index

    def index(self, label: str) -> int:
        """Return the class index of an id.

        Raises:
            TaxonomyError: the id is not in the tree.
        """
        if label not in self._index:
            raise TaxonomyError([f"label {label!r} is not in the taxonomy of {len(self)} classes"])
        return self._index[label]

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Return the parent's class index of each class, -1 at level 0."""
        return tuple(-1 if n.parent is None else self._index[n.parent] for n in self.nodes)

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """Return the depth of each class; 0 has no parent."""
        levels: list[int] = []
        for parent in self.parents:
            levels.append(0 if parent < 0 else levels[parent] + 1)
        return tuple(levels)

    @cached_property
    def leaves(self) -> tuple[int, ...]:
        """Return the class indices without children, rising."""
        inner = set(self.parents)
        return tuple(i for i in range(len(self)) if i not in inner)

    def path_indices(self, index: int) -> tuple[int, ...]:
        """Return the class indices from level 0 down to ``index``, both included."""
        path = [index]
        while self.parents[path[-1]] >= 0:
            path.append(self.parents[path[-1]])
        return tuple(reversed(path))

    def path(self, index: int) -> list[str]:
        """Return the ids from level 0 down to the class, root first."""
        return [self.nodes[i].id for i in self.path_indices(index)]

    @cached_property
    def taxonomy_id(self) -> str:
        """Content hash of ids, parents and their order: what changes the meaning of a model's outputs."""
        return content_id([[n.id, n.parent] for n in self.nodes])

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the inverse of :meth:`from_dict`."""
        return {"nodes": [_node_to_row(node) for node in self.nodes]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Taxonomy:
        """Read ``{"nodes": [{"id", "name"?, "parent"?, "definition"?, "kind"?, "confusable"?}, …]}``.

        Raises:
            TaxonomyError: another shape, unknown fields, or not a tree.
        """
        problems, nodes = parse_nodes(data)
        if problems:
            raise TaxonomyError(problems)
        return cls(nodes)

    @classmethod
    def from_json(cls, text: str) -> Taxonomy:
        """Read the JSON of :meth:`to_dict`.

        Raises:
            TaxonomyError: not JSON, or not a tree.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise TaxonomyError([f"taxonomy: not JSON: {error}"]) from None
        return cls.from_dict(data)

    @classmethod
    def from_csv(cls, text: str) -> Taxonomy:
        """Read CSV with the column ``id`` and any other of ``FIELDS``; ids in ``confusable`` are separated by ``|``.

        Raises:
            TaxonomyError: no ``id`` column, unknown columns, or not a tree.
        """
        return cls.from_dict(csv_to_dict(text))


def csv_to_dict(text: str) -> dict[str, Any]:
    """Return the plain data of :meth:`Taxonomy.from_dict` that a CSV file holds, unchecked."""
    rows = csv.DictReader(io.StringIO(text))
    return {"nodes": [{key: _cell(key, value) for key, value in row.items() if key} for row in rows]}


def parse_nodes(data: object) -> tuple[list[str], list[Node]]:
    """Read the nodes of plain data, and say what is wrong with it; whether they are a tree is not looked at."""
    rows = data.get("nodes") if isinstance(data, Mapping) else None
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        return ["taxonomy: expected a mapping with a list 'nodes'"], []
    found = [_node_from(row, f"taxonomy.nodes[{i}]") for i, row in enumerate(rows)]
    return [p for problems, _ in found for p in problems], [node for _, node in found if node is not None]


def _cell(key: str, value: str | None) -> str | list[str] | None:
    return value.split(BETWEEN_IDS) if value and key == "confusable" else value or None


def _node_to_row(node: Node) -> dict[str, Any]:
    row: dict[str, Any] = {"id": node.id, "name": node.name, "parent": node.parent, "definition": node.definition}
    # Only where said: what older versions wrote and what they read stays as it was.
    if node.kind:
        row["kind"] = node.kind
    if node.confusable:
        row["confusable"] = list(node.confusable)
    return row


def _node_from(row: object, where: str) -> tuple[list[str], Node | None]:
    if not isinstance(row, Mapping):
        return [f"{where}: got {row!r}, expected a mapping"], None
    unknown = sorted(set(map(str, row)) - set(FIELDS))
    problems = [f"{where}.{key}: unknown field; allowed: {', '.join(FIELDS)}" for key in unknown]
    label = row.get("id")
    if not isinstance(label, str) or not label.strip():
        return [*problems, f"{where}.id: got {label!r}, must be a non-empty text"], None
    parent = row.get("parent") or None
    if parent is not None and not isinstance(parent, str):
        problems.append(f"{where}.parent: got {parent!r}, must be one id (several parents are not allowed)")
        parent = None
    confusable = row.get("confusable") or []
    if not isinstance(confusable, list) or not all(isinstance(other, str) for other in confusable):
        problems.append(f"{where}.confusable: got {confusable!r}, must be a list of ids")
        confusable = []
    definition, kind = str(row.get("definition") or ""), str(row.get("kind") or "")
    return problems, Node(label, str(row.get("name") or label), parent, definition, kind, tuple(confusable))


def tree_problems(nodes: Sequence[Node]) -> list[str]:
    """Say everything that keeps the nodes from being a tree; nothing when they are one."""
    if not nodes:
        return ["taxonomy: no classes"]
    problems: list[str] = []
    seen: dict[str, Node] = {}
    for node in nodes:
        if not node.id.strip():
            problems.append(f"taxonomy: id {node.id!r} is empty")
        if node.id in seen:
            problems.append(f"taxonomy: id {node.id!r} is used more than once")
        seen[node.id] = node
    problems += [
        f"taxonomy: {node.id!r} has the unknown parent {node.parent!r}"
        for node in nodes
        if node.parent is not None and node.parent not in seen
    ]
    if not problems:
        problems = [f"taxonomy: {node.id!r} is its own ancestor" for node in nodes if _in_cycle(node, seen)]
    return problems


def _in_cycle(node: Node, by_id: Mapping[str, Node]) -> bool:
    slow, steps = node, 0
    while slow.parent is not None and steps <= len(by_id):
        slow, steps = by_id[slow.parent], steps + 1
    return steps > len(by_id)


def _parents_first(nodes: Sequence[Node]) -> tuple[Node, ...]:
    by_id = {n.id: n for n in nodes}
    levels: dict[str | None, int] = {None: -1}
    for node in nodes:
        climb = [node]  # a list, not recursion: trees may be deeper than Python's stack
        while climb[-1].parent is not None and climb[-1].parent not in levels:
            climb.append(by_id[climb[-1].parent])
        for step in reversed(climb):
            levels[step.id] = levels[step.parent] + 1
    return tuple(sorted(nodes, key=lambda n: levels[n.id]))  # sorted() is stable: the given order holds within a level
