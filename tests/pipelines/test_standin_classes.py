"""Classes of the stand-in corpus: five hundred leaves, pairs that stay together, a tree that a person understands."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import ConfigError
from pipelines.standin_classes import (
    APPEARANCES,
    FAMILIES,
    PAIRS,
    PROGRAMS,
    appearance_of,
    choose_classes,
    partner_of,
    program_of,
    standin_taxonomy,
)


def test_there_are_five_hundred_leaves_below_programs_below_families() -> None:
    taxonomy = standin_taxonomy(500)

    assert Counter(taxonomy.levels) == {0: 6, 1: 50, 2: 500}
    assert len(taxonomy.leaves) == 500
    assert {taxonomy.nodes[i].id for i in taxonomy.leaves} == set(choose_classes(500))
    assert taxonomy.path(taxonomy.index("pushes.star")) == ["meets", "pushes", "pushes.star"]
    assert len({node.definition for node in taxonomy.nodes}) == len({node.name for node in taxonomy.nodes}) == 556
    assert all(node.definition.endswith(".") and "_" not in node.name for node in taxonomy.nodes)
    assert taxonomy.nodes[taxonomy.index("is_hit.arrow")].definition == (
        "An arrow (arrow with a head and a shaft) is run into by a partner, which stops, and moves off itself."
    )


def test_every_program_has_its_partner_in_its_family() -> None:
    assert len(PAIRS) == 25
    assert len({p.id for p in PROGRAMS}) == 50
    assert {p.family for p in PROGRAMS} == {family for family, _ in FAMILIES}
    for first, second in PAIRS:
        assert (first.partner_id, second.partner_id) == (second.id, first.id)
        assert first.family == second.family
        assert first.track is second.track
        assert (first.is_backward, second.is_backward) == (False, True)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 500))
def test_any_number_of_classes_keeps_pairs_together_and_is_balanced(num_classes: int) -> None:
    leaves = choose_classes(num_classes)

    assert len(leaves) == len(set(leaves)) == num_classes
    assert [leaf for leaf in leaves if partner_of(leaf) not in leaves] == list(leaves[-1:] if num_classes % 2 else ())
    per_appearance = Counter(appearance_of(leaf).id for leaf in leaves)
    assert max(per_appearance.values()) - min(per_appearance.values()) <= 2
    per_program = Counter(program_of(leaf).id for leaf in leaves)
    # Only the last pair may lack appearances, and by an odd number one program of it.
    counts = [per_program[program.id] for pair in PAIRS for program in pair if per_program[program.id]]
    assert set(counts[:-2]) <= {len(per_appearance)}
    taxonomy = standin_taxonomy(num_classes)
    assert {taxonomy.nodes[i].id for i in taxonomy.leaves} == set(leaves)


def test_known_numbers_of_classes() -> None:
    assert set(choose_classes(2)) == {"moves_right.disc", "moves_left.disc"}
    demo = choose_classes(16)
    assert {program_of(leaf).id for leaf in demo} == {
        "moves_right", "moves_left", "rises_then_falls", "falls_then_rises",
    }  # fmt: skip
    assert {appearance_of(leaf).id for leaf in demo} == {"disc", "square", "ring", "cross"}
    hundred = choose_classes(100)
    assert len({program_of(leaf).id for leaf in hundred}) == 10
    assert len({program_of(leaf).family for leaf in hundred}) == 5
    assert len({program_of(leaf).family for leaf in choose_classes(120)}) == 6


def test_ids_are_stable() -> None:
    # Labels, manifests and models name these: one that is gone or renamed breaks them.
    assert [a.id for a in APPEARANCES] == [
        "disc", "square", "ring", "cross", "triangle", "star", "crescent", "arrow", "hourglass", "ladder",
    ]  # fmt: skip
    assert standin_taxonomy(500).taxonomy_id == "f3f7dd73fc1a02c7"


@pytest.mark.parametrize("num_classes", [-1, 0, 1, 501])
def test_other_numbers_are_refused(num_classes: int) -> None:
    with pytest.raises(ConfigError, match=f"classes: got {num_classes}, must be 2 to 500"):
        choose_classes(num_classes)
    with pytest.raises(ConfigError, match=f"classes: got {num_classes}"):
        standin_taxonomy(num_classes)
