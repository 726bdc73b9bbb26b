"""Packets that hold no picture to show: encoders of VP8 and VP9 send some only for later frames to refer to."""

from __future__ import annotations

CODECS = frozenset({"vp8", "vp9"})
FRAME_MARKER = 0b10
SUPERFRAME_MARKER = 0b110
"""The last byte of a superframe, that of its index, begins with this."""
RESERVED_PROFILE = 3
"""Its number is followed by a zero bit."""


def is_hidden(codec: str, packet: bytes | memoryview) -> bool:
    """Read from the first bits of a packet whether its frame is decoded and not shown.

    Args:
        codec: Name of the decoder; only those in ``CODECS`` have such packets.
        packet: Compressed frame, or in VP9 a superframe, which ends with one that is shown.
    """
    if codec not in CODECS or len(packet) == 0:
        return False
    first = packet[0]
    if codec == "vp8":
        return not first >> 4 & 1  # RFC 6386, section 9.1: key frame, version, show_frame
    if first >> 6 != FRAME_MARKER or packet[-1] >> 5 == SUPERFRAME_MARKER:
        return False
    profile = (first >> 5 & 1) + 2 * (first >> 4 & 1)
    after_profile = first << 5 if profile == RESERVED_PROFILE else first << 4
    shows_existing, _, is_shown = (after_profile >> bit & 1 for bit in (7, 6, 5))
    return not shows_existing and not is_shown
