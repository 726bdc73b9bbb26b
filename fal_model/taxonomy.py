"""The label tree: stable ids, one parent each, any depth. Standard library only."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fal_model.errors import TaxonomyError
from fal_model.spec import content_id


@dataclass(frozen=True, slots=True)
class Node:
    """One class of the tree.

    Attributes:
        id: Stable identifier; what labels, manifests and outputs use.
        name: Text for people.
        parent: Identifier of the parent, or None at level 0.
        definition: One line that says what belongs here.
    """

    id: str
    name: str
    parent: str | None = None
    definition: str = ""


class Taxonomy:
    """A checked label tree. Class indices are dense, from zero, in the order of ``nodes``; parents come first.

    Args:
        nodes: Every class, in any order; they are put parents-first, otherwise kept in the order given.

    Raises:
        TaxonomyError: no nodes, an empty or repeated id, an unknown parent, or a cycle; all are listed.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        given = list(nodes)
        _check(given)
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
        return {
            "nodes": [{"id": n.id, "name": n.name, "parent": n.parent, "definition": n.definition} for n in self.nodes]
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Taxonomy:
        """Read ``{"nodes": [{"id", "name"?, "parent"?, "definition"?}, …]}``.

        Raises:
            TaxonomyError: another shape, unknown fields, or not a tree.
        """
        rows = data.get("nodes") if isinstance(data, Mapping) else None
        if not isinstance(rows, Sequence) or isinstance(rows, str):
            raise TaxonomyError(["taxonomy: expected a mapping with a list 'nodes'"])
        problems: list[str] = []
        nodes: list[Node] = []
        for i, row in enumerate(rows):
            problem, node = _node_from(row, f"taxonomy.nodes[{i}]")
            problems += problem
            if node is not None:
                nodes.append(node)
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
        """Read CSV with the columns ``id``, and optionally ``name``, ``parent``, ``definition``.

        Raises:
            TaxonomyError: no ``id`` column, unknown columns, or not a tree.
        """
        rows = list(csv.DictReader(io.StringIO(text)))
        return cls.from_dict({"nodes": [{k: v or None for k, v in row.items() if k} for row in rows]})

    @classmethod
    def load(cls, path: str | Path) -> Taxonomy:
        """Read ``.json`` or ``.csv`` (YAML is read by ``pipelines.manifest.read_taxonomy``)."""
        text = Path(path).read_text(encoding="utf-8")
        return cls.from_csv(text) if str(path).endswith(".csv") else cls.from_json(text)


def numbered_taxonomy(num_leaves: int, branching: int = 10) -> Taxonomy:
    """Make a three-level tree of numbered classes, for models whose real taxonomy is not decided yet."""
    nodes = [Node(f"d{i:02d}", f"domain {i}") for i in range(-(-num_leaves // branching**2))]
    nodes += [Node(f"g{i:03d}", f"group {i}", f"d{i // branching:02d}") for i in range(-(-num_leaves // branching))]
    nodes += [Node(f"c{i:04d}", f"class {i}", f"g{i // branching:03d}") for i in range(num_leaves)]
    return Taxonomy(nodes)


def _node_from(row: object, where: str) -> tuple[list[str], Node | None]:
    if not isinstance(row, Mapping):
        return [f"{where}: got {row!r}, expected a mapping"], None
    unknown = sorted(set(map(str, row)) - {"id", "name", "parent", "definition"})
    problems = [f"{where}.{key}: unknown field; allowed: id, name, parent, definition" for key in unknown]
    label = row.get("id")
    if not isinstance(label, str) or not label.strip():
        return [*problems, f"{where}.id: got {label!r}, must be a non-empty text"], None
    parent = row.get("parent") or None
    if parent is not None and not isinstance(parent, str):
        problems.append(f"{where}.parent: got {parent!r}, must be one id (several parents are not allowed)")
        parent = None
    return problems, Node(label, str(row.get("name") or label), parent, str(row.get("definition") or ""))


def _check(nodes: Sequence[Node]) -> None:
    if not nodes:
        raise TaxonomyError(["taxonomy: no classes"])
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
    if problems:
        raise TaxonomyError(problems)


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
