from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.elements import MAX_ELEMENTS, elements, family, is_big_endian
from bench.hostile_seeds import seeds

SEEDS = seeds(None)


@pytest.mark.parametrize(
    ("name", "expected", "inside"),
    [
        ("libx264-yuv420p.mp4", "iso", {b"moov", b"stts", b"elst"}),
        ("fragments.mp4", "iso", {b"moof", b"trun", b"tfdt"}),
        ("libx264-yuv420p.mkv", "ebml", {bytes.fromhex("1f43b675"), bytes.fromhex("a3"), bytes.fromhex("b0")}),
        ("mpeg4-yuv420p.avi", "riff", {b"avih", b"strf", b"idx1", b"00dc"}),
        ("libvpx-yuv420p.ogv", "ogg", {b"page"}),
        ("flv-yuv420p.flv", "flv", {b"FLV", b"\x09"}),
        ("wmv2-yuv420p.asf", "asf", {b"0&\xb2u"}),
        ("libvpx-yuv420p.ivf", "ivf", {b"frame"}),
        ("libx264-yuv420p.h264", "codes", {b"\x67", b"\x68"}),
        ("libx264-yuv420p.ts", "ts", {b""}),
        ("rv20-yuv420p.rm", "blocks", {b""}),
    ],
)
def test_the_parts_of_every_layout_are_found(name: str, expected: str, inside: set[bytes]) -> None:
    assert family(SEEDS[name]) == expected
    assert inside <= {element.name for element in elements(SEEDS[name])}


def test_numbers_are_read_in_the_order_of_the_format() -> None:
    assert [is_big_endian(name) for name in ("iso", "ebml", "riff", "asf")] == [True, True, False, False]


@given(st.sampled_from(sorted(SEEDS)), st.data())
@settings(deadline=None, max_examples=200)
def test_the_parts_of_anything_lie_within_it(name: str, data: st.DataObject) -> None:
    file = bytearray(SEEDS[name][: data.draw(st.integers(1, 4000))])
    for _ in range(data.draw(st.integers(0, 8))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    found = elements(bytes(file))
    assert 0 < len(found) <= MAX_ELEMENTS
    assert all(0 <= e.start <= e.payload and e.start < e.end <= len(file) for e in found)
