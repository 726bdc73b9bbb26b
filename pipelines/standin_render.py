"""Draw the stand-in scenes: a picture of a few thousand pixels in well under a millisecond."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipelines import pixels, standin_shapes
from pipelines.standin import StandinVideo, rng_of
from pipelines.standin_programs import FloatArray
from pipelines.standin_scene import Scene, sample_scene
from pipelines.standin_stage import Sprite
from pipelines.standin_textures import paint

Frame = npt.NDArray[np.uint8]

SHUTTER_STEPS = (-0.5, 0.0, 0.5)
BLURRED_FROM_PX = 0.8
"""What moves less than this while the shutter is open is drawn once."""
LEAST_OPACITY = 1 / 512
LEAST_DEFOCUS_PX = 0.25
SPARE_NOISE_PX = 32


def render_frames(video: StandinVideo) -> Iterator[Frame]:
    """Draw a planned video frame by frame.

    Args:
        video: The plan.

    Yields:
        ``video.num_frames`` pictures, height × width × 3, red green blue.
    """
    yield from render_scene(sample_scene(video), video.width_px, video.height_px, video.seed)


def render_scene(scene: Scene, width_px: int, height_px: int, seed: int) -> Iterator[Frame]:
    """Draw a scene frame by frame.

    Args:
        scene: What there is to see.
        width_px: Width of the picture, pixels.
        height_px: Height of the picture, pixels.
        seed: Seed of the noise.

    Yields:
        One picture per frame of the scene, height × width × 3, red green blue.
    """
    rng = rng_of(seed, "noise")
    middle_2 = np.array([width_px / 2 - 0.5, height_px / 2 - 0.5])
    backdrop, origin_2 = _backdrop(scene, width_px, height_px)
    actors = [Actor(sprite, scene, middle_2) for sprite in scene.sprites]
    size = (height_px + SPARE_NOISE_PX, width_px + SPARE_NOISE_PX, 3)
    noise = np.rint(rng.normal(0, scene.noise_sigma, size)).astype(np.int16)
    offsets_T2 = rng.integers(0, SPARE_NOISE_PX, (len(scene.zoom_T), 2))
    camera_moves_T2 = scene.shutter * _steps(scene.camera_xy_T2)
    for t, zoom in enumerate(scene.zoom_T.tolist()):
        shots = []
        for step in SHUTTER_STEPS if np.hypot(*camera_moves_T2[t]) > BLURRED_FROM_PX else (0.0,):
            look_2 = scene.camera_xy_T2[t] + step * camera_moves_T2[t] - origin_2
            shots.append(_seen(backdrop, look_2, zoom, middle_2, height_px, width_px))
        picture = shots[0] if len(shots) == 1 else np.asarray(np.mean(shots, axis=0, dtype=np.float32), np.uint8)
        for actor in actors:
            actor.draw(picture, t)
        for left_px, post_px in scene.posts:
            _draw_post(picture, left_px, post_px, scene, t, middle_2)
        if scene.defocus_px >= LEAST_DEFOCUS_PX:
            picture = pixels.blur(picture, scene.defocus_px)
        # The same noise at a random offset looks new and costs a tenth of drawing it anew.
        down, right = offsets_T2[t]
        noisy = picture + noise[down : down + height_px, right : right + width_px]
        yield np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)


class Actor:
    """A sprite made ready for drawing: its stamp, and where it is in the picture in every frame."""

    def __init__(self, sprite: Sprite, scene: Scene, middle_2: FloatArray) -> None:
        self.stamp = standin_shapes.stamp(
            sprite.shape, sprite.radius_px, sprite.color, sprite.mark, sprite.mark_rad, sprite.piece
        )
        seen_T2 = (sprite.xy_T2 - scene.camera_xy_T2) * scene.zoom_T[:, None]
        self._moves_T2 = scene.shutter * _steps(seen_T2)
        self._xy_T2 = seen_T2 + middle_2
        self._scale_T = sprite.scale_T * scene.zoom_T
        self._angle_T = sprite.angle_T
        self._opacity_T = sprite.opacity_T

    def draw(self, picture: Frame, t: int) -> None:
        """Blend the sprite as it is in frame ``t`` into a picture, in place, touching only the box around it."""
        opacity, scale = float(self._opacity_T[t]), float(self._scale_T[t])
        height_px, width_px = picture.shape[:2]
        half = self.stamp.shape[0] // 2
        (x, y), (move_x, move_y) = self._xy_T2[t].tolist(), self._moves_T2[t].tolist()
        # A turned stamp's corners are empty: its shape ends at 1.2 radii in any direction.
        reach_x, reach_y = half * scale + abs(move_x) / 2 + 1, half * scale + abs(move_y) / 2 + 1
        left, top = max(int(x - reach_x), 0), max(int(y - reach_y), 0)
        right, bottom = min(int(x + reach_x) + 2, width_px), min(int(y + reach_y) + 2, height_px)
        if opacity < LEAST_OPACITY or left >= right or top >= bottom:
            return
        is_blurred = move_x * move_x + move_y * move_y > BLURRED_FROM_PX**2
        angle = float(self._angle_T[t])
        cos, sin = float(np.cos(angle)) / scale, float(np.sin(angle)) / scale
        shots = []
        for step in SHUTTER_STEPS if is_blurred else (0.0,):
            off_x, off_y = left - x - step * move_x, top - y - step * move_y
            matrix_23 = np.array(
                [[cos, sin, half + cos * off_x + sin * off_y], [-sin, cos, half - sin * off_x + cos * off_y]]
            )
            shots.append(pixels.place(self.stamp, matrix_23, bottom - top, right - left))
        total = np.asarray(shots[0] if len(shots) == 1 else np.sum(shots, axis=0), np.uint16)
        weight = opacity / len(shots)
        box = picture[top:bottom, left:right]
        cover = total[..., 3:] * np.float32(weight / 255)
        box[:] = box * (1 - cover) + (total[..., :3] * np.float32(weight) + np.float32(0.5))


def _steps(xy_T2: FloatArray) -> FloatArray:
    """Return how far something goes per frame, the same whichever way time runs."""
    if len(xy_T2) == 1:
        return np.zeros((1, 2))
    return np.asarray(np.gradient(xy_T2, axis=0))


def _backdrop(scene: Scene, width_px: int, height_px: int) -> tuple[Frame, FloatArray]:
    """Paint all of the world that the camera will see; return it and the world place of its first pixel's middle."""
    half_2 = np.array([width_px, height_px]) / 2 / scene.zoom_T.min() + np.abs(scene.camera_xy_T2).max(axis=0) + 3
    across_px, down_px = (2 * int(np.ceil(half)) for half in half_2)
    strength, unit_px = scene.texture_strength, min(width_px, height_px)
    backdrop = paint(scene.texture, scene.background, strength, down_px, across_px, unit_px)
    middle_2 = np.array([across_px / 2 - 0.5, down_px / 2 - 0.5])
    at_rest = replace(scene, camera_xy_T2=np.zeros((1, 2)), zoom_T=np.ones(1))
    for thing in scene.clutter:
        Actor(thing, at_rest, middle_2).draw(backdrop, 0)
    return backdrop, -middle_2


def _seen(
    backdrop: Frame, look_2: FloatArray, zoom: float, middle_2: FloatArray, height_px: int, width_px: int
) -> Frame:
    """Return what the camera sees of the backdrop; ``look_2`` is where it looks, in the backdrop's pixels."""
    scale = 1 / zoom
    x, y = look_2 - scale * middle_2
    matrix_23 = np.array([[scale, 0.0, x], [0.0, scale, y]])
    return pixels.place(backdrop, matrix_23, height_px, width_px)


def _draw_post(picture: Frame, left_px: float, post_px: float, scene: Scene, t: int, middle_2: FloatArray) -> None:
    """Draw a post that stands in the world, nearer than everything, from top to bottom."""
    zoom = float(scene.zoom_T[t])
    left = (left_px - scene.camera_xy_T2[t, 0]) * zoom + middle_2[0]
    first, last = round(float(left)), round(float(left + post_px * zoom))
    if last > 0:
        picture[:, max(first, 0) : last] = np.asarray(scene.post_color, np.uint8)
