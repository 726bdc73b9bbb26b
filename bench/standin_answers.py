"""What a model got right of the stand-in corpus: appearance, programme, its direction, and which thing does what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipelines.standin_classes import appearance_of, program_of

Floats = npt.NDArray[np.floating]
TINY = 1e-12
"""Scores are kept this far from 0 before their logarithm is taken."""


def taken_apart(scores_NL: Floats, labels_NL: Floats, leaves: Sequence[str]) -> dict[str, float]:
    """Say what the best leaf of a clip has right, and how often two things at once are told apart.

    Args:
        scores_NL: Scores of the leaves.
        labels_NL: 1 where a leaf holds, else 0; clips without any are left out.
        leaves: Id of each leaf.

    Returns:
        ``appearance`` and ``pair``: share of clips whose best leaf has an appearance that is there, and a programme
        that shows the pictures of one that is there. ``direction``: share of the latter with the programme itself;
        0.5 is chance. ``binding``: see :func:`tells_which_does_what`; left out where no clip asks it.
    """
    rows, bindings = [], []
    for scores_L, labels_L in zip(scores_NL, labels_NL, strict=True):
        true = {leaves[int(i)] for i in np.flatnonzero(labels_L)}
        if true:
            rows.append(hits(leaves[int(scores_L.argmax())], true))
            bindings.append(tells_which_does_what(scores_L, true, leaves))
    appearance, pair, program = np.mean(rows, axis=0).tolist()
    found = {"appearance": appearance, "pair": pair, "direction": program / max(pair, TINY)}
    asked = [value for value in bindings if value is not None]
    return found | ({"binding": float(np.mean(asked))} if asked else {})


def hits(best: str, true: set[str]) -> list[bool]:
    """Tell whether a leaf has an appearance, a pair of programmes, and a programme that are there.

    Args:
        best: Id of the leaf.
        true: Ids of the leaves that hold.
    """
    programs = {program_of(leaf).id for leaf in true}
    program = program_of(best)
    return [
        appearance_of(best).id in {appearance_of(leaf).id for leaf in true},
        bool({program.id, program.partner_id} & programs),
        program.id in programs,
    ]


def tells_which_does_what(scores_L: Floats, true: set[str], leaves: Sequence[str]) -> float | None:
    """Compare the two true leaves with the two that have their appearances and programmes crossed.

    Whoever sees both appearances and both programmes, but not which belongs to which, is right by chance: 0.5.

    Returns:
        1 where the product of the true scores is larger, 0.5 where equal, else 0; None where a clip does not have two
        true leaves with different appearances and programmes, or where a crossed one is no class.
    """
    if len(true) != 2:
        return None
    first, second = sorted(true)
    by_parts = {(appearance_of(leaf).id, program_of(leaf).id): i for i, leaf in enumerate(leaves)}
    (a, p), (b, q) = ((appearance_of(leaf).id, program_of(leaf).id) for leaf in (first, second))
    if a == b or p == q or not {(a, q), (b, p)} <= by_parts.keys():
        return None
    log_L = np.log(np.maximum(np.asarray(scores_L, np.float64), TINY))
    straight = log_L[by_parts[a, p]] + log_L[by_parts[b, q]]
    crossed = log_L[by_parts[a, q]] + log_L[by_parts[b, p]]
    return float(np.heaviside(straight - crossed, 0.5))
