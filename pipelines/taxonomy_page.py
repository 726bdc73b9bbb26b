"""A label tree as one page for people: searched, unfolded and read from a file, without a network.

``python -m pipelines.taxonomy_page --output docs/taxonomy.html`` makes the page of the shipped tree; a file of your own
may be named first. The committed page is compared with what this makes, so it is made again whenever the tree or the
map of public classes changes.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from fal_model.errors import FalError
from fal_model.open_fal_500 import OPEN_FAL_500, VERSION
from fal_model.taxonomy import Node, Taxonomy
from pipelines import class_map, manifest, page, storage
from pipelines.class_map import Relation
from pipelines.taxonomy_lint import KINDS

SIGNS = {Relation.SAME: "=", Relation.NARROWER: "⊂", Relation.BROADER: "⊃", Relation.RELATED: "~"}
MEANINGS = {
    Relation.SAME: "the same",
    Relation.NARROWER: "a part of this",
    Relation.BROADER: "wider than this",
    Relation.RELATED: "meets this in some videos",
}


@dataclass(frozen=True, slots=True)
class Link:
    """A class of a public set, and how it relates to a node."""

    name: str
    relation: Relation


Links = Mapping[str, Mapping[str, Sequence[Link]]]
"""For each node, by public set, the classes that correspond to it."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A node with what hangs below it.

    Attributes:
        node: The class or group itself.
        children: Branches below, in the order of the tree; none for a leaf.
        num_leaves: Leaves below; 1 for a leaf.
        kinds: How many of them are of each kind.
    """

    node: Node
    children: tuple[Branch, ...]
    num_leaves: int
    kinds: Mapping[str, int]


def render(taxonomy: Taxonomy, title: str, version: str = "", links: Links | None = None) -> str:
    """Return the page of a tree.

    Args:
        taxonomy: The tree.
        title: Headline.
        version: Version of the tree, or an empty text.
        links: Public classes of each node, as :func:`public_links` returns them.

    Returns:
        HTML that needs no other file.
    """
    roots = _branches(taxonomy)
    sets = sorted({name for by_set in (links or {}).values() for name in by_set})
    return page.render(
        "taxonomy.html",
        ["taxonomy.css"],
        "taxonomy.js",
        title=title,
        version=version,
        taxonomy_id=taxonomy.taxonomy_id,
        roots=roots,
        widest=max(root.num_leaves for root in roots),
        num_leaves=len(taxonomy.leaves),
        num_groups=len(taxonomy) - len(taxonomy.leaves),
        num_levels=1 + max(taxonomy.levels),
        kinds={kind: sum(root.kinds.get(kind, 0) for root in roots) for kind in KINDS},
        sets=sets,
        signs=SIGNS,
        meanings=MEANINGS,
        more=page.script_json(_more(taxonomy, links or {}, sets)),
    )


def public_links() -> Links:
    """Return the classes of public sets that correspond to each node of Open FAL-500."""
    found: dict[str, dict[str, list[Link]]] = defaultdict(lambda: defaultdict(list))
    for name in class_map.set_names():
        for source in class_map.load_class_map(name).classes:
            for label, relation in source.links:
                found[label][name].append(Link(source.name, relation))
    return found


def main(argv: Sequence[str]) -> int:
    """Write the page of a tree.

    Args:
        argv: Command line: the tree, and where the page goes.

    Returns:
        0, or 2 when the tree cannot be read or the page not be written.
    """
    parser = argparse.ArgumentParser(prog="python -m pipelines.taxonomy_page", description=__doc__)
    parser.add_argument("file", nargs="?", default=OPEN_FAL_500, help="label tree (.yaml, .json, .csv)")
    parser.add_argument("--output", required=True, help="where the page is written")
    options = parser.parse_args(argv)
    try:
        storage.write_bytes(options.output, page_of(options.file).encode())
    except FalError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{options.output}\n")
    return 0


def page_of(place: str) -> str:
    """Return the page of a taxonomy file, or of the shipped tree, which alone has public classes.

    Raises:
        TaxonomyError: the file cannot be read or is not a tree.
    """
    taxonomy = manifest.read_taxonomy(place)
    if place == OPEN_FAL_500:
        return render(taxonomy, "Open FAL-500", VERSION, public_links())
    return render(taxonomy, PurePath(place).name)


def _more(taxonomy: Taxonomy, links: Links, sets: Sequence[str]) -> dict[str, Any]:
    """Return what the page's script adds to the classes; as elements it would be most of the page.

    Sets and relations are numbered, so that each is named once: ``{"run": [[0, "2jog", "0run"]]}``.
    """
    relations = list(SIGNS)
    leaves = [taxonomy.nodes[index] for index in taxonomy.leaves]
    like = {leaf.id: [other for other in leaf.confusable if other in taxonomy] for leaf in leaves}
    return {
        "like": {label: others for label, others in like.items() if others},
        "sets": sets,
        "signs": list(SIGNS.values()),
        "meanings": [MEANINGS[relation] for relation in relations],
        "links": {
            label: [
                [sets.index(name), *(f"{relations.index(link.relation)}{link.name}" for link in found)]
                for name, found in by_set.items()
            ]
            for label, by_set in links.items()
            if label in taxonomy
        },
    }


def _branches(taxonomy: Taxonomy) -> list[Branch]:
    below: dict[str | None, list[Branch]] = defaultdict(list)
    for node in reversed(taxonomy.nodes):  # parents come first, so children are complete before their parent
        children = tuple(reversed(below[node.id]))
        kinds: Counter[str] = Counter()
        for child in children:
            kinds.update(child.kinds)
        branch = Branch(
            node,
            children,
            num_leaves=sum(child.num_leaves for child in children) or 1,
            kinds=kinds if children else Counter([node.kind] if node.kind else []),
        )
        below[node.parent].append(branch)
    return below[None][::-1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
