"""Pairs of pictures whose motion is known exactly: a texture that is a function of place is drawn at warped places.

Nothing is resampled. A picture point ``p`` of a layer goes to ``centre + A (p - centre) + t``; the second picture shows
at each pixel what the inverse of that map says, so the true flow is the map itself.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines import pixels
from pipelines.video_writer import write_video

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
REFERENCE_PX = 224
NUM_WAVES = 40


@dataclass(frozen=True, slots=True)
class Motion:
    """An affine motion about a centre; places and shifts in pixels of a picture 224 pixels wide."""

    right_px: float = 0.0
    down_px: float = 0.0
    turn_deg: float = 0.0
    zoom: float = 1.0
    shear: float = 0.0

    def matrix(self) -> npt.NDArray[np.float64]:
        """Return the linear part, 2 x 2, on (right, down)."""
        angle = math.radians(self.turn_deg)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        linear: npt.NDArray[np.float64] = self.zoom * turn @ np.array([[1.0, self.shear], [0.0, 1.0]])
        return linear

    def shift(self) -> npt.NDArray[np.float64]:
        """Return the shift of the centre."""
        return np.array([self.right_px, self.down_px])


@dataclass(frozen=True, slots=True)
class Thing:
    """A textured disc with a motion of its own, lying over the background."""

    x_px: float
    y_px: float
    radius_px: float
    motion: Motion


@dataclass(frozen=True, slots=True)
class Scene:
    """What is drawn.

    Attributes:
        name: Heading.
        camera: Motion of the background.
        things: What lies over it.
        contrast: Standard deviation of the textures, gray levels.
        shortest_px: Shortest wave of the textures.
        longest_px: Longest wave of the textures.
        gain: Light of the second picture against the first.
        offset: Gray levels added to the second picture.
        noise: Standard deviation of what is added to each pixel of both, gray levels.
        compression: ``jpeg``, ``h264`` or nothing.
    """

    name: str
    camera: Motion = field(default_factory=Motion)
    things: tuple[Thing, ...] = ()
    contrast: float = 45.0
    shortest_px: float = 8.0
    longest_px: float = 80.0
    gain: float = 1.0
    offset: float = 0.0
    noise: float = 0.0
    compression: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two gray pictures and what moved between them.

    Attributes:
        from_HW: First picture.
        to_HW: Second picture.
        flow_HWC: Exact flow from the first to the second, pixels: right, down.
        camera_HWC: What the flow would be without things.
        is_hidden_HW: Where that place cannot be seen in the second picture: covered by a thing, or out of it.
    """

    from_HW: Bytes
    to_HW: Bytes
    flow_HWC: Floats
    camera_HWC: Floats
    is_hidden_HW: npt.NDArray[np.bool_]

    def coloured(self) -> tuple[Bytes, Bytes]:
        """Return both pictures as RGB."""
        first, second = (np.repeat(p[..., None], 3, axis=2) for p in (self.from_HW, self.to_HW))
        return first, second


def _discs(count: int, radius_px: float, motion: Motion) -> tuple[Thing, ...]:
    places = [(112.0, 112.0), (56.0, 64.0), (165.0, 60.0), (60.0, 165.0)]
    return tuple(Thing(x, y, radius_px, motion) for x, y in places[:count])


SCENES = (
    Scene("no motion"),
    Scene("no motion, noise", noise=8.0),
    *(Scene(f"shift {d:g} px", Motion(d * 0.8, -d * 0.6)) for d in (0.3, 1.5, 5, 10, 20)),
    Scene("turn 2°", Motion(turn_deg=2)),
    Scene("turn 6°", Motion(turn_deg=6)),
    Scene("zoom 1.03", Motion(zoom=1.03)),
    Scene("zoom 1.10", Motion(zoom=1.1)),
    Scene("affine", Motion(3, -2, turn_deg=2, zoom=1.03, shear=0.04)),
    Scene("thing over a still background", things=_discs(1, 45, Motion(6, 5))),
    Scene("pan, a thing the other way", Motion(-5, 2), _discs(1, 45, Motion(6, -4))),
    Scene("pan, a thing over 40 % of it", Motion(-4, 2), _discs(1, 80, Motion(5, -4))),
    Scene("turn and zoom, 3 things", Motion(2, 1, 2, 1.04), _discs(4, 26, Motion(7, 3))[1:]),
    Scene("small fast things", things=_discs(4, 12, Motion(14, -6))),
    Scene("low texture", Motion(4, -3), contrast=5.0, shortest_px=24),
    Scene("fine texture", Motion(1.6, -1.2), shortest_px=4, longest_px=12),
    Scene("lighter by a fifth", Motion(4, -3), gain=1.2, offset=4),
    Scene("darker by half", Motion(4, -3), gain=0.5),
    Scene("noise", Motion(4, -3), noise=8.0),
    Scene("JPEG, quality 30", Motion(4, -3), compression="jpeg"),
    Scene("H.264, CRF 34", Motion(4, -3), compression="h264"),
)


class Texture:
    """A sum of random waves: smooth, known everywhere, without a grid."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        wavelength = np.exp(rng.uniform(math.log(scene.shortest_px), math.log(scene.longest_px), NUM_WAVES))
        angle = rng.uniform(0, 2 * math.pi, NUM_WAVES)
        amplitude = wavelength**0.5
        self._amplitude = (amplitude * scene.contrast * math.sqrt(2) / np.linalg.norm(amplitude)).astype(np.float32)
        self._waves = (2 * math.pi / wavelength * np.stack([np.cos(angle), np.sin(angle)])).astype(np.float32)
        self._phase = rng.uniform(0, 2 * math.pi, NUM_WAVES).astype(np.float32)

    def at(self, places_NC: npt.NDArray[np.float64]) -> Floats:
        """Return the brightness at places (right, down), around 128."""
        angles = places_NC.astype(np.float32) @ self._waves + self._phase
        value: Floats = np.float32(128) + np.cos(angles) @ self._amplitude
        return value


def render(scene: Scene, size_px: int, seed: int) -> Pair:
    """Draw the two pictures of a scene and say what moved where."""
    rng = np.random.default_rng(seed)
    scale = size_px / REFERENCE_PX
    row, column = np.mgrid[0:size_px, 0:size_px]
    # Pixel centres, in the units of the scene.
    places = (np.stack([column.ravel(), row.ravel()], axis=1) + 0.5) / scale
    middle = np.full(2, REFERENCE_PX / 2)
    ground = Texture(scene, rng)
    first, second = ground.at(places), ground.at(_back(places, scene.camera, middle))
    ends = ends_without_things = _forth(places, scene.camera, middle)
    is_hidden = ((ends < 0) | (ends >= REFERENCE_PX)).any(axis=1)
    for thing in scene.things:
        centre = np.array([thing.x_px, thing.y_px])
        paint, sources = Texture(scene, rng), _back(places, thing.motion, centre)
        cover = _cover(places, centre, thing.radius_px, scale)
        first = first * (1 - cover) + paint.at(places) * cover
        cover_after = _cover(sources, centre, thing.radius_px, scale)
        second = second * (1 - cover_after) + paint.at(sources) * cover_after
        is_below = cover < 0.5
        lands_under = _cover(_back(ends, thing.motion, centre), centre, thing.radius_px, scale) > 0.5
        own_ends = _forth(places, thing.motion, centre)
        is_hidden = np.where(is_below, is_hidden | lands_under, ((own_ends < 0) | (own_ends >= REFERENCE_PX)).any(1))
        ends = np.where(is_below[:, None], ends, own_ends)
    shape = (size_px, size_px)
    second = second * scene.gain + scene.offset
    pictures = [_bytes(p.reshape(shape), scene.noise, rng) for p in (first, second)]
    pictures = _compressed(pictures, scene.compression)
    flow_HWC, camera_HWC = (
        ((found - places) * scale).reshape(*shape, 2).astype(np.float32) for found in (ends, ends_without_things)
    )
    return Pair(pictures[0], pictures[1], flow_HWC, camera_HWC, is_hidden.reshape(shape))


def _forth(places: npt.NDArray[np.float64], motion: Motion, centre: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return (places - centre) @ motion.matrix().T + centre + motion.shift()


def _back(places: npt.NDArray[np.float64], motion: Motion, centre: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return (places - centre - motion.shift()) @ np.linalg.inv(motion.matrix()).T + centre


def _cover(places: npt.NDArray[np.float64], centre: npt.NDArray[np.float64], radius_px: float, scale: float) -> Floats:
    """Return how much of each pixel a disc covers, its rim one pixel soft."""
    distance = np.linalg.norm(places - centre, axis=1)
    cover: Floats = np.clip((radius_px - distance) * scale + 0.5, 0, 1).astype(np.float32)
    return cover


def _bytes(picture: Floats, noise: float, rng: np.random.Generator) -> Bytes:
    noisy = picture + rng.normal(0, noise, picture.shape) if noise else picture
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _compressed(pictures: list[Bytes], compression: str) -> list[Bytes]:
    colour = [np.repeat(p[..., None], 3, axis=2) for p in pictures]
    if compression == "jpeg":
        return [pixels.gray(pixels.decode_jpeg(pixels.encode_jpeg(p, 30))) for p in colour]
    if compression == "h264":
        from pipelines.limits import DecodeLimits
        from pipelines.pictures import PictureReader

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pair.mp4"
            write_video(path, iter(colour), fps=15, options={"crf": "34", "preset": "veryfast"})
            with path.open("rb") as file:
                reader = PictureReader(file, DecodeLimits())
                found = reader.pictures([0, 1], pictures[0].shape[0])
                reader.close()
        return [pixels.gray(found[n].rgb_HWC) for n in (0, 1)]
    return pictures
