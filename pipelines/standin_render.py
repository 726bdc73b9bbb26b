"""Draw the stand-in scenes: numpy only, a few hundred microseconds per frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pipelines.standin import Color, FloatArray, Scene, Sprite, StandinVideo, sample_scene

Frame = npt.NDArray[np.uint8]
Values = npt.NDArray[np.floating]

SUBPIXELS = 4
"""The background is drawn once at this many samples per pixel and side, so that the camera can move smoothly."""


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
        seed: Seed of the background's texture and of the noise.

    Yields:
        One picture per frame of the scene, height × width × 3, red green blue.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    origin_2 = np.floor(scene.camera_xy_T2.min(axis=0))
    reach_2 = np.ceil(scene.camera_xy_T2.max(axis=0) - origin_2).astype(int) + 1
    background = _background(rng, scene.background, width_px + reach_2[0], height_px + reach_2[1])
    spare_px = 32
    noise = rng.normal(0, scene.noise_sigma, (height_px + spare_px, width_px + spare_px, 3)).round().astype(np.int16)
    sprites = (*scene.distractors, *scene.objects)
    for t, camera_2 in enumerate(scene.camera_xy_T2):
        x, y = np.round((camera_2 - origin_2) * SUBPIXELS).astype(int)
        picture = background[y::SUBPIXELS, x::SUBPIXELS][:height_px, :width_px].copy()
        for sprite in sprites:
            if sprite.is_visible_T[t]:
                _draw(picture, sprite, sprite.xy_T2[t] - camera_2)
        # The same noise at a random offset looks new and costs a tenth of drawing it anew.
        dx, dy = rng.integers(0, spare_px, 2)
        picture += noise[dy : dy + height_px, dx : dx + width_px]
        yield np.clip(picture, 0, 255).astype(np.uint8)


def distance(shape: str, x: Values, y: Values) -> Values:
    """Return the signed distance to the border of a shape of radius 1, negative inside.

    Args:
        shape: An appearance id or a distractor shape.
        x: Coordinates to the right of the centre.
        y: Coordinates below the centre.

    Raises:
        ValueError: the shape is not known.
    """
    if shape == "disc":
        return np.hypot(x, y) - 1
    if shape == "ring":
        return np.abs(np.hypot(x, y) - 0.77) - 0.23
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - 0.78
    if shape == "cross":
        bars: tuple[Values, Values] = (
            np.maximum(np.abs(x) - 1, np.abs(y) - 0.27),
            np.maximum(np.abs(x) - 0.27, np.abs(y) - 1),
        )
        return np.minimum(*bars)
    if shape == "triangle":
        return np.maximum(0.866 * np.abs(x) + 0.5 * y, -y) - 0.5
    if shape == "bar":
        return np.hypot(np.maximum(np.abs(x) - 0.7, 0), y) - 0.3
    raise ValueError(f"shape: got {shape!r}, must be one of disc, ring, square, cross, triangle, bar")


def _draw(picture: npt.NDArray[np.int16], sprite: Sprite, centre_2: FloatArray) -> None:
    """Blend a sprite into the picture, in place, touching only the box around it."""
    height_px, width_px = picture.shape[:2]
    reach_px = sprite.radius_px * 1.2 + 1  # a square's corners lie 1.1 radii from its centre
    left, top = np.maximum(np.floor(centre_2 - reach_px).astype(int), 0)
    right, bottom = np.minimum(np.ceil(centre_2 + reach_px).astype(int) + 1, (width_px, height_px))
    if left >= right or top >= bottom:
        return
    x = ((np.arange(left, right) - centre_2[0]) / sprite.radius_px).astype(np.float32)[None, :]
    y = ((np.arange(top, bottom) - centre_2[1]) / sprite.radius_px).astype(np.float32)[:, None]
    cos, sin = np.float32(np.cos(sprite.angle_rad)), np.float32(np.sin(sprite.angle_rad))
    along, across = x * cos + y * sin, y * cos - x * sin
    cover = np.clip(0.5 - distance(sprite.shape, along, across) * np.float32(sprite.radius_px), 0, 1)[..., None]
    # A shade across the object gives optical flow something to hold on to.
    color = np.asarray(sprite.color, np.float32) * (1 + np.float32(0.15) * along[..., None])
    box = picture[top:bottom, left:right]
    box += np.round(cover * (color - box)).astype(np.int16)


def _background(
    rng: np.random.Generator, colors: tuple[Color, Color], width_px: int, height_px: int
) -> npt.NDArray[np.int16]:
    """Draw a gradient between two colours with coarse and fine texture, ``SUBPIXELS`` samples per pixel."""
    shape = (height_px * SUBPIXELS, width_px * SUBPIXELS)
    angle = rng.uniform(0, 2 * np.pi)
    across = np.linspace(-0.5, 0.5, shape[1], dtype=np.float32) * np.float32(np.cos(angle))
    down = np.linspace(-0.5, 0.5, shape[0], dtype=np.float32) * np.float32(np.sin(angle))
    mix = np.clip(down[:, None] + across[None, :] + np.float32(0.5), 0, 1)[..., None]
    first, second = np.asarray(colors, np.float32)
    texture = _texture(rng, shape, height_px // 4, 14) + _texture(rng, shape, 6, 9)
    return np.asarray(np.round(first + (second - first) * mix + texture[..., None]), np.int16)


def _texture(rng: np.random.Generator, shape: tuple[int, int], cell_px: int, sigma: float) -> Values:
    """Draw smooth random brightness: values on a grid of ``cell_px``, linear between them."""
    cell = cell_px * SUBPIXELS
    values = rng.normal(0, sigma, [n // cell + 2 for n in shape]).astype(np.float32)
    for axis, n in enumerate(shape):
        at = np.arange(n, dtype=np.float32) / np.float32(cell)
        low = at.astype(int)
        share = np.expand_dims(at - low, 1 - axis)
        values = values.take(low, axis) * (1 - share) + values.take(low + 1, axis) * share
    return values
