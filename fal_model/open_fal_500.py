"""Open FAL-500: the label tree that is shipped, 500 leaf classes in 17 domains. Standard library only.

What the ids promise, and how the tree changes, is in ``docs/taxonomy.md``.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from fal_model.taxonomy import Taxonomy

OPEN_FAL_500 = "open-fal-500"
"""What names the tree wherever a taxonomy file is asked for."""

VERSION = "1.0"
"""Whole number: ids were added or retired. After the point: wording, kinds or confusable classes changed."""


@cache
def open_fal_500() -> Taxonomy:
    """Return the shipped tree. The same object each time: a :class:`Taxonomy` does not change."""
    file = resources.files("fal_model") / "data" / "open_fal_500.csv"
    return Taxonomy.from_csv(file.read_text(encoding="utf-8"))
