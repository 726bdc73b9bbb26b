from __future__ import annotations

from pathlib import Path

import av
import pytest

from pipelines.hidden_frames import is_hidden

MADE = Path(__file__).parents[1] / "golden" / "decode"


@pytest.mark.parametrize(("codec", "num_hidden"), [("vp8", 2), ("vp9", 0)])
def test_hidden_are_the_packets_that_the_decoder_shows_nothing_of(codec: str, num_hidden: int) -> None:
    with av.open(str(MADE / f"{codec}.webm")) as container:
        container.streams.video[0].codec_context.thread_count = 1
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for packet in packets:
            assert is_hidden(codec, memoryview(packet)) == (packet.decode() == [])
    assert len(packets) == 40 + num_hidden


@pytest.mark.parametrize(
    ("codec", "packet", "expected"),
    [
        ("vp8", b"\x10", False),
        ("vp8", b"\x00", True),
        ("vp9", b"\x82\x00", False),  # profile 0, key frame, shown
        ("vp9", b"\x80\x00", True),
        ("vp9", b"\x88\x00", False),  # an existing frame is shown
        ("vp9", b"\x80\xc0", False),  # a superframe: something in it is shown
        ("vp9", b"\xa0\x00", True),  # profile 1
        ("vp9", b"\xb1\x00", False),  # profile 3 has one bit more
        ("vp9", b"\xb0\x00", True),
        ("vp9", b"\x00\x00", False),  # no VP9 at all: the decoder is to say so
        ("vp9", b"", False),
        ("h264", b"\x00", False),
    ],
)
def test_the_bits_are_read_where_they_are(codec: str, packet: bytes, *, expected: bool) -> None:
    assert is_hidden(codec, packet) is expected
