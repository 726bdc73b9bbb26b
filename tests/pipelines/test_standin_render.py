"""The pictures of the stand-in corpus show what its scenes say; reversed pairs show the same pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.standin import Event, StandinCorpus, StandinVideo
from pipelines.standin_classes import APPEARANCES, PROGRAMS, Program
from pipelines.standin_programs import FloatArray
from pipelines.standin_render import render_frames, render_scene
from pipelines.standin_scene import Scene, sample_scene
from pipelines.standin_shapes import OUTSIDERS
from pipelines.standin_stage import Sprite
from pipelines.standin_textures import Texture

CORPUS = StandinCorpus(classes=500, videos_per_class=10, picture="tiny")
GRAY = (100.0, 100.0, 100.0)
WHITE = (250.0, 250.0, 250.0)
SHAPES = [*(a.id for a in APPEARANCES), *OUTSIDERS]


def scene_of(*sprites: Sprite, num_frames: int = 3, strength: float = 0.0) -> Scene:
    return Scene(
        sprites=sprites,
        objects=(),
        clutter=(),
        texture=Texture(kind="checks", cell=0, angle_rad=0.2, period=0.3, phase=(0.1, 0.2), seed=1),
        background=(GRAY, GRAY),
        texture_strength=strength,
        posts=(),
        post_color=WHITE,
        camera_xy_T2=np.zeros((num_frames, 2)),
        zoom_T=np.ones(num_frames),
        shutter=0.0,
        defocus_px=0.0,
        noise_sigma=0.0,
    )


def white(shape: str, xy_T2: FloatArray, radius_px: float = 12.0) -> Sprite:
    num_frames = len(xy_T2)
    return Sprite(
        shape=shape,
        piece=0,
        radius_px=radius_px,
        color=WHITE,
        mark=WHITE,
        mark_rad=0.0,
        xy_T2=xy_T2,
        scale_T=np.ones(num_frames),
        angle_T=np.full(num_frames, 0.3),
        opacity_T=np.ones(num_frames),
        depth=1,
    )


def drawn(scene: Scene) -> npt.NDArray[np.float64]:
    return np.stack(list(render_scene(scene, 96, 72, seed=1))).astype(float)


def cover(scene: Scene) -> npt.NDArray[np.float64]:
    """Return by how much of white each pixel was covered."""
    empty = replace(scene, sprites=())
    return np.asarray((drawn(scene) - drawn(empty))[..., 0] / 150)


def middles(cover_THW: npt.NDArray[np.float64]) -> FloatArray:
    """Return the middle of what is covered, from the middle of the picture."""
    rows, columns = np.mgrid[:72, :96]
    total_T = cover_THW.sum(axis=(1, 2))
    x_T, y_T = ((cover_THW * axis).sum(axis=(1, 2)) / total_T for axis in (columns - 47.5, rows - 35.5))
    return np.stack([x_T, y_T], axis=-1)


@pytest.mark.parametrize("difficulty", ["easy", "standard", "hard"])
def test_frames_have_the_planned_form(difficulty: str) -> None:
    video = replace(CORPUS.video("train", 3), difficulty=difficulty)  # type: ignore[arg-type]  # a parameter is text

    frames = list(render_frames(video))

    assert len(frames) == video.num_frames
    assert {frame.shape for frame in frames} == {(video.height_px, video.width_px, 3)}
    assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
    assert len({frame.tobytes() for frame in frames}) == len(frames)


def test_same_plan_gives_the_same_frames_and_another_seed_others() -> None:
    video = CORPUS.video("train", 0)
    first, again = next(render_frames(video)), next(render_frames(video))
    other = next(render_frames(replace(video, seed=video.seed + 1)))

    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("shape", ["disc", "ring", "square", "cross"])
def test_a_shape_is_drawn_where_it_is_to_a_fraction_of_a_pixel(shape: str) -> None:
    xy_T2 = np.array([[-8.0, -6.0], [-6.75, -6.0], [-6.75, -2.5]])

    np.testing.assert_allclose(middles(cover(scene_of(white(shape, xy_T2)))), xy_T2, atol=0.15)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_drawn_in_their_size_opacity_and_turn(shape: str) -> None:
    sprite = replace(
        white(shape, np.zeros((4, 2))),
        scale_T=np.array([1.0, 1.5, 1.0, 1.0]),
        opacity_T=np.array([1.0, 1.0, 0.5, 1.0]),
        angle_T=np.array([0.0, 0.0, 0.0, np.pi]),
    )
    whole, larger, fainter, turned = cover(scene_of(sprite, num_frames=4))

    assert larger.sum() == pytest.approx(1.5**2 * whole.sum(), rel=0.03)
    np.testing.assert_allclose(fainter, whole / 2, atol=0.02)
    np.testing.assert_allclose(turned, whole[::-1, ::-1], atol=0.03)


def test_a_shape_may_leave_the_picture_or_be_hidden() -> None:
    away = white("disc", np.array([[-53.0, 0.0], [-100.0, 0.0], [300.0, -200.0]]))
    hidden = replace(white("disc", np.zeros((3, 2))), opacity_T=np.array([0.0, 1.0, 0.0]))

    assert (cover(scene_of(away)).max(axis=(1, 2)) > 0.1).tolist() == [True, False, False]
    assert (cover(scene_of(hidden)).max(axis=(1, 2)) > 0.1).tolist() == [False, True, False]


def test_what_comes_later_is_drawn_above() -> None:
    below, above = white("disc", np.zeros((1, 2))), replace(white("disc", np.zeros((1, 2))), color=GRAY, mark=GRAY)

    assert np.abs(drawn(scene_of(below, above, num_frames=1)) - 100).max() < 90
    assert drawn(scene_of(above, below, num_frames=1))[0, 36, 48, 0] == 250


def test_the_camera_moves_background_and_objects_together() -> None:
    still = scene_of(white("disc", np.zeros((3, 2))), strength=20.0)
    first, second, third = drawn(replace(still, camera_xy_T2=np.array([[0.0, 0.0], [3.0, 0.0], [3.0, -2.0]])))

    np.testing.assert_allclose(first[:, 3:], second[:, :-3], atol=1)
    np.testing.assert_allclose(second[:-2], third[2:], atol=1)


def test_the_zoom_enlarges_around_the_middle() -> None:
    xy_T2 = np.tile([[10.0, -5.0]], (2, 1))
    near = replace(scene_of(white("disc", xy_T2), num_frames=2), zoom_T=np.array([1.0, 1.4]))

    plain, large = cover(near)
    np.testing.assert_allclose(middles(cover(near)), [[10, -5], [14, -7]], atol=0.15)
    assert large.sum() == pytest.approx(1.4**2 * plain.sum(), rel=0.03)


def test_motion_is_blurred_along_its_way_and_the_same_in_both_directions() -> None:
    xy_T2 = np.stack([np.linspace(-20, 20, 5), np.zeros(5)], axis=-1)
    sharp = scene_of(white("disc", xy_T2, 8.0), num_frames=5)
    there = cover(replace(sharp, shutter=0.8))
    back = cover(replace(scene_of(white("disc", xy_T2[::-1], 8.0), num_frames=5), shutter=0.8))

    def spread(picture: npt.NDArray[np.float64], axis: int) -> int:
        return int((picture.max(axis=axis) > 0.1).sum())

    assert spread(there[2], axis=0) >= spread(cover(sharp)[2], axis=0) + 5
    assert abs(spread(there[2], axis=1) - spread(cover(sharp)[2], axis=1)) <= 2
    np.testing.assert_allclose(there, back[::-1], atol=0.02)


def test_a_moving_camera_blurs_the_background() -> None:
    scene = scene_of(num_frames=5, strength=30.0)
    panning = replace(scene, camera_xy_T2=np.stack([np.linspace(0, 30, 5), np.zeros(5)], axis=-1))

    assert drawn(replace(panning, shutter=0.8))[2].std() < 0.85 * drawn(panning)[2].std()


def test_defocus_noise_clutter_and_posts_do_what_they_say() -> None:
    scene = scene_of(white("disc", np.zeros((2, 2))), num_frames=2, strength=20.0)
    plain = drawn(scene)

    def roughness(picture: npt.NDArray[np.float64]) -> float:
        return float(np.abs(np.diff(picture, axis=2)).mean())

    assert roughness(drawn(replace(scene, defocus_px=1.5))) < 0.8 * roughness(plain)
    noisy = drawn(replace(scene, noise_sigma=8.0)) - plain
    assert np.std(noisy) == pytest.approx(8, rel=0.1)
    assert np.abs(noisy[0] - noisy[1]).mean() > 4
    cluttered = drawn(replace(scene, clutter=(white("block", np.array([[30.0, 20.0]])),)))
    assert cluttered[0, 55, 77].tolist() == [250, 250, 250]
    fenced = drawn(replace(scene, posts=((-30.0, 6.0),)))
    assert (fenced[0, :, 19:23] == 250).all()
    np.testing.assert_array_equal(fenced[:, :, 30:], plain[:, :, 30:])


def reversed_pictures(program: Program) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Draw both programs of a pair, from the same plan, with a still camera and without noise."""
    video = StandinVideo(
        video_id="pair", split="train", difficulty="standard", events=(), width_px=96, height_px=72, fps=10,
        num_frames=31, is_variable_rate=False, codec="libx264", suffix="mp4", keyframe_interval=30, crf=20, seed=11,
    )  # fmt: skip
    pictures = []
    for name in (program.id, program.partner_id):
        # From the first to the last frame, both at the event's borders.
        scene = sample_scene(replace(video, events=(Event(f"{name}.star", 0.0, 3.0),)))
        objects = tuple(sprite for sprites in scene.objects for sprite in sprites)
        still = {"camera_xy_T2": np.zeros((31, 2)), "zoom_T": np.ones(31)}
        scene = replace(scene, sprites=objects, noise_sigma=0.0, **still)  # type: ignore[arg-type]  # mixed fields
        pictures.append(drawn(scene))
    return pictures[0], pictures[1]


@pytest.mark.parametrize("program", [p for p in PROGRAMS if not p.is_backward], ids=lambda program: program.id)
def test_a_pair_shows_the_same_pictures_in_reversed_order(program: Program) -> None:
    there, back = reversed_pictures(program)

    # A grey value more or less is what rounding may do.
    np.testing.assert_allclose(there, back[::-1], atol=2)
    assert np.abs(there - back).max() > 30
