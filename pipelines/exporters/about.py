"""What every format is told of the run, and what writes one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from fal_model.taxonomy import Node, Taxonomy
from pipelines.exporters.settings import ExportConfig
from pipelines.exporters.video import Video

Row = dict[str, Any]
Write = Callable[[Video], None]
"""Takes one video after the other, by rising ``video_id``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What every format is told.

    Attributes:
        model_id: Content hash of the model.
        taxonomy_id: Content hash of its label tree.
        pipeline_id: Content hash of the preprocessing.
        taxonomy: The tree; where the user gave none, as much of it as the labels show, with ids for names. None where
            nothing was found.
        config: The settings.
    """

    model_id: str
    taxonomy_id: str
    pipeline_id: str
    taxonomy: Taxonomy | None
    config: ExportConfig

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Return all classes, parents first."""
        return self.taxonomy.nodes if self.taxonomy else ()

    def name(self, label: str) -> str:
        """Return what people call a class; its id where that is not known."""
        if self.taxonomy is None or label not in self.taxonomy:
            return label
        return self.taxonomy.nodes[self.taxonomy.index(label)].name

    def path(self, label: str) -> tuple[str, ...]:
        """Return the ids from the top of the tree down to a class; of one that is not in the tree itself alone."""
        if self.taxonomy is None or label not in self.taxonomy:
            return (label,)
        return tuple(self.taxonomy.path(self.taxonomy.index(label)))


Writing = Callable[[str, About], AbstractContextManager[Write]]
"""Opens a format in a folder; its files take their places when the block ends, and never if it fails."""
