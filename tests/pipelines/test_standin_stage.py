"""Performers have their places: in view, apart, the right size, in colours that stand out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.standin_classes import PROGRAMS, Color, Program, appearance_of
from pipelines.standin_difficulty import EASY, HARD, STANDARD, DifficultyNumbers
from pipelines.standin_shapes import PARTNERS
from pipelines.standin_stage import BOX_REACH, Cue, Performance, Stage, faint_color, perform

PROGRESS_T = np.linspace(-0.1, 1.1, 61)


def stage_of(numbers: DifficultyNumbers = STANDARD, base_luma: float = 120.0) -> Stage:
    return Stage(
        times_T=np.linspace(0, 3, len(PROGRESS_T)),
        numbers=numbers,
        side_px=72,
        base_luma=base_luma,
        room_2=np.array([38.0, 26.0]),
        exit_2=np.array([56.0, 44.0]),
    )


def cue_of(program: Program, follow: float = 0.0, shape: str = "star") -> Cue:
    return Cue(
        program=program,
        shape=shape,
        radius_px=9.0,
        progress_T=PROGRESS_T,
        is_seen_T=np.ones(len(PROGRESS_T)),
        follow=follow,
    )


def rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def by_id(name: str) -> Program:
    return next(p for p in PROGRAMS if p.id == name)


def luma(color: Color) -> float:
    return float(np.dot(color, (0.299, 0.587, 0.114)))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.id)
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 2**31), follow=st.sampled_from((0.0, 0.5, 1.0, 1.5, -0.3)))
def test_the_whole_performance_stays_in_view(program: Program, seed: int, follow: float) -> None:
    stage = stage_of()

    sprites, camera_T2 = perform(rng(seed), stage, cue_of(program, follow), [])

    for sprite in sprites:
        if program.id not in {"comes_in", "goes_out"}:
            reach_T1 = BOX_REACH * sprite.radius_px * sprite.scale_T[:, None]
            # The room is measured at 49 moments; between them an arc may go a tenth of a pixel further.
            assert (np.abs(sprite.xy_T2 - camera_T2) + reach_T1 <= stage.room_2 + 0.1).all()
        assert 3.5 <= sprite.radius_px <= 9
        assert len(sprite.xy_T2) == len(sprite.scale_T) == len(sprite.angle_T) == len(sprite.opacity_T) == 61


@pytest.mark.parametrize("name", ["comes_in", "goes_out"])
@pytest.mark.parametrize("seed", range(8))
def test_a_way_out_ends_just_out_of_the_picture(name: str, seed: int) -> None:
    stage = stage_of()

    (sprite,), camera_T2 = perform(rng(seed), stage, cue_of(by_id(name), follow=1.0), [])

    out_T2 = np.abs(sprite.xy_T2) - stage.exit_2
    outside, inside = (0, -1) if name == "comes_in" else (-1, 0)
    assert 1.1 * sprite.radius_px <= out_T2[outside].max() <= 1.3 * sprite.radius_px
    assert (np.abs(sprite.xy_T2[inside]) <= stage.room_2).all()
    assert not camera_T2.any()


def test_a_camera_that_follows_takes_the_motion_out_of_the_picture() -> None:
    for follow in (0.0, 0.5, 1.0, 1.5):
        (sprite,), camera_T2 = perform(rng(1), stage_of(), cue_of(by_id("moves_right"), follow), [])
        way, seen = (float(np.diff(xy_T2[[0, -1], 0])[0]) for xy_T2 in (sprite.xy_T2, sprite.xy_T2 - camera_T2))
        assert way > 15
        assert seen == pytest.approx((1 - follow) * way)


def test_both_programs_of_a_pair_are_placed_alike() -> None:
    for program in PROGRAMS:
        if not program.is_backward:
            there = perform(rng(5), stage_of(), cue_of(program, 0.4), [])
            back = perform(rng(5), stage_of(), cue_of(by_id(program.partner_id), 0.4), [])
            np.testing.assert_allclose(there.camera_xy_T2, back.camera_xy_T2[::-1], atol=1e-9)
            for a, b in zip(there.sprites, back.sprites, strict=True):
                np.testing.assert_allclose(a.xy_T2, b.xy_T2[::-1], atol=1e-9)
                np.testing.assert_allclose(a.angle_T, b.angle_T[::-1], atol=1e-9)
                np.testing.assert_allclose(a.scale_T, b.scale_T[::-1], atol=1e-9)
                np.testing.assert_allclose(a.opacity_T, b.opacity_T[::-1], atol=1e-9)
                assert (a.shape, a.color, a.mark, a.mark_rad) == (b.shape, b.color, b.mark, b.mark_rad)


def test_performers_keep_away_from_each_other() -> None:
    def gap(first: Performance, second: Performance) -> float:
        return float(np.hypot(*(first.sprites[0].xy_T2 - second.sprites[0].xy_T2).T).min())

    cue = cue_of(by_id("grows"))
    first = [perform(rng(seed), stage_of(), cue, []) for seed in range(40)]
    apart = np.mean([gap(f, perform(rng(seed + 99), stage_of(), cue, [f])) for seed, f in enumerate(first)])
    anyhow = np.mean([gap(f, perform(rng(seed + 99), stage_of(), cue, [])) for seed, f in enumerate(first)])
    assert apart > 1.3 * anyhow


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31), st.floats(60, 195), st.sampled_from((EASY, STANDARD, HARD)))
def test_colours_stand_out_from_the_background_and_from_the_partner(
    seed: int, base_luma: float, numbers: DifficultyNumbers
) -> None:
    it, partner = perform(rng(seed), stage_of(numbers, base_luma), cue_of(by_id("approaches")), []).sprites

    assert it.shape == "star"
    assert partner.shape in PARTNERS
    # A vivid colour at its limit may lose a part of its brightness.
    assert abs(luma(it.color) - base_luma) >= 0.6 * numbers.contrast[0]
    assert np.abs(np.subtract(it.mark, it.color)).max() >= 20
    assert abs(luma(partner.color) - luma(it.color)) >= 10


def test_hue_tells_the_appearance_only_where_it_is_bound() -> None:
    def hues(numbers: DifficultyNumbers, shape: str) -> set[str]:
        found = set()
        for seed in range(30):
            color = perform(rng(seed), stage_of(numbers), cue_of(by_id("grows"), shape=shape), []).sprites[0].color
            found.add("".join(c for _, c in sorted(zip(color, "RGB", strict=True), reverse=True))[0])
        return found

    assert hues(EASY, "disc") == {"R"}
    assert hues(EASY, "ring") == {"B"}
    assert hues(STANDARD, "disc") == hues(HARD, "ring") == set("RGB")
    assert appearance_of("grows.disc").hue[0] == 255


def test_what_may_not_be_seen_is_not_there() -> None:
    is_seen_T = (PROGRESS_T > 0.5).astype(float)
    (sprite,), _ = perform(rng(0), stage_of(), replace(cue_of(by_id("fades_in")), is_seen_T=is_seen_T), [])

    np.testing.assert_allclose(sprite.opacity_T, np.clip(PROGRESS_T, 0, 1) * is_seen_T)


def test_faint_colours_have_their_brightness() -> None:
    for seed in range(20):
        color = faint_color(rng(seed), 120, 0.2)
        assert luma(color) == pytest.approx(120, abs=1)
        assert np.ptp(color) <= 0.2 * 255 + 1
