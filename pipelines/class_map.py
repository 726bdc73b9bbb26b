"""What the classes of public data sets are called in Open FAL-500.

Two tables travel with the package: ``data/class_lists.csv`` holds every class of every set, named as published, and
``data/class_map.csv`` says how each relates to nodes of Open FAL-500. ``docs/class-map.md`` tells where they come from.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from importlib.resources import files

from fal_model.errors import ConfigError

MAX_SUGGESTIONS = 3


class Relation(StrEnum):
    """How a class of a public set relates to a node of Open FAL-500, seen from the public set."""

    SAME = "same"  # both mean one thing
    NARROWER = "narrower"  # every video of the class shows the node, not the other way round
    BROADER = "broader"  # the node is one of several things the class can show
    RELATED = "related"  # they meet in some videos; neither contains the other
    NONE = "none"  # nothing in the tree corresponds


CERTAIN = (Relation.SAME, Relation.NARROWER)
"""The relations by which a node is true of every video of the class, so that it may be trained on."""


@dataclass(frozen=True, slots=True)
class SourceClass:
    """One class of a public set.

    Attributes:
        name: The class as the set publishes it.
        id: The set's own identifier of it, or an empty text where the set has none.
        links: Nodes of Open FAL-500 with the relation of this class to each; empty if nothing corresponds.
    """

    name: str
    id: str
    links: tuple[tuple[str, Relation], ...]

    def nodes(self, *relations: Relation) -> tuple[str, ...]:
        """Return the ids of the nodes that stand in one of the relations, in the order of the table."""
        return tuple(node for node, relation in self.links if relation in relations)


class ClassMap:
    """The classes of one public set and what each means in Open FAL-500.

    Args:
        set_name: The set, one of :func:`set_names`.

    Raises:
        ConfigError: no such set.
    """

    def __init__(self, set_name: str) -> None:
        names = set_names()
        if set_name not in names:
            raise ConfigError([f"class map: no set {set_name!r}; the sets are {', '.join(names)}"])
        self.set_name = set_name
        self.classes = _classes_by_set()[set_name]
        self._by_name = {normal_form(c.name): c for c in self.classes}
        self._by_id = {c.id.casefold(): c for c in self.classes if c.id}

    def find(self, source_class: str) -> SourceClass:
        """Return a class by its name in any usual spelling, or by the set's own id.

        Raises:
            ConfigError: the set has no such class; the message names the nearest ones.
        """
        found = self._by_name.get(normal_form(source_class)) or self._by_id.get(source_class.strip().casefold())
        if found is None:
            near = get_close_matches(normal_form(source_class), self._by_name, MAX_SUGGESTIONS)
            hint = "; nearest are " + ", ".join(repr(self._by_name[form].name) for form in near) if near else ""
            raise ConfigError([f"class map: {self.set_name} has no class {source_class!r}{hint}"])
        return found

    def open_fal_500_of(self, source_class: str) -> tuple[str, ...]:
        """Return the nodes that are true of every video of a class: what its videos may be labelled with.

        Returns:
            Ids of leaves or groups, the most specific that are certain; none where nothing is certain.

        Raises:
            ConfigError: the set has no such class.
        """
        return self.find(source_class).nodes(*CERTAIN)


@cache
def load_class_map(set_name: str) -> ClassMap:
    """Return the map of one set; read once per process.

    Raises:
        ConfigError: no such set.
    """
    return ClassMap(set_name)


def open_fal_500_of(set_name: str, source_class: str) -> tuple[str, ...]:
    """Return what the videos of a public class may be labelled with; see :meth:`ClassMap.open_fal_500_of`.

    Raises:
        ConfigError: no such set, or it has no such class.
    """
    return load_class_map(set_name).open_fal_500_of(source_class)


def set_names() -> tuple[str, ...]:
    """Return the names of the sets that have a class list, in the order of the table."""
    return tuple(_classes_by_set())


def normal_form(name: str) -> str:
    """Return what two spellings of one class share: its letters and digits, without case and accents.

    ``JumpRope``, ``jump_rope`` and ``Jump rope`` are one class; so are ``Putting [something] into [something]`` and
    ``Putting something into something``, and ``hurling (sport)`` and ``hurling sport``.
    """
    plain = unicodedata.normalize("NFKD", name).casefold()
    return "".join(c for c in plain if c.isalnum())


@cache
def _classes_by_set() -> dict[str, tuple[SourceClass, ...]]:
    links: dict[tuple[str, str], list[tuple[str, Relation]]] = {}
    for row in _rows("class_map.csv"):
        found = links.setdefault((row["set"], row["source_class"]), [])
        if row["open_fal_500"]:
            found.append((row["open_fal_500"], Relation(row["relation"])))
    sets: dict[str, list[SourceClass]] = {}
    for row in _rows("class_lists.csv"):
        key = row["set"], row["source_class"]
        sets.setdefault(key[0], []).append(SourceClass(key[1], row["id"], tuple(links.get(key, ()))))
    return {name: tuple(classes) for name, classes in sets.items()}


def _rows(table: str) -> Iterator[dict[str, str]]:
    text = (files("pipelines") / "data" / table).read_text(encoding="utf-8")
    return iter(csv.DictReader(text.splitlines()))
