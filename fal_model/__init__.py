"""FAL's model: frames and flow in; hierarchical labels, segments and an embedding out.

``from fal_model import FALModel`` works, yet importing the package loads nothing: decode workers read
``fal_model.spec`` without paying for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fal_model.model import FALModel

__all__ = ["FALModel"]


def __getattr__(name: str) -> object:
    if name == "FALModel":
        from fal_model.model import FALModel

        return FALModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
