"""Work on pixels with OpenCV: resize, gray, turn, JPEG, dense flow. The only file that knows ``cv2``."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
LIGHT_TOLERANCE = 0.1
VERSION: str = cv2.__version__


def use_one_thread() -> None:
    """Keep OpenCV on one thread in this process: many decoders run side by side, each on its own core."""
    cv2.setNumThreads(1)


def resize(image_HWC: Bytes, height_px: int, width_px: int) -> Bytes:
    """Stretch a picture; area-averaged when it shrinks, bilinear when it grows.

    Args:
        image_HWC: Picture, any number of channels.
        height_px: New height, ≥ 1.
        width_px: New width, ≥ 1.

    Returns:
        Picture of the new size, same channels.
    """
    shrinks = height_px * width_px < image_HWC.shape[0] * image_HWC.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_HWC, (width_px, height_px), interpolation=method), dtype=np.uint8)


def area_average(field_HWC: Floats, size_px: int) -> Floats:
    """Shrink a field of numbers to ``size_px`` square, each cell the mean of what it covers."""
    return np.asarray(cv2.resize(field_HWC, (size_px, size_px), interpolation=cv2.INTER_AREA), dtype=np.float32)


def thumbnail(image_HWC: Bytes, size_px: int) -> Floats:
    """Return the luma of an RGB picture averaged down to ``size_px`` square."""
    return area_average(np.asarray(gray(image_HWC), np.float32), size_px)


def gray(image_HWC: Bytes) -> Bytes:
    """Return the luma of an RGB picture, ``H x W``."""
    return np.asarray(cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def orient(image_HWC: Bytes, quarter_turns: int, *, mirrored: bool) -> Bytes:
    """Turn a picture clockwise after mirroring it left to right.

    Args:
        image_HWC: Picture.
        quarter_turns: Clockwise turns of 90 degrees, any whole number.
        mirrored: Whether to mirror first.

    Returns:
        Contiguous picture; height and width swap for odd turns.
    """
    mirrored_HWC = image_HWC[:, ::-1] if mirrored else image_HWC
    return np.ascontiguousarray(np.rot90(mirrored_HWC, -quarter_turns))


def turn_of_matrix(matrix: Sequence[float]) -> tuple[int, bool]:
    """Read a display matrix: where the container says a picture's right and down should point.

    Args:
        matrix: Nine numbers of any scale; the first two are where *right* goes (x right, y down), the fourth and
            fifth where *down* goes.

    Returns:
        Arguments of :func:`orient`: clockwise quarter turns, and whether to mirror first. A matrix that is not made
        of right angles gives no turn: such a picture is shown as it is stored.
    """
    right_x, right_y, _, down_x, down_y = matrix[:5]
    mirrored = right_x * down_y - right_y * down_x < 0
    if mirrored:
        right_x, right_y = -right_x, -right_y
    directions = {(1, 0): 0, (0, 1): 1, (-1, 0): 2, (0, -1): 3}
    turns = directions.get((int(np.sign(right_x)), int(np.sign(right_y))))
    return (0, False) if turns is None else (turns, mirrored)


def encode_jpeg(image_HWC: Bytes, quality: int) -> bytes:
    """Compress an RGB picture.

    Args:
        image_HWC: RGB picture.
        quality: 1 to 100.

    Returns:
        JPEG bytes.

    Raises:
        ValueError: not an RGB picture.
    """
    if image_HWC.shape[2:] != (3,):
        raise ValueError(f"encode_jpeg: got shape {image_HWC.shape}, need H x W x 3")
    bgr_HWC = cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr_HWC, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(data)


def decode_jpeg(data: bytes | npt.NDArray[np.uint8]) -> Bytes:
    """Read a JPEG as RGB, ``H x W x 3``.

    Raises:
        ValueError: not a JPEG that can be read.
    """
    rgb_HWC = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if len(data) else None
    if rgb_HWC is None:
        raise ValueError(f"decode_jpeg: {len(data)} bytes are not a readable JPEG")
    return np.asarray(rgb_HWC, dtype=np.uint8)


def mirror(image_HWC: Bytes) -> Bytes:
    """Exchange left and right."""
    return np.asarray(cv2.flip(image_HWC, 1), dtype=np.uint8)


def look_up(image_HWC: Bytes, table: Bytes, out_HWC: Bytes) -> None:
    """Replace every value by its entry in a table of 256, into an array of the same shape; both may be cut-outs.

    Raises:
        ValueError: the shapes differ.
    """
    if image_HWC.shape != out_HWC.shape:
        raise ValueError(f"look_up: got shapes {image_HWC.shape} and {out_HWC.shape}, must be the same")
    cv2.LUT(image_HWC, table, dst=out_HWC)


def warp(image_HW: Bytes, flow_HWC: Floats) -> Floats:
    """Return at each place what the picture shows where the flow leads from there; bilinear, edges continued."""
    height_px, width_px = image_HW.shape
    column, row = np.meshgrid(np.arange(width_px, dtype=np.float32), np.arange(height_px, dtype=np.float32))
    seen = cv2.remap(
        image_HW.astype(np.float32),
        column + flow_HWC[..., 0],
        row + flow_HWC[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(seen, dtype=np.float32)


def place(image_HWC: Bytes, matrix_23: npt.NDArray[np.float64], height_px: int, width_px: int) -> Bytes:
    """Look at a picture through another frame; bilinear, zero where the picture has no pixels.

    Args:
        image_HWC: Picture, 1 to 4 channels.
        matrix_23: Where each pixel ``(x, y, 1)`` of the result is in the picture.
        height_px: Height of the result.
        width_px: Width of the result.
    """
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(image_HWC, matrix_23, (width_px, height_px), flags=flags), dtype=np.uint8)


def blur(image_HWC: Bytes, sigma_px: float) -> Bytes:
    """Blur a picture by a Gaussian; edges continued."""
    kernel = (0, 0)  # as large as it takes
    return np.asarray(cv2.GaussianBlur(image_HWC, kernel, sigma_px, borderType=cv2.BORDER_REPLICATE), dtype=np.uint8)


def detail(image_HW: Floats, span_px: int) -> Floats:
    """Return by how much each pixel is brighter than the mean of ``span_px`` square around it."""
    return np.asarray(image_HW - cv2.blur(image_HW, (span_px, span_px)), dtype=np.float32)


def match_light(image_HW: Bytes, like_HW: Bytes) -> Bytes:
    """Give a gray picture the mean and the contrast of another, unless they are within a tenth of each other already.

    Args:
        image_HW: Gray picture to change.
        like_HW: Gray picture to compare it to.

    Returns:
        The picture, brighter or darker; as it was where one of the two has no contrast.
    """
    (mean, spread), (like_mean, like_spread) = (
        (float(part[0, 0]) for part in cv2.meanStdDev(picture_HW)) for picture_HW in (image_HW, like_HW)
    )
    if min(spread, like_spread) < 1 or abs(spread - like_spread) <= LIGHT_TOLERANCE * like_spread:
        return image_HW
    levels = (np.arange(256) - mean) * (like_spread / spread) + like_mean
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image_HW, table), dtype=np.uint8)


class DenseFlow:
    """Dense inverse search flow between two gray pictures; holds its buffers, so use one object per thread.

    Patches are matched down to half the size, sparsely and in few steps, and their mean is the flow: as fast as
    OpenCV's preset that stops at a quarter of the size and then smooths, and nearer to the truth at the edges of
    things. ``bench/flow.py`` has the table. A change of light is undone first.
    """

    FINEST_SCALE = 1
    PATCH_STRIDE_PX = 5
    DESCENT_STEPS = 6

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._dis.setFinestScale(self.FINEST_SCALE)
        self._dis.setPatchStride(self.PATCH_STRIDE_PX)
        self._dis.setGradientDescentIterations(self.DESCENT_STEPS)
        self._dis.setVariationalRefinementIterations(0)

    def __call__(self, from_HW: Bytes, to_HW: Bytes) -> Floats:
        """Measure where each pixel of one picture went.

        Args:
            from_HW: Gray picture, at least 16 pixels a side.
            to_HW: Gray picture of the same size.

        Returns:
            ``H x W x 2`` displacement, pixels: right, down.
        """
        return np.asarray(self._dis.calc(from_HW, match_light(to_HW, from_HW), None), dtype=np.float32)
