"""Draw category trees for property tests; apart, because it needs hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from fal_model.taxonomy import Node, Taxonomy


@st.composite
def trees(draw: st.DrawFn, max_nodes: int = 12) -> Taxonomy:
    """Draw any tree: each class hangs below an earlier one, or is at level 0."""
    return _tree([draw(st.integers(-1, i - 1)) for i in range(draw(st.integers(1, max_nodes)))])


@st.composite
def deep_trees(draw: st.DrawFn, max_depth: int = 8) -> Taxonomy:
    """Draw a forest of a chosen depth: a chain from root to deepest leaf, and branches anywhere, of uneven length."""
    depth = draw(st.integers(1, max_depth))
    parents = list(range(-1, depth - 1))
    parents += draw(st.lists(st.integers(-1, depth - 2), max_size=12))
    return _tree(parents)


def _tree(parents: list[int]) -> Taxonomy:
    return Taxonomy([Node(f"n{i}", f"n{i}", None if p < 0 else f"n{p}") for i, p in enumerate(parents)])
