"""What is to be seen in a video of the stand-in corpus: camera, background, the objects of its events, and the rest.

Everything that is not part of an event is drawn without looking at the classes, so it carries no class information.
Places are in pixels of the world, whose middle is the picture's where the camera rests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.standin import StandinVideo, rng_of
from pipelines.standin_classes import APPEARANCES, PROGRAMS, Color, appearance_of, program_of
from pipelines.standin_difficulty import Counts, DifficultyNumbers, difficulty_numbers
from pipelines.standin_programs import FloatArray
from pipelines.standin_shapes import OUTSIDERS
from pipelines.standin_stage import Cue, Performance, Sprite, Stage, faint_color, perform
from pipelines.standin_textures import Texture, sample_texture

REST_SHARE = 0.7
"""Share of objects that stay in the picture, at rest, before and after their event; the others are absent."""
MARGIN_PX = 1.0
MOVER_FAMILIES = ("travels", "turns", "orders", "paces")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scene:
    """Everything that is drawn.

    Attributes:
        sprites: What moves or might, in the order of drawing.
        objects: The sprites of each event, for whoever checks the truth.
        clutter: Still things, part of the background.
        texture: The background's pattern.
        background: Two colours between which it runs.
        texture_strength: How strong the pattern is, grey values.
        posts: Left border and width of posts in front of everything, world pixels.
        post_color: Their colour.
        camera_xy_T2: Where the camera looks, world pixels.
        zoom_T: Magnification.
        shutter: Share of a frame's time that the shutter is open.
        defocus_px: Standard deviation of the lens's blur, pixels.
        noise_sigma: Standard deviation of the sensor's noise, grey values.
    """

    sprites: tuple[Sprite, ...]
    objects: tuple[tuple[Sprite, ...], ...]
    clutter: tuple[Sprite, ...]
    texture: Texture
    background: tuple[Color, Color]
    texture_strength: float
    posts: tuple[tuple[float, float], ...]
    post_color: Color
    camera_xy_T2: FloatArray
    zoom_T: FloatArray
    shutter: float
    defocus_px: float
    noise_sigma: float


def sample_scene(video: StandinVideo) -> Scene:
    """Decide everything that is drawn in a planned video; the same plan always gives the same scene."""
    numbers = difficulty_numbers(video.difficulty)
    rng = rng_of(video.seed, "scene")
    times_T, side_px = video.times_s, min(video.width_px, video.height_px)
    size_2 = np.array([video.width_px, video.height_px], float)
    camera_xy_T2, zoom_T = _camera(rng, times_T, numbers, side_px)
    sway_2 = np.abs(camera_xy_T2).max(axis=0)
    base_luma = rng.uniform(60, 195)
    stage = Stage(
        times_T=times_T,
        numbers=numbers,
        side_px=side_px,
        base_luma=base_luma,
        room_2=size_2 / 2 / zoom_T.max() - sway_2 - MARGIN_PX,
        exit_2=size_2 / 2 / zoom_T.min() + sway_2 + MARGIN_PX,
    )
    objects: list[Performance] = []
    follow = rng.uniform(*numbers.follow) if len(video.events) == 1 else 0.0
    seen = _seen_s(video, rng)
    for event, (begin_s, end_s) in zip(video.events, seen, strict=True):
        cue = Cue(
            program=program_of(event.label),
            shape=appearance_of(event.label).id,
            radius_px=side_px * rng.uniform(*numbers.radius),
            progress_T=(times_T - event.start_s) / (event.end_s - event.start_s),
            is_seen_T=((times_T >= begin_s) & (times_T < end_s)).astype(float),
            follow=follow,
        )
        objects.append(perform(rng, stage, cue, objects))
    extras = [*_idlers(rng, stage, objects), *_movers(rng, stage, objects)]
    paleness = 0.2 if numbers.is_hue_bound else rng.uniform(0.2, 0.6)
    spread = rng.uniform(0, 18)
    return Scene(
        sprites=(*extras, *sorted((s for shown in objects for s in shown.sprites), key=lambda s: s.depth)),
        objects=tuple(shown.sprites for shown in objects),
        clutter=tuple(_clutter(rng, stage, size_2)),
        texture=sample_texture(rng, video.split),
        background=(
            faint_color(rng, base_luma - spread, paleness),
            faint_color(rng, base_luma + spread, paleness),
        ),
        texture_strength=rng.uniform(*numbers.texture),
        posts=tuple(_posts(rng, numbers.occluders, stage)),
        post_color=faint_color(rng, rng.uniform(20, 235), 0.3),
        camera_xy_T2=camera_xy_T2 + sum(shown.camera_xy_T2 for shown in objects),
        zoom_T=zoom_T,
        shutter=numbers.shutter,
        defocus_px=rng.uniform(*numbers.defocus_px),
        noise_sigma=rng.uniform(*numbers.noise),
    )


def _seen_s(video: StandinVideo, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Choose when each event's object may be seen: one object at a time unless events overlap."""
    starts, ends = [e.start_s for e in video.events], [e.end_s for e in video.events]
    is_apart = all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    if is_apart:
        between = [float(rng.uniform(*gap)) for gap in zip(ends, starts[1:], strict=False)]
        whole = list(zip([0.0, *between], [*between, video.duration_s], strict=True))
    else:
        whole = [(0.0, video.duration_s)] * len(starts)
    return [
        all_of_it if rng.random() < REST_SHARE else (start, end)
        for all_of_it, start, end in zip(whole, starts, ends, strict=True)
    ]


def _camera(
    rng: np.random.Generator, times_T: FloatArray, numbers: DifficultyNumbers, side_px: int
) -> tuple[FloatArray, FloatArray]:
    """Wander between random places and magnifications, and shake."""
    reach_px = numbers.camera * side_px
    xy_T2 = np.stack([_wander(rng, times_T, (-reach_px, reach_px), numbers) for _ in range(2)], axis=-1)
    xy_T2 += rng.normal(0, numbers.shake * side_px, xy_T2.shape).clip(-0.02 * side_px, 0.02 * side_px)
    return xy_T2, _wander(rng, times_T, numbers.zoom, numbers)


def _wander(
    rng: np.random.Generator, times_T: FloatArray, span: tuple[float, float], numbers: DifficultyNumbers
) -> FloatArray:
    """Go from one random value to the next, smoothly."""
    marks_s = [-rng.uniform(*numbers.camera_s) * rng.random()]
    while marks_s[-1] <= times_T[-1]:
        marks_s.append(marks_s[-1] + rng.uniform(*numbers.camera_s))
    values = rng.uniform(*span, len(marks_s))
    k_T = np.searchsorted(marks_s, times_T, side="right") - 1
    share_T = (times_T - np.take(marks_s, k_T)) / (np.take(marks_s, k_T + 1) - np.take(marks_s, k_T))
    smooth_T = share_T * share_T * (3 - 2 * share_T)
    return np.asarray(values[k_T] + smooth_T * (values[k_T + 1] - values[k_T]))


def _movers(rng: np.random.Generator, stage: Stage, objects: list[Performance]) -> list[Sprite]:
    """Let shapes outside the taxonomy perform programs of single objects, at any time."""
    choices = [p for p in PROGRAMS if p.family in MOVER_FAMILIES]
    sprites: list[Sprite] = []
    for _ in range(_count(rng, stage.numbers.movers)):
        length_s = stage.times_T[-1] * rng.uniform(0.3, 0.9)
        begin_s = rng.uniform(-0.2, 1.0) * (stage.times_T[-1] - length_s)
        cue = Cue(
            program=choices[rng.integers(len(choices))],
            shape=OUTSIDERS[rng.integers(len(OUTSIDERS))],
            radius_px=stage.side_px * float(np.mean(stage.numbers.radius)) * rng.uniform(*stage.numbers.mover_radius),
            progress_T=(stage.times_T - begin_s) / length_s,
            is_seen_T=np.ones(len(stage.times_T)),
        )
        sprites += perform(rng, stage, cue, objects).sprites
    return sprites


def _idlers(rng: np.random.Generator, stage: Stage, objects: list[Performance]) -> list[Sprite]:
    """Put shapes of the classes into the picture that do nothing."""
    grows = program_of("grows")
    sprites: list[Sprite] = []
    for _ in range(_count(rng, stage.numbers.idlers)):
        cue = Cue(
            program=grows,
            shape=APPEARANCES[rng.integers(len(APPEARANCES))].id,
            radius_px=stage.side_px * rng.uniform(*stage.numbers.radius),
            progress_T=np.full(len(stage.times_T), rng.uniform(0.1, 0.6)),  # it stays at one size
            is_seen_T=np.ones(len(stage.times_T)),
        )
        sprites += perform(rng, stage, cue, objects).sprites
    return sprites


def _clutter(rng: np.random.Generator, stage: Stage, size_2: FloatArray) -> list[Sprite]:
    """Scatter still things over the background, hardly brighter or darker than it."""
    sprites = []
    for _ in range(_count(rng, stage.numbers.clutter)):
        luma = stage.base_luma + rng.choice((-1, 1)) * rng.uniform(8, 22)
        sprites.append(
            Sprite(
                shape=OUTSIDERS[rng.integers(len(OUTSIDERS))],
                piece=0,
                radius_px=stage.side_px * rng.uniform(0.05, 0.22),
                color=(color := faint_color(rng, luma, 0.25)),
                mark=color,
                mark_rad=0.0,
                xy_T2=rng.uniform(-0.7, 0.7, (1, 2)) * size_2,
                scale_T=np.ones(1),
                angle_T=rng.uniform(0, 2 * np.pi, 1),
                opacity_T=np.ones(1),
                depth=0,
            )
        )
    return sprites


def _posts(rng: np.random.Generator, count: Counts, stage: Stage) -> list[tuple[float, float]]:
    width_px = [stage.side_px * rng.uniform(0.06, 0.1) for _ in range(_count(rng, count))]
    return [(float(rng.uniform(-1, 1) * stage.room_2[0]), width) for width in width_px]


def _count(rng: np.random.Generator, counts: Counts) -> int:
    return int(rng.integers(counts[0], counts[1] + 1))
