"""High dynamic range to the range of a screen: a table for each transfer curve, applied to 8-bit RGB.

A PQ or HLG picture that is only cut to 8 bits looks washed out and dark, unlike anything a model has seen. Here each
channel goes through light and back: the inverse of the curve (ITU-R BT.2100) gives cd/m² on a screen of 1000 cd/m²;
203 cd/m², where BT.2408 puts white paper, becomes 1; light above 0.6 is rolled off towards 1 by an exponential, so that
highlights keep some shape; and the result is coded with the exponent 1/2.4 of an ordinary screen (BT.1886). Not done:
the wider primaries of BT.2020 are taken for those of BT.709, which leaves colours a little pale; light that a scene's
metadata describes is not looked at.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

PQ = 16
HLG = 18
"""Numbers of the transfer curves in ITU-T H.273."""

WHITE_CD_M2 = 203.0
PEAK_CD_M2 = 1000.0
KNEE = 0.6

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


def to_standard_range(rgb_HWC: Bytes, transfer: int) -> Bytes:
    """Bring a picture into the range of a screen.

    Args:
        rgb_HWC: Picture coded with the transfer curve.
        transfer: Number of the curve in ITU-T H.273.

    Returns:
        The picture; the same one unless the curve is ``PQ`` or ``HLG``.
    """
    if transfer not in {PQ, HLG}:
        return rgb_HWC
    return table(transfer)[rgb_HWC]


@cache
def table(transfer: int) -> Bytes:
    """Return the 256 values that replace the coded ones; ``transfer`` is ``PQ`` or ``HLG``."""
    code = np.arange(256) / 255
    light = (light_of_pq(code) if transfer == PQ else light_of_hlg(code)) / WHITE_CD_M2
    rolled = KNEE + (1 - KNEE) * (1 - np.exp(-(light - KNEE) / (1 - KNEE)))
    values: Bytes = np.rint(255 * np.where(light <= KNEE, light, rolled) ** (1 / 2.4)).astype(np.uint8)
    return values


def light_of_pq(code: Floats) -> Floats:
    """Return the light of a PQ code from 0 to 1, cd/m² (BT.2100, table 4)."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = code ** (1 / m2)
    light: Floats = 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return light


def light_of_hlg(code: Floats) -> Floats:
    """Return the light of an HLG code from 0 to 1 on a screen of 1000 cd/m², channel by channel (BT.2100, table 5)."""
    a, knee = 0.17883277, 0.5
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    scene = np.where(code <= knee, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    light: Floats = PEAK_CD_M2 * scene**1.2
    return light
