"""The pictures of the stand-in corpus show what its truth says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.standin import APPEARANCES, DISTRACTOR_SHAPES, MOTIONS, FloatArray, Scene, Sprite, plan_corpus, track
from pipelines.standin import sample_scene as sample
from pipelines.standin_render import distance, render_frames, render_scene

SHAPES = [*(a.id for a in APPEARANCES), *DISTRACTOR_SHAPES]


def still_scene(sprite: Sprite | None, num_frames: int = 3) -> Scene:
    return Scene(
        objects=(sprite,) if sprite else (),
        distractors=(),
        camera_xy_T2=np.zeros((num_frames, 2)),
        background=((100.0, 100.0, 100.0), (100.0, 100.0, 100.0)),
        noise_sigma=0.0,
    )


def white(shape: str, xy_T2: FloatArray) -> Sprite:
    return Sprite(
        shape=shape,
        radius_px=12,
        angle_rad=0.3,
        color=(250.0, 250.0, 250.0),
        xy_T2=xy_T2,
        is_visible_T=np.ones(len(xy_T2), bool),
    )


def test_frames_have_the_planned_form() -> None:
    video = plan_corpus(1, 0, "train")[0]

    frames = list(render_frames(video))

    assert len(frames) == video.num_frames
    assert {frame.shape for frame in frames} == {(video.height_px, video.width_px, 3)}
    assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}


def test_same_plan_gives_the_same_frames_and_another_seed_others() -> None:
    video = plan_corpus(1, 0, "train")[0]
    first, again = next(render_frames(video)), next(render_frames(video))
    other = next(render_frames(replace(video, seed=video.seed + 1)))

    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_fill_their_radius_and_differ_inside(shape: str) -> None:
    grid = np.linspace(-1.2, 1.2, 97)
    inside = distance(shape, grid[None, :], grid[:, None]) < 0
    radii = np.hypot(grid[None, :], grid[:, None])

    assert 0.95 <= radii[inside].max() <= 1.11
    assert inside[48, 48] == (shape != "ring")


def test_shapes_are_all_different() -> None:
    grid = np.linspace(-1.2, 1.2, 97)
    masks = {shape: distance(shape, grid[None, :], grid[:, None]) < 0 for shape in SHAPES}

    for a in SHAPES:
        for b in SHAPES:
            if a != b:
                assert (masks[a] & masks[b]).sum() / (masks[a] | masks[b]).sum() < 0.85


def test_unknown_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape: got 'cube', must be one of disc, ring, square, cross"):
        distance("cube", np.zeros(1), np.zeros(1))


@pytest.mark.parametrize("shape", ["disc", "ring", "square", "cross"])
def test_a_shape_is_drawn_where_it_is_to_a_fraction_of_a_pixel(shape: str) -> None:
    xy_T2 = np.array([[40.0, 30.0], [41.25, 30.0], [41.25, 33.5]])
    empty = render_scene(still_scene(None), 96, 72, seed=1)
    shown = render_scene(still_scene(white(shape, xy_T2)), 96, 72, seed=1)

    for xy_2, before, after in zip(xy_T2, empty, shown, strict=True):
        cover = np.abs(after.astype(float) - before)[..., 0] > 40
        rows, columns = np.nonzero(cover)
        assert [columns.mean(), rows.mean()] == pytest.approx(xy_2, abs=0.6)


def test_a_shape_may_leave_the_picture() -> None:
    xy_T2 = np.array([[-5.0, 30.0], [-50.0, 30.0], [300.0, -200.0]])
    empty = render_scene(still_scene(None), 96, 72, seed=1)
    shown = render_scene(still_scene(white("disc", xy_T2)), 96, 72, seed=1)

    changed = [(a != b).any() for a, b in zip(empty, shown, strict=True)]
    assert changed == [True, False, False]


def test_a_hidden_shape_is_not_drawn() -> None:
    sprite = replace(white("disc", np.full((3, 2), 30.0)), is_visible_T=np.array([False, True, False]))
    empty = render_scene(still_scene(None), 96, 72, seed=1)
    shown = render_scene(still_scene(sprite), 96, 72, seed=1)

    changed = [(a != b).any() for a, b in zip(empty, shown, strict=True)]
    assert changed == [False, True, False]


def test_the_camera_moves_background_and_objects_together() -> None:
    sprite = white("disc", np.full((3, 2), 40.0))
    scene = replace(still_scene(sprite), camera_xy_T2=np.array([[0.0, 0.0], [3.0, 0.0], [3.0, -2.0]]))

    first, second, third = render_scene(scene, 96, 72, seed=1)

    np.testing.assert_array_equal(first[:, 3:], second[:, :-3])
    np.testing.assert_array_equal(second[:-2], third[2:])


def test_pictures_of_paired_classes_are_the_same_in_reversed_order() -> None:
    num_frames = 21
    motions = {motion.id: motion for motion in MOTIONS}
    frames = {}
    for name in ("rises_then_falls", "falls_then_rises"):
        xy_T2 = np.array([48.0, 36.0]) + 40 * track(motions[name], np.linspace(0, 1, num_frames))
        frames[name] = np.stack(list(render_scene(still_scene(white("disc", xy_T2), num_frames), 96, 72, seed=1)))

    np.testing.assert_array_equal(frames["rises_then_falls"], frames["falls_then_rises"][::-1])
    assert (frames["rises_then_falls"] != frames["falls_then_rises"]).any()


def centroids(frames: list[npt.NDArray[np.uint8]], color: FloatArray) -> FloatArray:
    """Find the middle of all pixels that have about the object's hue and brightness."""
    places = []
    for frame in frames:
        rows, columns = np.nonzero(np.abs(frame - color).max(axis=-1) < 45)
        places.append([np.median(columns), np.median(rows)])
    return np.array(places)


def test_the_order_of_pictures_tells_the_class() -> None:
    for video in [v for v in plan_corpus(20, 0, "train") if len(v.events) == 1]:
        event, sprite = video.events[0], sample(video).objects[0]
        times_T = np.arange(video.num_frames) / video.fps
        during = np.flatnonzero((times_T >= event.start_s) & (times_T < event.end_s))[:: video.fps // 8]
        frames = list(render_frames(video))
        seen_T2 = centroids([frames[i] for i in during], np.asarray(sprite.color))
        progress_T = (times_T[during] - event.start_s) / (event.end_s - event.start_s)
        size_2 = (video.width_px, video.height_px)
        off = {
            m.id: np.abs((seen_T2 - seen_T2.mean(0)) / size_2 - 0.5 * (path := track(m, progress_T)) + path.mean(0) / 2)
            for m in MOTIONS
        }
        assert min(off, key=lambda name: float(off[name].mean())) == event.label.split(".")[1]
