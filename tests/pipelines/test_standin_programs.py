"""Programs of the stand-in corpus: reversed pairs, continuous motion, and each does what its definition says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.standin_classes import PAIRS, PROGRAMS, Program
from pipelines.standin_programs import CONTACT, FloatArray, Part, Take, along

TAKES = st.builds(Take, reach=st.floats(1, 3), heading_rad=st.floats(0, 2 * np.pi), hand=st.sampled_from((-1, 1)))
PROGRESS_T = np.linspace(0, 1, 101)
TAKE = Take(reach=2.0, heading_rad=0.5, hand=1)


def by_id(name: str) -> Program:
    return next(p for p in PROGRAMS if p.id == name)


def state(part: Part) -> FloatArray:
    """Put everything that is seen of a part into one row per moment."""
    columns = [part.scale_T, part.angle_T, part.opacity_T]
    spread = [np.broadcast_to(c, len(part.xy_T2))[:, None] for c in columns]
    out_T2 = np.broadcast_to(part.way_out_T2, part.xy_T2.shape)
    return np.concatenate([part.xy_T2, out_T2, *spread], axis=1)


def places(name: str, take: Take = TAKE) -> FloatArray:
    return by_id(name).parts(PROGRESS_T, take)[0].xy_T2


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].id)
@settings(deadline=None, max_examples=10)
@given(take=TAKES)
def test_a_pair_shows_the_same_in_reversed_order(pair: tuple[Program, Program], take: Take) -> None:
    there, back = (program.parts(PROGRESS_T, take) for program in pair)

    assert [(p.role, p.piece, p.depth) for p in there] == [(p.role, p.piece, p.depth) for p in back]
    for one, other in zip(there, back, strict=True):
        np.testing.assert_allclose(state(one), state(other)[::-1], atol=1e-9)
    assert any(np.abs(state(a) - state(b)).max() > 0.3 for a, b in zip(there, back, strict=True))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.id)
@settings(deadline=None, max_examples=10)
@given(take=TAKES)
def test_nothing_jumps_and_all_rests_outside_the_event(program: Program, take: Take) -> None:
    fine_T = np.linspace(0, 1, 2001)
    for part in program.parts(fine_T, take):
        assert np.abs(np.diff(state(part), axis=0)).max() < 0.05
    before, start, end, after = (program.parts(np.array([p]), take) for p in (-3.0, 0.0, 1.0, 4.0))
    for a, b in [*zip(before, start, strict=True), *zip(end, after, strict=True)]:
        np.testing.assert_array_equal(state(a), state(b))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.id)
def test_all_programs_do_something_different(program: Program) -> None:
    mine = program.parts(PROGRESS_T, TAKE)
    for other in PROGRAMS:
        theirs = other.parts(PROGRESS_T, TAKE)
        if other.id != program.id and len(theirs) == len(mine):
            differences = [np.abs(state(a) - state(b)).max() for a, b in zip(mine, theirs, strict=True)]
            assert max(differences) > 0.3, other.id


def test_paths_go_where_their_names_say() -> None:
    for name, (right, down) in {
        "moves_right": (1, 0), "moves_left": (-1, 0), "moves_down": (0, 1), "moves_up": (0, -1),
        "moves_down_right": (1, 1), "moves_up_left": (-1, -1), "moves_down_left": (-1, 1), "moves_up_right": (1, -1),
    }.items():  # fmt: skip
        way = places(name)[-1] - places(name)[0]
        assert np.sign(np.rint(way)).tolist() == [right, down], name
        np.testing.assert_allclose(np.diff(places(name), axis=0), np.tile(way / 100, (100, 1)), atol=1e-12)


def test_orders_do_one_thing_after_the_other() -> None:
    def legs(name: str) -> list[str]:
        steps = np.sign(np.round(np.diff(places(name), axis=0), 9)).astype(int).tolist()
        names = {(1, 0): "right", (-1, 0): "left", (0, 1): "down", (0, -1): "up"}
        turns = [names[x, y] for x, y in steps if (x, y) in names]  # a step round a corner is aslant
        return [leg for i, leg in enumerate(turns) if i == 0 or turns[i - 1] != leg]

    assert legs("rises_then_falls") == ["up", "down", "up"]
    assert legs("falls_then_rises") == ["down", "up", "down"]
    assert legs("goes_left_then_right") == ["left", "right", "left"]
    assert legs("goes_right_then_left") == ["right", "left", "right"]
    assert legs("goes_right_then_down") == ["right", "down"]
    assert legs("goes_up_then_left") == ["up", "left"]
    assert legs("goes_right_down_left") == ["right", "down", "left"]
    assert legs("goes_right_up_left") == ["right", "up", "left"]


@pytest.mark.parametrize(("name", "sign"), [("clockwise", 1), ("counterclockwise", -1)])
@pytest.mark.parametrize("verb", ["circles", "orbits", "spins"])
def test_turns_go_round_the_way_they_say(verb: str, name: str, sign: int) -> None:
    part = by_id(f"{verb}_{name}").parts(PROGRESS_T, TAKE)[0]
    # Down is positive, so that a growing angle goes clockwise.
    angle_T = np.unwrap(np.arctan2(part.xy_T2[:, 1], part.xy_T2[:, 0])) if verb != "spins" else part.angle_T
    assert sign * (angle_T[-1] - angle_T[0]) > 5
    assert (sign * np.diff(angle_T) > 0).all()


def test_changes_change_what_they_say() -> None:
    grown = by_id("grows").parts(PROGRESS_T, TAKE)[0].scale_T
    assert grown[-1] / grown[0] > 2.5
    assert by_id("fades_in").parts(PROGRESS_T, TAKE)[0].opacity_T[[0, -1]].tolist() == [0, 1]
    pieces = by_id("breaks_apart").parts(PROGRESS_T, TAKE)
    assert [p.piece for p in pieces] == [1, 2, 3, 4]
    assert all(np.hypot(*p.xy_T2[0]) == 0 and np.hypot(*p.xy_T2[-1]) > 1 for p in pieces)
    way_T2 = by_id("comes_in").parts(PROGRESS_T, TAKE)[0].way_out_T2
    assert np.abs(way_T2[0]).round(9).tolist() in ([1, 0], [0, 1])
    assert np.abs(way_T2[-1]).max() == 0


def test_paces_change_on_the_way() -> None:
    speed_T = np.hypot(*np.diff(places("accelerates"), axis=0).T)
    assert (np.diff(speed_T) > 0).all()
    assert speed_T[-20:].mean() > 10 * speed_T[:20].mean()
    hops = places("hops_then_slides")
    assert np.ptp(hops[:50, 1]) > 1
    assert np.ptp(hops[51:, 1]) < 1e-9


@settings(deadline=None, max_examples=20)
@given(take=TAKES)
def test_meetings_touch_when_they_say(take: Take) -> None:
    gaps = {}
    for name in ("approaches", "pushes", "hits", "chases", "covers", "hides", "orbits_clockwise"):
        it, partner = by_id(name).parts(PROGRESS_T, take)
        assert (it.role, partner.role) == ("object", "partner")
        gaps[name] = np.hypot(*(it.xy_T2 - partner.xy_T2).T)
    assert gaps["approaches"][[0, -1]] == pytest.approx([CONTACT + 1.6 * take.reach, CONTACT])
    np.testing.assert_allclose(gaps["pushes"][40:], CONTACT)
    assert gaps["pushes"][0] > CONTACT + 0.5
    assert gaps["hits"][50] == pytest.approx(CONTACT)
    assert min(gaps["hits"][0], gaps["hits"][-1]) > CONTACT + 0.5
    assert gaps["chases"].min() > 2
    assert gaps["covers"][-1] == gaps["hides"][-1] == pytest.approx(0)
    assert np.ptp(gaps["orbits_clockwise"]) < 1e-9
    assert by_id("covers").parts(PROGRESS_T, take)[1].depth < 1 < by_id("hides").parts(PROGRESS_T, take)[1].depth


def test_what_is_pushed_or_hit_moves_only_after_contact() -> None:
    for name, contact in (("pushes", 40), ("hits", 50)):
        it, partner = by_id(name).parts(PROGRESS_T, TAKE)
        assert np.ptp(partner.xy_T2[: contact + 1], axis=0).max() == pytest.approx(0)
        assert np.hypot(*np.ptp(partner.xy_T2, axis=0)) > 1
        rests = np.ptp(it.xy_T2[contact:], axis=0).max() == pytest.approx(0)
        assert rests == (name == "hits")


def test_a_line_of_corners_is_followed_at_constant_speed() -> None:
    line_T2 = along(((0, 0), (3, 0), (3, 1)), np.array([-1.0, 0.0, 0.5, 0.75, 1.0, 2.0]))

    np.testing.assert_allclose(line_T2, [[0, 0], [0, 0], [2, 0], [3, 0], [3, 1], [3, 1]])
