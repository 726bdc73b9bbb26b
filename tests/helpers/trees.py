"""Draw category trees for property tests; apart, because it needs hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from fal_model.taxonomy import Node, Taxonomy


@st.composite
def trees(draw: st.DrawFn, max_nodes: int = 12) -> Taxonomy:
    """Draw any tree: each class hangs below an earlier one, or is at level 0."""
    parents = [draw(st.integers(-1, i - 1)) for i in range(draw(st.integers(1, max_nodes)))]
    return Taxonomy([Node(f"n{i}", f"n{i}", None if p < 0 else f"n{p}") for i, p in enumerate(parents)])
