"""Backgrounds: every kind is a pattern of its own, and no split has a texture of another."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from pipelines.standin import SPLITS, StandinCorpus
from pipelines.standin_scene import sample_scene
from pipelines.standin_textures import KINDS, NUM_STEPS, PERIODS, Texture, cells_of, paint, sample_texture

GRAYS = ((100.0, 100.0, 100.0), (100.0, 100.0, 100.0))


def texture(kind: str = "stripes", **values: float) -> Texture:
    plain: dict[str, float] = {"angle_rad": 0.0, "period": 0.25} | values
    return Texture(kind=kind, cell=0, phase=(0.0, 0.0), seed=1, angle_rad=plain["angle_rad"], period=plain["period"])


def test_the_steps_of_angle_and_scale_are_shared_out() -> None:
    cells = {split: set(cells_of(split)) for split in SPLITS}

    assert [len(cells[split]) for split in SPLITS] == [80, 10, 10]
    assert set.union(*cells.values()) == set(range(NUM_STEPS**2))
    for split in SPLITS:  # every angle and every scale is in every split: only the combinations differ
        assert {c // NUM_STEPS for c in cells[split]} == {c % NUM_STEPS for c in cells[split]} == set(range(NUM_STEPS))


def test_splits_of_a_corpus_share_no_texture_in_whatever_it_is_like() -> None:
    corpus = StandinCorpus(classes=500, videos_per_class=10)
    drawn = {split: [sample_scene(corpus.video(split, i)).texture for i in range(150)] for split in SPLITS}

    for one, other in combinations(SPLITS, 2):
        assert not {t.cell for t in drawn[one]} & {t.cell for t in drawn[other]}
        assert not {t.seed for t in drawn[one]} & {t.seed for t in drawn[other]}
        # Also as numbers: same angle and same period never meet, to a tenth of a step.
        a, b = (np.array([(t.angle_rad, np.log(t.period)) for t in drawn[split]]) for split in (one, other))
        steps_2 = np.array([np.pi, np.log(PERIODS[1] / PERIODS[0])]) / NUM_STEPS
        assert (np.abs(a[:, None] - b[None]) / steps_2).max(axis=-1).min() > 0.1


def test_parameters_lie_in_their_cell() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    drawn = [sample_texture(rng, "train") for _ in range(300)]

    assert {t.kind for t in drawn} == set(KINDS)
    for t in drawn:
        assert t.cell in cells_of("train")
        assert int(t.angle_rad / np.pi * NUM_STEPS) == t.cell // NUM_STEPS
        assert PERIODS[0] <= t.period <= PERIODS[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_pattern_is_seen_and_is_reproducible(kind: str) -> None:
    picture = paint(texture(kind), GRAYS, 20, 72, 96, 72)

    assert picture.shape == (72, 96, 3)
    assert 4 < picture.std() < 30
    assert abs(picture.mean() - 100) < 12
    np.testing.assert_array_equal(picture, paint(texture(kind), GRAYS, 20, 72, 96, 72))


def test_kinds_differ() -> None:
    pictures = [paint(texture(kind), GRAYS, 20, 72, 96, 72).astype(float).ravel() for kind in KINDS]

    correlations = np.corrcoef(pictures) - np.eye(len(KINDS))
    assert np.abs(correlations).max() < 0.85


def test_period_and_angle_do_what_they_say() -> None:
    flat = paint(texture(), GRAYS, 20, 72, 144, 72)
    luma = flat.mean(axis=(0, 2))
    # A quarter of 72 pixels: 18 pixels further the stripes are the same, 9 pixels further they are opposite.
    assert np.corrcoef(luma[:-18], luma[18:])[0, 1] > 0.8
    assert np.corrcoef(luma[:-9], luma[9:])[0, 1] < -0.5
    upright = paint(texture(angle_rad=np.pi / 2), GRAYS, 20, 144, 72, 72).mean(axis=(1, 2))
    assert np.corrcoef(upright[:-18], upright[18:])[0, 1] > 0.8


def test_the_gradient_runs_between_its_colours() -> None:
    picture = paint(texture(), ((40.0, 40.0, 40.0), (200.0, 200.0, 200.0)), 0, 72, 144, 72).astype(float)

    assert picture[:, :5].mean() < 60
    assert picture[:, -5:].mean() > 180


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="texture: got 'fur', must be one of grain, stripes, checks"):
        paint(texture("fur"), GRAYS, 20, 72, 96, 72)
