"""A folder per class: no annotation file, the listing is all there is.

Rule: the class of a video is the path of its folder below what was listed, at any depth, as in ``ball/tennis``; the
folders above are its parents in the tree. If every folder at the top is named like a split (train, training, val,
valid, validation, test, testing), those are the splits, and classes begin below them. A video that lies in no folder
has no class.
"""

from __future__ import annotations

from collections.abc import Sequence

from fal_model.taxonomy import Node
from pipelines.importers.annotations import Entry, Kind, Parsed, split_named
from pipelines.importers.matching import is_video
from pipelines.listing import FoundFile


def parse(files: Sequence[FoundFile]) -> Parsed:
    """Read the classes off the paths of a listing."""
    parsed = Parsed()
    names = [f.name for f in files if is_video(f.name)]
    tops = {name.partition("/")[0] for name in names if "/" in name}
    has_splits = bool(tops) and all(split_named(top) for top in tops)
    labels: set[str] = set()
    for name in names:
        folder = name.rpartition("/")[0]
        split, _, below = folder.partition("/") if has_splits else (None, "", folder)
        if not all(part.strip() for part in below.split("/")):
            parsed.leave_out(name, Kind.NO_LABEL, "lies in no folder whose name could be a class")
            continue
        labels.add(below)
        parsed.entries.append(Entry(name, names=(name,), labels=(below,), split=split or None, is_single_label=True))
    parsed.classes = _tree(labels)
    return parsed


def _tree(labels: set[str]) -> list[Node]:
    """Make a node of every folder on the way to a class."""
    paths = {
        "/".join(parts[:depth]) for label in labels if (parts := label.split("/")) for depth in range(1, len(parts) + 1)
    }
    return [Node(path, path.rpartition("/")[2], path.rpartition("/")[0] or None) for path in sorted(paths)]
