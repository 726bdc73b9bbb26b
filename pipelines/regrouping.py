"""Scores of other classes than a model has: a tree with other inner nodes, merged, renamed or left-out classes.

Classes are known by their ids. A class of the new tree takes the highest score of the model's classes that it stands
for. For merged classes and for inner nodes of our own the highest score is chosen, not one that adds up: what is merged
is mostly taken for one another, so ``1 - Π(1 - p)``, which supposes that they are independent, would be far too high
over many classes. The highest score is one that the model gave and that was calibrated; it is never too high for "one
of these", keeps every parent at least as high as its children, and leaves the top score as it was, for which abstention
was fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fal_model.calibration import Calibration, Scaling
from fal_model.errors import TaxonomyError
from fal_model.postprocess import path_scores
from fal_model.taxonomy import Taxonomy

Floats = npt.NDArray[np.floating]
MAX_SHOWN = 5
"""Ids that a message lists one by one."""


@dataclass(frozen=True, slots=True)
class Regrouping:
    """How classes of a new tree follow from those of a model.

    Attributes:
        source: The model's tree.
        taxonomy: The new one.
        class_map: Ids of the model's classes and of those in the new tree that they are now; the others keep theirs.
        own: For each new class the model's classes that it stands for; none where it follows from what lies below.
        evidence: For each new class the model's classes whose highest score it takes.
        leaves: For each new class the model's leaves, as class indices, among those and below them.
    """

    source: Taxonomy
    taxonomy: Taxonomy
    class_map: Mapping[str, str]
    own: tuple[tuple[int, ...], ...]
    evidence: tuple[tuple[int, ...], ...]
    leaves: tuple[tuple[int, ...], ...]

    def scores(self, scores: Floats) -> npt.NDArray[np.float32]:
        """Return the scores of the new classes.

        Args:
            scores: Of the model's classes, shape [..., K].

        Returns:
            Shape [..., classes of the new tree].
        """
        flat = [k for classes in self.evidence for k in classes]
        starts = np.cumsum([0, *(len(classes) for classes in self.evidence[:-1])])
        best: npt.NDArray[np.float32] = np.maximum.reduceat(scores[..., flat], starts, axis=-1)
        return best

    def frames(
        self,
        logits_NTK: Floats,
        offsets_NTL2: npt.NDArray[np.uint8],
        scalings: Sequence[Scaling],
        wanted: npt.NDArray[np.integer],
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """Return scores and offsets of some new classes at each frame.

        Where a class stands for several leaves of the model, the likeliest of them at a frame says how far the borders
        are from there.

        Args:
            logits_NTK: Of the model's K classes.
            offsets_NTL2: Of the model's L leaves.
            scalings: Calibration of frames.
            wanted: Indices of C new classes.

        Returns:
            Scores [N, T, C] and offsets [N, T, C, 2].
        """
        used = np.unique([k for c in wanted for k in (*self.evidence[c], *self.leaves[c])]).astype(np.int64)
        scores_NTU = path_scores(logits_NTK, self.source, scalings, used)
        scores_NTC = np.zeros((*scores_NTU.shape[:2], len(wanted)), np.float32)
        offsets_NTC2 = np.zeros((*scores_NTC.shape, 2), np.uint8)
        place_of = {leaf: place for place, leaf in enumerate(self.source.leaves)}
        for column, c in enumerate(wanted.tolist()):
            scores_NTC[..., column] = scores_NTU[..., np.searchsorted(used, self.evidence[c])].max(axis=-1)
            best_NT1 = scores_NTU[..., np.searchsorted(used, self.leaves[c])].argmax(axis=-1)[..., None, None]
            of_leaves_NTM2 = offsets_NTL2[:, :, [place_of[leaf] for leaf in self.leaves[c]]]
            offsets_NTC2[:, :, column] = np.take_along_axis(of_leaves_NTM2, best_NT1, axis=2)[:, :, 0]
        return scores_NTC, offsets_NTC2

    def calibrated(self, calibration: Calibration) -> Calibration:
        """Return the calibration with thresholds of the new classes.

        A class that stands for some of the model's is listed wherever one of them was: it has the lowest of their
        thresholds. An inner class of our own is listed just where a class below it is.

        Raises:
            ConfigError: the thresholds are of other classes than the model's.
        """
        if calibration.thresholds:
            fitted = _thresholds(calibration.class_thresholds(self.source), self)
            calibration = replace(calibration, thresholds=fitted)
        if calibration.frame_thresholds:
            fitted = _thresholds(calibration.class_frame_thresholds(self.source), self)
            calibration = replace(calibration, frame_thresholds=fitted)
        return calibration

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that, together with both trees, says everything."""
        return {"class_map": dict(sorted(self.class_map.items()))}


def regroup(source: Taxonomy, taxonomy: Taxonomy, class_map: Mapping[str, str]) -> Regrouping | None:
    """Find out how classes of a new tree follow from those of a model.

    A class of the new tree stands for the model's class of the same id, and for those that are mapped to it. An inner
    class that stands for one of the model's, and of which no class was moved elsewhere, keeps what was learned of it,
    and is at least as likely as what lies below it now; any other takes the highest score of what lies below. Classes
    of the model that are not in the new tree are left out.

    Args:
        source: The model's tree.
        taxonomy: The new one.
        class_map: From ids of the model's classes to ids in the new tree; what is not in it keeps its id.

    Returns:
        None where the classes, their parents and their order are the same: only texts may differ.

    Raises:
        TaxonomyError: a map of unknown ids, or classes that the model knows nothing of; all are listed.
    """
    _raise_if(_map_problems(source, taxonomy, class_map))
    if not class_map and source.taxonomy_id == taxonomy.taxonomy_id:
        return None
    own, problems = _own_classes(source, taxonomy, class_map)
    _raise_if(problems)
    evidence = _evidence(source, taxonomy, own)
    return Regrouping(source, taxonomy, dict(class_map), own, evidence, _leaves(source, evidence))


def read_class_map(data: object) -> dict[str, str]:
    """Read a map of ids from plain data: ``{"old id": "new id", …}``.

    Raises:
        TaxonomyError: another shape, or ids that are no texts; all are listed.
    """
    if not isinstance(data, Mapping):
        raise TaxonomyError([f"class map: got a {type(data).__name__}, must be a mapping of old ids to new ids"])
    problems = [
        f"class map.{old}: got {new!r}, must be the id of a class"
        for old, new in data.items()
        if not (isinstance(old, str) and isinstance(new, str) and new)
    ]
    _raise_if(problems)
    return dict(data)


def _map_problems(source: Taxonomy, taxonomy: Taxonomy, class_map: Mapping[str, str]) -> list[str]:
    unknown = [f"class map: {old!r} is no class of the model" for old in class_map if old not in source]
    return unknown + [
        f"class map: {new!r}, to which {old!r} is mapped, is not in the new taxonomy"
        for old, new in class_map.items()
        if new not in taxonomy
    ]


def _own_classes(
    source: Taxonomy, taxonomy: Taxonomy, class_map: Mapping[str, str]
) -> tuple[tuple[tuple[int, ...], ...], list[str]]:
    """Find the model's classes that each new class stands for, and say which classes nothing is known of."""
    stood_for: dict[str, list[int]] = {}
    below: dict[int, list[str]] = {}
    for k, node in enumerate(source.nodes):
        label = class_map.get(node.id, node.id)
        stood_for.setdefault(label, []).append(k)
        for ancestor in source.path_indices(k)[:-1]:
            below.setdefault(ancestor, []).append(label)
    own: list[tuple[int, ...]] = []
    problems: list[str] = []
    leaves = set(taxonomy.leaves)
    for index, node in enumerate(taxonomy.nodes):
        found = stood_for.get(node.id, [])
        of_model = dict.fromkeys(label for k in found for label in below.get(k, []))
        moved = [label for label in of_model if _is_elsewhere(label, index, taxonomy)]
        own.append(() if moved else tuple(found))
        if index in leaves and moved:
            shown = ", ".join(map(repr, moved[:MAX_SHOWN])) + (", …" if len(moved) > MAX_SHOWN else "")
            problems.append(
                f"taxonomy: for the model {node.id!r} holds {shown}, now elsewhere: what is left is unknown"
            )
        elif index in leaves and not found:
            problems.append(
                f"taxonomy: the model knows nothing of {node.id!r}: it has no such class, and none is mapped"
            )
    return tuple(own), problems


def _is_elsewhere(label: str, index: int, taxonomy: Taxonomy) -> bool:
    """Tell whether a class is in the tree, but neither a given class nor below it. One that is left out is nowhere."""
    return label in taxonomy and index not in taxonomy.path_indices(taxonomy.index(label))


def _evidence(source: Taxonomy, taxonomy: Taxonomy, own: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    """Collect what each class follows from: what it stands for, and what those below it do."""
    found = [set(classes) for classes in own]
    for index in reversed(range(len(taxonomy))):  # parents come first, so what is below a class is done before it
        if taxonomy.parents[index] >= 0:
            found[taxonomy.parents[index]] |= found[index]
    return tuple(tuple(_highest(classes, source)) for classes in found)


def _leaves(source: Taxonomy, evidence: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    below: dict[int, list[int]] = {}
    for leaf in source.leaves:
        for k in source.path_indices(leaf):
            below.setdefault(k, []).append(leaf)
    return tuple(tuple(sorted({leaf for k in classes for leaf in below[k]})) for classes in evidence)


def _highest(classes: set[int], source: Taxonomy) -> list[int]:
    """Leave out the classes of which an ancestor is there: its score is at least as high."""
    return [k for k in sorted(classes) if classes.isdisjoint(source.path_indices(k)[:-1])]


def _thresholds(thresholds_K: npt.NDArray[np.float64], regrouping: Regrouping) -> dict[str, float]:
    taxonomy = regrouping.taxonomy
    values, highest_below = [0.0] * len(taxonomy), [0.0] * len(taxonomy)
    for index in reversed(range(len(taxonomy))):
        own, parent = regrouping.own[index], taxonomy.parents[index]
        values[index] = min(float(thresholds_K[k]) for k in own) if own else highest_below[index]
        if parent >= 0:
            highest_below[parent] = max(highest_below[parent], values[index])
    return {node.id: values[index] for index, node in enumerate(taxonomy.nodes)}


def _raise_if(problems: list[str]) -> None:
    if problems:
        raise TaxonomyError(problems)
