"""Everything that is wrong, or will confuse people, in a label tree: the linter of taxonomies.

Run it as ``python -m pipelines.taxonomy_lint FILE`` on a tree of your own, or on the shipped one by its name,
``open-fal-500``. What the loader refuses is listed together with what it lets pass.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from fal_model.errors import TaxonomyError
from fal_model.open_fal_500 import OPEN_FAL_500, open_fal_500
from fal_model.taxonomy import Node, Taxonomy, parse_nodes, tree_problems
from pipelines import manifest

KINDS = ("motion", "scene", "object")
"""What settles a class: how something moves, the place or the shot as a whole, or a thing that is seen."""

MOST_ALIKE = 0.85
"""Share of common words from which two definitions say the same."""

MOST_UNEVEN = 1
"""Levels by which the deepest and the highest leaf may differ."""

_ID = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
Kids = Mapping[str | None, Sequence[Node]]


def lint(nodes: Sequence[Node]) -> list[str]:
    """Say everything that is wrong with the nodes of a tree.

    Args:
        nodes: As :func:`fal_model.taxonomy.parse_nodes` returns them; they need not be a tree.

    Returns:
        One line per problem: first what is no tree, then ids, levels, texts and confusable classes.
    """
    kids: dict[str | None, list[Node]] = defaultdict(list)
    for node in nodes:
        kids[node.parent].append(node)
    problems = tree_problems(nodes)
    if not problems:  # levels are only those of a tree
        problems += _uneven(Taxonomy(nodes))
    problems += [
        f"id {node.id!r}: should be lower-case letters and digits, joined by one of . _ -"
        for node in nodes
        if node.id.strip() and not _ID.fullmatch(node.id)
    ]
    problems += _groups(nodes, kids)
    problems += _texts(nodes, kids)
    problems += _kinds([node for node in nodes if node.id not in kids])
    return problems + list(_confusable({node.id: node for node in nodes}))


def summary(taxonomy: Taxonomy) -> str:
    """Return the size of a tree in one line."""
    leaves = taxonomy.leaves
    kinds = Counter(taxonomy.nodes[i].kind for i in leaves)
    said = ", ".join(f"{kinds[kind]} {kind}" for kind in KINDS if kinds[kind])
    return (
        f"{len(leaves)} leaves{f' ({said})' if said else ''}, {len(taxonomy) - len(leaves)} groups, "
        f"{1 + max(taxonomy.levels)} levels, taxonomy_id {taxonomy.taxonomy_id}"
    )


def main(argv: Sequence[str]) -> int:
    """Print what is wrong with a taxonomy file.

    Args:
        argv: Command line: the file, or ``open-fal-500``.

    Returns:
        0 when nothing is wrong, 1 when something is, 2 when the file cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -m pipelines.taxonomy_lint", description=__doc__)
    parser.add_argument("file", help=f"label tree (.yaml, .json, .csv), or {OPEN_FAL_500}")
    place = parser.parse_args(argv).file
    try:
        data = open_fal_500().to_dict() if place == OPEN_FAL_500 else manifest.read_tree(place)
    except TaxonomyError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    problems, nodes = parse_nodes(data)
    problems += lint(nodes) if nodes or not problems else []
    if problems:
        sys.stdout.writelines(f"{problem}\n" for problem in problems)
        sys.stdout.write(f"{place}: {len(problems)} problem{'s' * (len(problems) > 1)}\n")
        return 1
    sys.stdout.write(f"{place}: nothing wrong; {summary(Taxonomy(nodes))}\n")
    return 0


def _uneven(taxonomy: Taxonomy) -> list[str]:
    levels = {taxonomy.nodes[i].id: taxonomy.levels[i] for i in taxonomy.leaves}
    high, deep = min(levels.values()), max(levels.values())
    if deep - high <= MOST_UNEVEN:
        return []
    shallow = [label for label, level in levels.items() if level == high]
    return [f"levels: leaves lie on level {high} to {deep}, at most {MOST_UNEVEN} apart is even; on {high}: {shallow}"]


def _groups(nodes: Sequence[Node], kids: Kids) -> Iterator[str]:
    for node in nodes:
        below = kids.get(node.id, ())
        if len(below) == 1:
            yield f"group {node.id!r}: has one child, {below[0].id!r}; a group is for two and more"
        groups = [child.id for child in below if child.id in kids]
        if groups and len(groups) < len(below):
            yield f"group {node.id!r}: holds groups, {groups}, beside leaves; levels should be clear"


def _texts(nodes: Sequence[Node], kids: Kids) -> Iterator[str]:
    for node in nodes:
        if not node.definition.strip():
            yield f"{node.id!r}: has no definition"
    for siblings in kids.values():
        names = Counter(" ".join(_words(node.name)) for node in siblings)
        for name, count in names.items():
            same = [node.id for node in siblings if " ".join(_words(node.name)) == name]
            if count > 1:
                yield f"name {name!r}: is that of several siblings, {same}"
    yield from _alike(nodes)


def _alike(nodes: Iterable[Node]) -> Iterator[str]:
    bags = [(node.id, frozenset(_words(node.definition))) for node in nodes if node.definition.strip()]
    for i, (label, words) in enumerate(bags):
        for other, other_words in bags[i + 1 :]:
            both = len(words & other_words)
            if both >= MOST_ALIKE * (len(words) + len(other_words) - both):
                yield f"{label!r} and {other!r}: their definitions say nearly the same"


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _kinds(leaves: Sequence[Node]) -> Iterator[str]:
    said = [leaf for leaf in leaves if leaf.kind]
    for leaf in said:
        if leaf.kind not in KINDS:
            yield f"{leaf.id!r}: kind {leaf.kind!r} is not one of {', '.join(KINDS)}"
    if said and len(said) < len(leaves):
        yield f"kind: given for some leaves, not for {[leaf.id for leaf in leaves if not leaf.kind]}"


def _confusable(by_id: Mapping[str, Node]) -> Iterator[str]:
    for node in by_id.values():
        for other, count in Counter(node.confusable).items():
            if count > 1:
                yield f"{node.id!r}: names {other!r} as confusable {count} times"
            if other == node.id:
                yield f"{node.id!r}: names itself as confusable"
            elif other not in by_id:
                yield f"{node.id!r}: names the unknown {other!r} as confusable"
            elif node.id not in by_id[other].confusable:
                yield f"{node.id!r}: names {other!r} as confusable, but not the other way round"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
