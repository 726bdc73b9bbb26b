"""Where the parts of a container file lie: boxes, chunks, pages, tags, packets. Enough to damage a file on purpose."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MAX_ELEMENTS = 2000
BLOCK_BYTES = 64
TS_BYTES = 188

_BOXES_OF_BOXES = frozenset(b"moov trak mdia minf stbl edts moof traf mvex dinf udta".split())
# Segment, cluster, tracks, track, video, info, seek head, seek, cues, cue point, positions, block group, encodings.
_EBML_MASTERS = frozenset(
    value.to_bytes((value.bit_length() + 7) // 8, "big")
    for value in (
        0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE, 0xE0, 0x1549A966, 0x114D9B74, 0x4DBB, 0x1C53BB6B, 0xBB, 0xB7, 0xA0,
        0x6D80, 0x6240, 0x5034,
    )
)  # fmt: skip
_START_CODE = re.compile(rb"\x00\x00\x01")


@dataclass(frozen=True, slots=True)
class Element:
    """One part of a file.

    Attributes:
        name: What the format calls it; empty where it has no name.
        start: Where its header begins.
        payload: Where its header ends.
        end: Where it ends, exclusive.
        size_at: Where its size is written, -1 if it states none.
        size_bytes: How many bytes state the size.
    """

    name: bytes
    start: int
    payload: int
    end: int
    size_at: int = -1
    size_bytes: int = 0


def family(data: bytes) -> str:
    """Name the layout that the first bytes promise: ``iso``, ``ebml``, ``riff`` … or ``blocks`` if none."""
    for name, at, magic in (
        ("ebml", 0, b"\x1aE\xdf\xa3"),
        ("riff", 0, b"RIFF"),
        ("ogg", 0, b"OggS"),
        ("flv", 0, b"FLV"),
        ("asf", 0, b"0&\xb2u"),
        ("ivf", 0, b"DKIF"),
        ("codes", 0, b"\x00\x00\x01"),
        ("codes", 0, b"\x00\x00\x00\x01"),
        ("iso", 4, b"ftyp"),
        ("iso", 4, b"moov"),
        ("iso", 4, b"mdat"),
    ):
        if data[at : at + len(magic)] == magic:
            return name
    return "ts" if data[:1] == data[TS_BYTES : TS_BYTES + 1] == b"G" else "blocks"


def is_big_endian(name: str) -> bool:
    """Tell the byte order of a family's numbers."""
    return name not in {"riff", "asf", "ogg", "ivf"}


def elements(data: bytes) -> list[Element]:
    """Return the parts of a file, outer ones before their inner ones; at least one for any file that is not empty."""
    walk: dict[str, Callable[[bytes, int, int], Iterator[Element]]] = {
        "iso": _boxes,
        "ebml": _ebml,
        "riff": _chunks,
        "ogg": _pages,
        "flv": _tags,
        "asf": _objects,
        "ivf": _ivf_frames,
        "codes": _start_codes,
    }
    found: list[Element] = []
    for element in walk.get(family(data), _blocks)(data, 0, len(data)):
        found.append(element)
        if len(found) >= MAX_ELEMENTS:
            break
    return found or list(_blocks(data, 0, min(len(data), MAX_ELEMENTS * BLOCK_BYTES)))


def _number(data: bytes, at: int, width: int, *, big: bool) -> int:
    return int.from_bytes(data[at : at + width], "big" if big else "little")


def _boxes(data: bytes, at: int, end: int) -> Iterator[Element]:
    while at + 8 <= end:
        size, header, size_at, width = _number(data, at, 4, big=True), 8, at, 4
        if size == 1:
            size, header, size_at, width = _number(data, at + 8, 8, big=True), 16, at + 8, 8
        until = at + size if header <= size <= end - at else end
        name = data[at + 4 : at + 8]
        yield Element(name, at, at + header, until, size_at, width)
        if name in _BOXES_OF_BOXES:
            yield from _boxes(data, at + header, until)
        at = until


def _ebml(data: bytes, at: int, end: int) -> Iterator[Element]:
    while at < end:
        id_bytes = 9 - data[at].bit_length()
        size_at = at + id_bytes
        if id_bytes > 4 or size_at >= end:
            return
        width = 9 - data[size_at].bit_length()
        if width > 8:
            return
        payload = size_at + width
        size = _number(data, size_at, width, big=True) & ((1 << 7 * width) - 1)
        is_known = size != (1 << 7 * width) - 1
        until = min(payload + size, end) if is_known else end
        name = data[at:size_at]
        yield Element(name, at, min(payload, end), until, size_at, width)
        if name in _EBML_MASTERS:
            yield from _ebml(data, payload, until)
        at = max(until, payload)


def _chunks(data: bytes, at: int, end: int) -> Iterator[Element]:
    while at + 8 <= end:
        until = min(at + 8 + _number(data, at + 4, 4, big=False), end)
        name = data[at : at + 4]
        yield Element(name, at, at + 8, until, at + 4, 4)
        if name in {b"RIFF", b"LIST"}:
            yield from _chunks(data, at + 12, until)
        at = until + (until - at) % 2


def _pages(data: bytes, at: int, end: int) -> Iterator[Element]:
    for start, until in _between(data, re.compile(b"OggS"), at, end):
        yield Element(b"page", start, min(start + 27, until), until, start + 26, 1)


def _tags(data: bytes, at: int, end: int) -> Iterator[Element]:
    yield Element(b"FLV", at, at + 9, min(at + 13, end), at + 5, 4)
    at += 13
    while at + 11 <= end:
        until = min(at + 15 + _number(data, at + 1, 3, big=True), end)
        yield Element(data[at : at + 1], at, at + 11, until, at + 1, 3)
        at = until


def _objects(data: bytes, at: int, end: int) -> Iterator[Element]:
    while at + 24 <= end:
        size = _number(data, at + 16, 8, big=False)
        until = at + size if 24 <= size <= end - at else end
        yield Element(data[at : at + 4], at, at + 24, until, at + 16, 8)
        if data[at : at + 4] == b"0&\xb2u":
            yield from _objects(data, at + 30, until)
        at = until


def _ivf_frames(data: bytes, at: int, end: int) -> Iterator[Element]:
    yield Element(b"DKIF", at, at + 8, min(at + 32, end), at + 6, 2)
    at += 32
    while at + 12 <= end:
        until = min(at + 12 + _number(data, at, 4, big=False), end)
        yield Element(b"frame", at, at + 12, until, at, 4)
        at = until


def _start_codes(data: bytes, at: int, end: int) -> Iterator[Element]:
    for start, until in _between(data, _START_CODE, at, end):
        yield Element(data[start + 3 : start + 4], start, min(start + 4, until), until)


def _blocks(data: bytes, at: int, end: int) -> Iterator[Element]:
    step = TS_BYTES if family(data) == "ts" else BLOCK_BYTES
    for start in range(at, end, step):
        yield Element(b"", start, start, min(start + step, end))


def _between(data: bytes, pattern: re.Pattern[bytes], at: int, end: int) -> Iterator[tuple[int, int]]:
    starts = [match.start() for match in pattern.finditer(data, at, end)]
    yield from zip(starts, [*starts[1:], end], strict=True)
