"""Give the rows of a public set the classes of Open FAL-500."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fal_model.errors import ConfigError
from pipelines.class_map import load_class_map, set_names
from pipelines.importers.annotations import Entry, Kind, Parsed, Problem, RawSegment
from pipelines.importers.formats import Format

SETS = {
    Format.KINETICS: ("kinetics-700", "kinetics-400"),
    Format.UCF101: ("ucf-101",),
    Format.HMDB51: ("hmdb-51",),
    Format.SOMETHING: ("something-something-v2",),
    Format.ACTIVITYNET: ("activitynet-200",),
    Format.HACS_CLIPS: ("activitynet-200",),
    Format.THUMOS14: ("ucf-101",),
    Format.CHARADES: ("charades",),
    Format.MOMENTS: ("moments-in-time-v2", "moments-in-time-v1"),
}
"""Whose class names a format's labels are, tried in this order. HACS has those of ActivityNet, THUMOS-14 of UCF-101."""
NodesOf = Callable[[str], tuple[str, ...] | None]
"""Gives the nodes of a label, none where none is certain, None where the class map does not know it."""


def nodes_of(of: Format, class_set: str = "") -> NodesOf:
    """Return what translates one label into nodes.

    Args:
        of: Format the labels come from.
        class_set: Set whose class names the labels are; empty takes that of the format.

    Raises:
        ConfigError: a set without class map, or a format whose labels are the user's own.
    """
    if class_set and class_set not in set_names():
        raise ConfigError([f"importing.class_set: got {class_set!r}, allowed are {', '.join(set_names())}"])
    names = (class_set,) if class_set else SETS.get(of, ())
    if not names:
        hint = f"say whose classes its labels are: importing.class_set, one of {', '.join(set_names())}"
        raise ConfigError([f"--classes open-fal-500: the format {of.value} has labels of its own; {hint}"])
    return lambda label: _nodes(names, label)


def _nodes(names: Sequence[str], label: str) -> tuple[str, ...] | None:
    for name in names:
        try:
            return load_class_map(name).open_fal_500_of(label)
        except ConfigError:
            continue  # this set has no such class
    return None


def translate(parsed: Parsed, nodes: NodesOf) -> Parsed:
    """Translate every label; a row or segment that keeps none is left out, and each class without a node said once.

    A class may stand for several nodes: then all of them hold.
    """
    used: Counter[str] = Counter()
    result = Parsed(problems=list(parsed.problems), segments_dropped=parsed.segments_dropped)
    found: dict[str, tuple[str, ...] | None] = {}
    for entry in parsed.entries:
        labels = dict.fromkeys((*(entry.labels or ()), *(s.label for s in entry.segments or ())))
        for label in labels:
            if label not in found:
                found[label] = nodes(label)
        used.update(list(labels))
        result.entries.append(_entry(entry, {label: found[label] for label in labels}, result))
    for label in sorted(label for label in found if not found[label]):
        kind, why = Kind.NO_CLASS_IN_TREE, "has no certain class in Open FAL-500"
        if found[label] is None:
            kind, why = Kind.UNKNOWN_CLASS, "is unknown to the class map"
        result.problems.append(Problem(f"class {label}", kind, f"class {label!r} ({used[label]} rows) {why}"))
    return result


def _entry(entry: Entry, found: Mapping[str, tuple[str, ...] | None], result: Parsed) -> Entry:
    if entry.labels is None or entry.left_out is not None:
        return entry
    known = {label: nodes or () for label, nodes in found.items()}
    given = entry.segments or ()
    labels = tuple(dict.fromkeys(node for label in entry.labels for node in known[label]))
    if entry.labels and not labels:
        # That none of the tree's classes holds would be a claim nobody made.
        result.segments_dropped += len(given)
        is_known = all(found[label] is not None for label in entry.labels)
        reason = Kind.NO_CLASS_IN_TREE if is_known else Kind.UNKNOWN_CLASS
        return replace(entry, labels=(), segments=None, left_out=reason)
    segments = tuple(RawSegment(n, s.start, s.end, s.place, s.unusable) for s in given for n in known[s.label])
    result.segments_dropped += sum(not known[s.label] for s in given)
    return replace(entry, labels=labels, segments=segments or None)
