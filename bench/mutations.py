"""Ways to damage a video file, each decided by a random generator alone: the same seed gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from bench.elements import Element, elements, family, is_big_endian

MAX_BYTES = 400_000
"""A damaged file is cut to this, so that repeated insertions stay quick to decode."""

LIES = tuple(sorted({0, 1, 2, 7} | {2**n + d for n in (7, 8, 15, 16, 24, 31, 32, 62, 63) for d in (-1, 0)}))
"""Numbers that programs trip over; cut to the width of the field they are written to."""

# Fields worth lying about, as (offset in the payload, bytes).
FIELDS: dict[bytes, tuple[tuple[int, int], ...]] = {
    # ISO: time scales, durations, matrix, width and height, counts and first entries of tables.
    b"mvhd": ((12, 4), (16, 4)),
    b"mdhd": ((0, 1), (12, 4), (16, 4)),
    b"tkhd": ((0, 4), (12, 4), (20, 4), (40, 4), (44, 4), (56, 4), (76, 4), (80, 4)),
    b"stsd": ((4, 4), (8, 4), (12, 4), (40, 2), (42, 2), (82, 2)),
    b"stts": ((4, 4), (8, 4), (12, 4)),
    b"ctts": ((0, 1), (4, 4), (8, 4), (12, 4)),
    b"stsc": ((4, 4), (8, 4), (12, 4), (16, 4)),
    b"stsz": ((4, 4), (8, 4), (12, 4)),
    b"stco": ((4, 4), (8, 4)),
    b"stss": ((4, 4), (8, 4)),
    b"elst": ((0, 1), (4, 4), (8, 4), (12, 4), (16, 4)),
    b"trun": ((0, 4), (4, 4), (8, 4), (12, 4)),
    b"tfhd": ((0, 4), (4, 4), (8, 4), (16, 4)),
    b"tfdt": ((0, 1), (4, 4), (8, 4)),
    b"trex": ((4, 4), (12, 4), (16, 4)),
    # RIFF: microseconds a frame, frames, streams, sizes; scale, rate, start, length; bitmap header; index.
    b"avih": ((0, 4), (16, 4), (24, 4), (32, 4), (36, 4)),
    b"strh": ((0, 4), (4, 4), (20, 4), (24, 4), (28, 4), (32, 4), (44, 4)),
    b"strf": ((0, 4), (4, 4), (8, 4), (14, 2), (16, 4), (20, 4), (32, 4)),
    b"idx1": ((4, 4), (8, 4), (12, 4)),
    # EBML: time scale, duration, cluster time, width, height, default duration, track number and type, block head.
    bytes.fromhex("2ad7b1"): ((0, 3),),
    bytes.fromhex("4489"): ((0, 8),),
    bytes.fromhex("e7"): ((0, 1), (0, 2)),
    bytes.fromhex("b0"): ((0, 1), (0, 2)),
    bytes.fromhex("ba"): ((0, 1), (0, 2)),
    bytes.fromhex("23e383"): ((0, 4),),
    bytes.fromhex("d7"): ((0, 1),),
    bytes.fromhex("83"): ((0, 1),),
    bytes.fromhex("a3"): ((0, 1), (1, 2), (3, 1)),
}
CODES = (
    b"avc1", b"hvc1", b"hev1", b"vvc1", b"av01", b"vp08", b"vp09", b"mp4v", b"s263", b"jpeg", b"apch", b"FFV1",
    b"HFYU", b"cvid", b"SVQ3", b"DIVX", b"MJPG", b"H264", b"WMV3", b"VP62", b"raw ", b"encv",
)  # fmt: skip
"""Codec names of four letters, to call a stream what it is not."""


def flip_bits(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    """Flip up to 64 bits, in the whole file or near its start."""
    reach = random.choice((len(data), len(data), min(len(data), 1024)))
    for _ in range(random.choice((1, 1, 2, 4, 16, 64))):
        data[random.randrange(reach)] ^= 1 << random.randrange(8)


def flip_header_bits(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    """Flip up to four bits in one of the smaller elements: tables and codec headers rather than pictures."""
    found = elements(bytes(data))
    small = [e for e in found if 0 < e.end - e.start <= 512] or found
    element = random.choice(small)
    for _ in range(random.randrange(1, 5)):
        data[random.randrange(element.start, element.end)] ^= 1 << random.randrange(8)


def overwrite_run(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    """Overwrite up to 512 bytes with zeros, ones or noise."""
    at, length = _place(random, data, 512)
    data[at : at + length] = _filling(random, length)


def truncate(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    """Cut the end off, anywhere or where an element begins."""
    anywhere = random.randrange(len(data))
    del data[random.choice((anywhere, random.choice(elements(bytes(data))).start)) :]


def insert_run(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    """Insert up to 512 bytes."""
    at, length = _place(random, data, 512)
    data[at:at] = _filling(random, length)


def delete_run(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    """Leave up to 512 bytes out."""
    at, length = _place(random, data, 512)
    del data[at : at + length]


def repeat_element(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    """Write an element again up to 20 times, at its place or at the end."""
    element = random.choice(elements(bytes(data)))
    copies = bytes(data[element.start : element.end])[:20_000] * random.randrange(1, 21)
    at = random.choice((element.end, len(data)))
    data[at:at] = copies


def swap_elements(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    """Exchange two elements."""
    found = elements(bytes(data))
    first, second = sorted((random.choice(found), random.choice(found)), key=lambda e: e.start)
    if first.end <= second.start:
        head, tail = bytes(data[first.start : first.end]), bytes(data[second.start : second.end])
        data[second.start : second.end] = head
        data[first.start : first.end] = tail


def drop_element(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    """Leave an element out without correcting the sizes around it."""
    element = random.choice(elements(bytes(data)))
    del data[element.start : element.end]


def splice_element(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    """Put an element of another file in, for one of ours or beside it."""
    donor = random.choice(others)
    given, ours = random.choice(elements(donor)), random.choice(elements(bytes(data)))
    until = random.choice((ours.start, ours.end))
    data[ours.start : until] = donor[given.start : given.end]


def lie_about_size(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    """State a wrong size of an element: 0, 1, huge, or a little off."""
    sized = [e for e in elements(bytes(data)) if e.size_at >= 0 and e.size_at + e.size_bytes <= len(data)]
    if not sized:
        lie_about_number(random, data, _others)
        return
    element, kind = random.choice(sized), family(bytes(data))
    if kind == "iso" and random.random() < 0.2:  # a size of 64 bits: 1, and then the number
        _write(data, element.start, 4, 1, big=True)
        data[element.start + 8 : element.start + 8] = random.choice(LIES).to_bytes(8, "big")
    elif kind == "ebml":
        width = element.size_bytes
        size = random.choice((*LIES, element.end - element.payload + random.randrange(-9, 10))) % (1 << 7 * width)
        _write(data, element.size_at, width, size | 1 << 7 * width, big=True)
    else:
        _lie(random, data, element.size_at, element.size_bytes, big=is_big_endian(kind))


def lie_about_field(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    """Write a wrong time scale, duration, width, count, edit, table entry or the like."""
    known = [e for e in elements(bytes(data)) if e.name in FIELDS]
    if not known:
        lie_about_number(random, data, _others)
        return
    big = is_big_endian(family(bytes(data)))
    for _ in range(random.choice((1, 1, 2, 4))):
        element = random.choice(known)
        offset, width = random.choice(FIELDS[element.name])
        if element.payload + offset + width <= len(data):
            _lie(random, data, element.payload + offset, width, big=big)


def lie_about_number(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    """Write a wrong number of one to eight bytes into an element that need not be known."""
    element: Element = random.choice(elements(bytes(data)))
    width = random.choice((1, 2, 4, 4, 8))
    last = min(element.end, element.payload + 512, len(data)) - width
    if last > element.payload:
        at = random.randrange(element.payload, last)
        _lie(random, data, at, width, big=is_big_endian(family(bytes(data))))


def rename_codec(random: Random, data: bytearray, _others: Sequence[bytes]) -> None:
    """Call a stream by another codec's name."""
    places = [at for code in CODES if (at := data.find(code)) >= 0]
    if places:
        at = random.choice(places)
        data[at : at + 4] = random.choice(CODES)
    else:
        lie_about_field(random, data, _others)


def exchange_body(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    """Keep the head and take the rest from another file."""
    donor = random.choice(others)
    cut = random.choice((random.choice(elements(bytes(data))).start, min(len(data), random.randrange(4, 600))))
    del data[cut:]
    data += donor[random.choice((0, min(cut, len(donor)))) :]


def append_file(random: Random, data: bytearray, others: Sequence[bytes]) -> None:
    """Put another file behind this one."""
    data += random.choice(others)


Mutator = Callable[[Random, bytearray, Sequence[bytes]], None]
MUTATORS: tuple[Mutator, ...] = (
    flip_bits,
    flip_header_bits,
    overwrite_run,
    truncate,
    insert_run,
    delete_run,
    repeat_element,
    swap_elements,
    drop_element,
    splice_element,
    lie_about_size,
    lie_about_field,
    lie_about_number,
    rename_codec,
    exchange_body,
    append_file,
)


def mutate(random: Random, data: bytes, others: Sequence[bytes], how: Sequence[Mutator]) -> bytes:
    """Apply mutators in order; Ogg pages get new check sums most of the time, or FFmpeg would not look at them.

    Args:
        random: Decides everything.
        data: A file.
        others: Files to take parts from.
        how: What to do.

    Returns:
        The damaged file, at most ``MAX_BYTES``; it may be empty.
    """
    damaged = bytearray(data)
    for mutator in how:
        if damaged:
            mutator(random, damaged, others)
            del damaged[MAX_BYTES:]
    if family(bytes(damaged)) == "ogg" and random.random() < 0.8:
        _mend_check_sums(damaged)
    return bytes(damaged)


def _place(random: Random, data: bytearray, max_bytes: int) -> tuple[int, int]:
    length = random.choice((1, 2, 4, 8, 16, 64, random.randrange(1, max_bytes)))
    return random.randrange(len(data)), length


def _filling(random: Random, length: int) -> bytes:
    return random.choice((bytes(length), b"\xff" * length, random.randbytes(length)))


def _lie(random: Random, data: bytearray, at: int, width: int, *, big: bool) -> None:
    old = int.from_bytes(data[at : at + width], "big" if big else "little")
    near = (old + 1, old - 1, old * 2, old * 1000, old ^ (1 << (8 * width - 1)))
    value = random.choice((random.choice(LIES), random.choice(LIES), random.choice(near), random.getrandbits(64)))
    _write(data, at, width, value % (1 << 8 * width), big=big)


def _write(data: bytearray, at: int, width: int, value: int, *, big: bool) -> None:
    data[at : at + width] = value.to_bytes(width, "big" if big else "little")


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def _mend_check_sums(data: bytearray) -> None:
    """Write the right sum into every page whose length can be told."""
    for page in elements(bytes(data)):
        lacing = data[page.start + 27 : page.start + 27 + data[page.start + 26]] if page.end - page.start > 27 else b""
        end = page.start + 27 + len(lacing) + sum(lacing)
        if not lacing or end > len(data):
            continue
        data[page.start + 22 : page.start + 26] = bytes(4)
        value = 0
        for byte in data[page.start : end]:
            value = (value << 8 & 0xFFFFFFFF) ^ _CRC[value >> 24 ^ byte]
        data[page.start + 22 : page.start + 26] = value.to_bytes(4, "little")
