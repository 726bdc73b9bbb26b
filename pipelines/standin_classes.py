"""Which classes the stand-in corpus has: ten appearances, fifty programs, five hundred leaves; and which of them N are.

A leaf is a program performed by an appearance, such as ``pushes.star``. Programs come in pairs that show the same
pictures in reversed order: a single frame can at best tell the pair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from fal_model.errors import ConfigError
from fal_model.taxonomy import Node, Taxonomy
from pipelines import standin_programs as programs
from pipelines.standin_programs import FloatArray, Part, Take, Track, path

Color = tuple[float, float, float]
MIN_CLASSES = 2


@dataclass(frozen=True, slots=True)
class Appearance:
    """What the object looks like.

    Attributes:
        id: Last part of a leaf's id; also the name of its shape.
        definition: What it is, for people.
        hue: Its colour where the difficulty binds hue to appearance: red, green, blue, 0 to 255.
    """

    id: str
    definition: str
    hue: Color


APPEARANCES = (
    Appearance("disc", "filled round object", (255.0, 40.0, 40.0)),
    Appearance("square", "filled object with four equal sides", (40.0, 220.0, 40.0)),
    Appearance("ring", "round object with a hole in its middle", (50.0, 90.0, 255.0)),
    Appearance("cross", "object of two crossed bars of equal length", (240.0, 220.0, 0.0)),
    Appearance("triangle", "filled object with three equal sides", (230.0, 40.0, 230.0)),
    Appearance("star", "star with five points", (0.0, 210.0, 220.0)),
    Appearance("crescent", "thin moon", (255.0, 140.0, 0.0)),
    Appearance("arrow", "arrow with a head and a shaft", (150.0, 80.0, 255.0)),
    Appearance("hourglass", "object of two triangles that meet at their tips", (150.0, 220.0, 90.0)),
    Appearance(
        "ladder", "object of two long bars with a short one between them, like the letter H", (255.0, 120.0, 170.0)
    ),
)


@dataclass(frozen=True, slots=True)
class Program:
    """One thing that can happen.

    Attributes:
        id: First part of a leaf's id.
        family: Id of its family.
        definition: What the object does, after "A disc …".
        track: Where everything is, by progress; shared with the reversed partner.
        is_backward: Whether the track is run backwards.
        partner_id: The program that shows the same pictures in reversed order.
    """

    id: str
    family: str
    definition: str
    track: Track
    is_backward: bool
    partner_id: str

    def parts(self, progress_T: FloatArray, take: Take) -> tuple[Part, ...]:
        """Return everything that is drawn, per moment.

        Args:
            progress_T: Share of the event that is over; outside 0 to 1 all rests as at the event's border.
            take: What is particular to this performance.
        """
        p_T = np.clip(progress_T, 0.0, 1.0)
        return self.track(1.0 - p_T if self.is_backward else p_T, take)


FAMILIES = (
    ("travels", "goes along a straight line"),
    ("turns", "goes round, or turns on the spot"),
    ("orders", "does two or three things whose order tells the class"),
    ("changes", "changes its size, comes, goes, or falls apart"),
    ("paces", "changes how it moves on the way"),
    ("meets", "does something with a partner, which is a thing of another shape"),
)


def _both(family: str, forward: tuple[str, str], backward: tuple[str, str], track: Track) -> tuple[Program, Program]:
    return (
        Program(forward[0], family, forward[1], track, False, backward[0]),
        Program(backward[0], family, backward[1], track, True, forward[0]),
    )


PAIRS = (
    _both(
        "travels",
        ("moves_right", "moves from left to right"),
        ("moves_left", "moves from right to left"),
        path((-1, 0), (1, 0)),
    ),
    _both(
        "orders",
        ("rises_then_falls", "rises, falls below where it began, and comes back"),
        ("falls_then_rises", "falls, rises above where it began, and comes back"),
        path((0, 0), (0, -1), (0, 1), (0, 0)),
    ),
    _both(
        "meets",
        ("pushes", "runs up to a partner and pushes it along"),
        ("pulls", "pulls a touching partner along, lets go, and moves on alone"),
        programs.pushes,
    ),
    _both("changes", ("grows", "becomes much larger"), ("shrinks", "becomes much smaller"), programs.grows),
    _both(
        "turns",
        ("circles_clockwise", "goes once round a circle, clockwise"),
        ("circles_counterclockwise", "goes once round a circle, counterclockwise"),
        programs.circles,
    ),
    _both(
        "paces",
        ("accelerates", "starts slowly and becomes faster and faster"),
        ("brakes", "starts fast and becomes slower and slower"),
        programs.accelerates,
    ),
    _both("travels", ("moves_down", "moves downwards"), ("moves_up", "moves upwards"), path((0, -1), (0, 1))),
    _both(
        "meets",
        ("approaches", "goes up to a resting partner until both touch"),
        ("goes_away", "goes away from a resting partner that it touched"),
        programs.approaches,
    ),
    _both(
        "changes",
        ("fades_in", "appears slowly on the spot"),
        ("fades_out", "vanishes slowly on the spot"),
        programs.fades_in,
    ),
    _both(
        "turns",
        ("spins_clockwise", "turns on the spot, clockwise"),
        ("spins_counterclockwise", "turns on the spot, counterclockwise"),
        programs.spins,
    ),
    _both(
        "orders",
        ("goes_right_then_down", "goes to the right, then down"),
        ("goes_up_then_left", "goes up, then to the left"),
        path((-1, -0.8), (1, -0.8), (1, 0.8)),
    ),
    _both(
        "meets",
        ("hits", "runs into a partner and stops; the partner moves off"),
        ("is_hit", "is run into by a partner, which stops, and moves off itself"),
        programs.hits,
    ),
    _both(
        "changes",
        ("breaks_apart", "falls into four pieces that drift apart"),
        ("assembles", "is put together from four pieces"),
        programs.breaks_apart,
    ),
    _both(
        "meets",
        ("chases", "follows a partner that moves ahead of it"),
        ("is_chased", "moves ahead of a partner that follows it"),
        programs.chases,
    ),
    _both(
        "turns",
        ("spirals_in", "winds inwards around a point"),
        ("spirals_out", "winds outwards from a point"),
        programs.spirals_in,
    ),
    _both(
        "meets",
        ("covers", "slides onto a smaller partner, in front of it"),
        ("uncovers", "slides off a smaller partner that it lay upon"),
        programs.covers,
    ),
    _both(
        "changes",
        ("comes_in", "comes into the picture from outside, and stops"),
        ("goes_out", "starts, and leaves the picture"),
        programs.comes_in,
    ),
    _both(
        "orders",
        ("goes_left_then_right", "goes left, then right beyond where it began, and comes back"),
        ("goes_right_then_left", "goes right, then left beyond where it began, and comes back"),
        path((0, 0), (-1, 0), (1, 0), (0, 0)),
    ),
    _both(
        "travels",
        ("moves_down_right", "moves aslant, down and to the right"),
        ("moves_up_left", "moves aslant, up and to the left"),
        path((-0.8, -0.8), (0.8, 0.8)),
    ),
    _both(
        "paces",
        ("hops_then_slides", "goes sideways, first in hops, then along the ground"),
        ("slides_then_hops", "goes sideways, first along the ground, then in hops"),
        programs.hops_then_slides,
    ),
    _both(
        "meets",
        ("hides", "goes behind a larger partner and stays there"),
        ("emerges", "comes out from behind a larger partner"),
        programs.hides,
    ),
    _both(
        "orders",
        ("spins_then_goes", "turns on the spot, then goes straight on"),
        ("goes_then_spins", "goes straight on, then turns on the spot"),
        programs.spins_then_goes,
    ),
    _both(
        "meets",
        ("orbits_clockwise", "goes once round a smaller partner, clockwise"),
        ("orbits_counterclockwise", "goes once round a smaller partner, counterclockwise"),
        programs.orbits,
    ),
    _both(
        "orders",
        ("goes_right_down_left", "goes right, then down, then left"),
        ("goes_right_up_left", "goes right, then up, then left"),
        path((-1, -0.8), (1, -0.8), (1, 0.8), (-1, 0.8)),
    ),
    _both(
        "travels",
        ("moves_down_left", "moves aslant, down and to the left"),
        ("moves_up_right", "moves aslant, up and to the right"),
        path((0.8, -0.8), (-0.8, 0.8)),
    ),
)
"""In the order in which smaller corpora take them: the first ones come from every family."""
PROGRAMS = tuple(program for pair in PAIRS for program in pair)
MAX_CLASSES = len(APPEARANCES) * len(PROGRAMS)
_APPEARANCE = {a.id: a for a in APPEARANCES}
_PROGRAM = {p.id: p for p in PROGRAMS}


@cache
def choose_classes(num_classes: int) -> tuple[str, ...]:
    """Choose the leaves of a corpus of so many classes.

    About the square root of their number are appearances, at most ten; each of them gets the first pairs of programs,
    so that both of a pair are there and appearances differ by one pair at most. An odd number leaves one out.

    Args:
        num_classes: 2 to 500.

    Returns:
        Leaf ids; where ``num_classes`` is odd, only the last lacks its partner.

    Raises:
        ConfigError: another number.
    """
    if not MIN_CLASSES <= num_classes <= MAX_CLASSES:
        raise ConfigError([f"classes: got {num_classes}, must be {MIN_CLASSES} to {MAX_CLASSES}"])
    num_appearances = min(len(APPEARANCES), round(math.sqrt(num_classes)))
    leaves = [
        leaf_id(program, appearance)
        for pair in PAIRS
        for appearance in APPEARANCES[:num_appearances]
        for program in pair
    ]
    return tuple(leaves[:num_classes])


def standin_taxonomy(num_classes: int) -> Taxonomy:
    """Return the label tree of a corpus of so many classes: family, program, leaf.

    Args:
        num_classes: 2 to 500.

    Raises:
        ConfigError: another number.
    """
    chosen = set(choose_classes(num_classes))
    nodes: list[Node] = []
    for family, means in FAMILIES:
        below: list[Node] = []
        for program in (p for p in PROGRAMS if p.family == family):
            leaves = [_leaf_node(program, a) for a in APPEARANCES if leaf_id(program, a) in chosen]
            if leaves:
                below += [Node(program.id, _words(program.id), family, f"An object {program.definition}."), *leaves]
        if below:
            nodes += [Node(family, family, None, f"An object {means}."), *below]
    return Taxonomy(nodes)


def leaf_id(program: Program, appearance: Appearance) -> str:
    """Return the id of the class of that program performed by that appearance."""
    return f"{program.id}.{appearance.id}"


def program_of(leaf: str) -> Program:
    """Return the program of a leaf class."""
    return _PROGRAM[leaf.partition(".")[0]]


def appearance_of(leaf: str) -> Appearance:
    """Return the appearance of a leaf class."""
    return _APPEARANCE[leaf.partition(".")[2]]


def partner_of(leaf: str) -> str:
    """Return the leaf that shows the same pictures in reversed order."""
    return f"{program_of(leaf).partner_id}.{appearance_of(leaf).id}"


def _leaf_node(program: Program, appearance: Appearance) -> Node:
    article = "An" if appearance.id in {"arrow", "hourglass"} else "A"
    text = f"{article} {appearance.id} ({appearance.definition}) {program.definition}."
    return Node(leaf_id(program, appearance), f"{appearance.id} {_words(program.id)}", program.id, text)


def _words(text: str) -> str:
    return text.replace("_", " ")
