"""The key frames that a report can show: strips that the run kept, made small, as many as a page may weigh."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence

from pipelines import label_parts, pixels, storage

MAX_BYTES = 12 << 20
"""What all pictures of a page may weigh together, as base64."""
MAX_READ = 2_000
"""Strips that are looked at for one page."""
HEIGHT_PX = 112
QUALITY = 75


def pictured(output: str, most: int = MAX_READ) -> list[str]:
    """Name the videos of which an output folder keeps key frames.

    Args:
        output: Folder of a labelling run, local or ``s3://``.
        most: How many names are wanted at most.

    Returns:
        Video ids, in order.
    """
    return sorted(name for strips in _files(output) for name in strips)[:most]


def read_pictures(output: str, wanted: Sequence[str], max_bytes: int = MAX_BYTES) -> dict[str, str]:
    """Read the strips of videos, made as small as they are shown.

    Args:
        output: Folder of a labelling run, local or ``s3://``.
        wanted: Ids of the videos, the most wanted first; at most ``MAX_READ`` of them are looked at.
        max_bytes: What all pictures together may weigh; what no longer fits is left out.

    Returns:
        JPEG in base64 by video id; a strip that is no picture is left out, for it is only decoration.
    """
    asked = dict.fromkeys(wanted[:MAX_READ])
    found = {name: text for strips in _files(output) for name, text in strips.items() if name in asked}
    pictures: dict[str, str] = {}
    num_bytes = 0
    for name in asked:
        small = _small(found.pop(name, ""))
        num_bytes += len(small)
        if num_bytes > max_bytes:
            break
        if small:
            pictures[name] = small
    return pictures


def _files(output: str) -> Iterator[dict[str, str]]:
    for part in sorted(label_parts.stems(storage.join(output, "_fal", "thumbnails"), ".json")):
        if part.startswith("part-"):
            yield label_parts.read_thumbnails(output, part)


def _small(text: str) -> str:
    try:
        image_HWC = pixels.decode_jpeg(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        return ""
    height, width = image_HWC.shape[:2]
    if height <= HEIGHT_PX:
        return text
    small_HWC = pixels.resize(image_HWC, HEIGHT_PX, max(1, round(width * HEIGHT_PX / height)))
    return base64.b64encode(pixels.encode_jpeg(small_HWC, QUALITY)).decode("ascii")
