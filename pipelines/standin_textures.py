"""Backgrounds of the stand-in corpus: patterns whose kind, angle and scale are never the same in two splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.standin_classes import Color

Values = npt.NDArray[np.floating]

KINDS = ("grain", "stripes", "checks", "dots", "waves", "weave")
NUM_STEPS = 10
"""Angle and scale have so many steps each; a step belongs to one split."""
PERIODS = (0.18, 0.8)
"""Smallest and largest period, shares of the picture's shorter side."""
LATTICE = 64
_STEPS_OF_SPLIT = {"train": range(8), "val": range(8, 9), "test": range(9, 10)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Texture:
    """A pattern.

    Attributes:
        kind: One of ``KINDS``.
        cell: Which step of angle and of scale it is: ``10 * angle + scale``.
        angle_rad: Direction across its stripes.
        period: Distance after which it repeats, share of the picture's shorter side.
        phase: Where it begins, in periods, along both of its directions.
        seed: Seed of the grain in it.
    """

    kind: str
    cell: int
    angle_rad: float
    period: float
    phase: tuple[float, float]
    seed: int


def cells_of(split: str) -> tuple[int, ...]:
    """Return the steps of angle and scale that belong to a split: 80 to train, 10 each to val and test."""
    steps = _STEPS_OF_SPLIT[split]
    return tuple(
        NUM_STEPS * angle + scale
        for angle in range(NUM_STEPS)
        for scale in range(NUM_STEPS)
        if (angle + 3 * scale) % NUM_STEPS in steps
    )


def sample_texture(rng: np.random.Generator, split: str) -> Texture:
    """Draw a pattern of a split.

    Args:
        rng: Source of chance; two splits must not share it.
        split: train, val or test.
    """
    cells = cells_of(split)
    cell = cells[rng.integers(len(cells))]
    angle, scale = divmod(cell, NUM_STEPS)
    low, high = PERIODS
    # The middle eight tenths of a step: neighbours of another split stay apart.
    return Texture(
        kind=KINDS[rng.integers(len(KINDS))],
        cell=cell,
        angle_rad=(angle + rng.uniform(0.1, 0.9)) * np.pi / NUM_STEPS,
        period=low * (high / low) ** ((scale + rng.uniform(0.1, 0.9)) / NUM_STEPS),
        phase=(rng.uniform(0, 1), rng.uniform(0, 1)),
        seed=int(rng.integers(2**63)),
    )


def paint(
    texture: Texture, colors: tuple[Color, Color], strength: float, height_px: int, width_px: int, unit_px: float
) -> npt.NDArray[np.uint8]:
    """Paint a background: a gradient between two colours, the pattern, and fine grain.

    Args:
        texture: The pattern.
        colors: Where the gradient begins and ends, 0 to 255.
        strength: Of pattern and grain, grey values.
        height_px: Height, pixels.
        width_px: Width, pixels.
        unit_px: What the period is a share of, pixels.

    Returns:
        RGB picture.
    """
    rng = np.random.Generator(np.random.PCG64(texture.seed))
    x = (np.arange(width_px, dtype=np.float32) / np.float32(unit_px))[None, :]
    y = (np.arange(height_px, dtype=np.float32) / np.float32(unit_px))[:, None]
    cos, sin = np.float32(np.cos(texture.angle_rad)), np.float32(np.sin(texture.angle_rad))
    u = (x * cos + y * sin) / np.float32(texture.period) + np.float32(texture.phase[0])
    v = (y * cos - x * sin) / np.float32(texture.period) + np.float32(texture.phase[1])
    lattice = rng.uniform(-1, 1, (LATTICE, LATTICE)).astype(np.float32)
    fine = _noise(lattice, *np.broadcast_arrays(16 * x, 16 * y))
    pattern = _noise(lattice, 1.5 * u, 0.75 * v) if texture.kind == "grain" else _pattern(texture.kind, u, v)
    tint_3 = rng.uniform(0.7, 1.3, 3).astype(np.float32)
    mix = np.clip(0.5 + 0.5 * (x * cos + y * sin - (x[0, -1] * cos + y[-1, 0] * sin) / 2), 0, 1)[..., None]
    first, second = np.asarray(colors, np.float32)
    relief = np.float32(strength) * (pattern + np.float32(0.7) * fine)
    picture = first + (second - first) * mix + relief[..., None] * tint_3
    return np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)


def _pattern(kind: str, u: Values, v: Values) -> Values:
    """Return a pattern between -1 and 1 that repeats whenever ``u`` or ``v`` grows by a small whole number."""
    across, along = np.sin(2 * np.pi * u), np.sin(2 * np.pi * v)
    match kind:
        case "stripes":
            return np.asarray(np.tanh(3 * across))
        case "checks":
            return np.asarray(np.tanh(4 * across * along))
        case "dots":
            return np.asarray(np.tanh(3 * (np.cos(2 * np.pi * u) + np.cos(2 * np.pi * v) - 0.6)))
        case "waves":
            return np.asarray(np.sin(2 * np.pi * (u + 0.2 * np.sin(np.pi * v))))
        case "weave":
            return np.asarray(0.6 * (across + np.tanh(3 * np.sin(np.pi * v))))
    raise ValueError(f"texture: got {kind!r}, must be one of {', '.join(KINDS)}")


def _noise(lattice: Values, u: Values, v: Values) -> Values:
    """Return the lattice's values, linear between its points; it repeats."""
    left, top = np.floor(u), np.floor(v)
    across, down = u - left, v - top
    i, j = top.astype(np.int64) % LATTICE, left.astype(np.int64) % LATTICE
    below, right = (i + 1) % LATTICE, (j + 1) % LATTICE
    upper = lattice[i, j] * (1 - across) + lattice[i, right] * across
    lower = lattice[below, j] * (1 - across) + lattice[below, right] * across
    mixed: Values = upper * (1 - down) + lower * down
    return mixed
