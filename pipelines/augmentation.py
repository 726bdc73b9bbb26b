"""Random changes to a training clip that leave its truth as it is: shifted, lighter or darker, sometimes mirrored.

Time is kept: its order is what some classes are about. Picture and flow are moved together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines import pixels

Bytes = npt.NDArray[np.uint8]
FlowBytes = npt.NDArray[np.int8]

MAX_SHIFT_SHARE = 0.1
MAX_GAIN = 0.2
MAX_OFFSET = 20.0


@dataclass(frozen=True, slots=True)
class Augmentation:
    """One change, the same for all frames of a clip.

    Attributes:
        down: Cells of the flow grid by which the picture moves up (what comes in below continues the lower edge).
        right: The same to the left.
        table: New brightness of each brightness, 256 entries.
        is_mirrored: Whether left and right change places after that.
    """

    down: int
    right: int
    table: Bytes
    is_mirrored: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, grid: int, *, can_mirror: bool) -> Augmentation:
        """Draw a change.

        Args:
            rng: Where chance comes from; equal generators draw equal changes.
            grid: Cells of the flow grid along a side.
            can_mirror: Whether one in two clips is mirrored.
        """
        most = int(grid * MAX_SHIFT_SHARE)
        down, right = (int(v) for v in rng.integers(-most, most + 1, size=2))
        gain, offset = 1 + rng.uniform(-MAX_GAIN, MAX_GAIN), rng.uniform(-MAX_OFFSET, MAX_OFFSET)
        table = np.clip(np.arange(256) * gain + offset, 0, 255).astype(np.uint8)
        return cls(down, right, table, is_mirrored=can_mirror and bool(rng.random() < 1 / 2))

    def picture(self, image_HWC: Bytes, out_HWC: Bytes, grid: int) -> None:
        """Write a changed square picture into ``out_HWC``, of the same size.

        Args:
            image_HWC: Picture.
            out_HWC: Where it goes; each row contiguous.
            grid: Cells of the flow grid along a side: how far a shift of one cell is.
        """
        size = image_HWC.shape[0]
        down, right = (round(cells * size / grid) for cells in (self.down, self.right))
        if self.is_mirrored:
            image_HWC, right = pixels.mirror(image_HWC), -right
        (from_rows, to_rows), (from_columns, to_columns) = _overlap(size, down), _overlap(size, right)
        pixels.look_up(image_HWC[from_rows, from_columns], self.table, out_HWC[to_rows, to_columns])
        _continue_edges(out_HWC, to_rows, to_columns)

    def flow(self, flow_q_THWC: FlowBytes, out_THWC: FlowBytes) -> None:
        """Write the flow bytes that belong to the changed pictures into ``out_THWC``."""
        grid, right = flow_q_THWC.shape[1], self.right
        if self.is_mirrored:
            flow_q_THWC, right = flow_q_THWC[:, :, ::-1] * np.array([-1, 1], np.int8), -right
        (from_rows, to_rows), (from_columns, to_columns) = _overlap(grid, self.down), _overlap(grid, right)
        out_THWC[:, to_rows, to_columns] = flow_q_THWC[:, from_rows, from_columns]
        _continue_edges(out_THWC, to_rows, to_columns)


def _overlap(length: int, shift: int) -> tuple[slice, slice]:
    """Return what of a row stays when it is read ``shift`` places further on, and where that goes."""
    kept = length - abs(shift)
    return (slice(shift, length), slice(0, kept)) if shift >= 0 else (slice(0, kept), slice(-shift, length))


def _continue_edges(out: Bytes | FlowBytes, rows: slice, columns: slice) -> None:
    """Fill what lies outside the given part of ``[..., height, width, channels]`` with its edges."""
    out[..., : rows.start, columns, :] = out[..., rows.start : rows.start + 1, columns, :]
    out[..., rows.stop :, columns, :] = out[..., rows.stop - 1 : rows.stop, columns, :]
    out[..., : columns.start, :] = out[..., columns.start : columns.start + 1, :]
    out[..., columns.stop :, :] = out[..., columns.stop - 1 : columns.stop, :]
