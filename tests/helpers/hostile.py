"""Files that try to make a player open other files or addresses, and what notices if one succeeds."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.elements import elements

SILENCE_S = 5.0
"""A visitor that says nothing for so long has come all the same."""


@dataclass
class Listener:
    """A server on this machine that counts who comes.

    Attributes:
        port: Where it listens.
        visits: First bytes of every visitor.
    """

    port: int
    visits: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.port}/a.ts"


@contextmanager
def listening() -> Iterator[Listener]:
    """Listen on a port of the loopback until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        listener = Listener(server.getsockname()[1])

        def answer() -> None:
            while True:
                visitor, _ = server.accept()
                with visitor:
                    visitor.settimeout(SILENCE_S)
                    try:
                        first = visitor.recv(1000)
                    except TimeoutError:
                        first = b"came and said nothing"
                    if first == b"end":
                        return
                    listener.visits.append(first)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listener
        finally:
            with socket.create_connection(("127.0.0.1", listener.port)) as last:
                last.sendall(b"end")
            thread.join()


def playlists(target: str) -> dict[str, bytes]:
    """Write one playlist of every kind FFmpeg or a player would follow, each naming the target.

    Args:
        target: A path or an address.

    Returns:
        Contents by name.
    """
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n"
    key = f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXT-X-MAP:URI="{target}"\n#EXTINF:1,\n{target}\n'
    texts = {
        "hls": hls,
        "hls-key-and-map": key,
        "hls-master": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}\n",
        "hls-after-mark": "\ufeff" + hls,
        "hls-after-space": " \r\n\t" + hls,
        "hls-small-letters": hls.replace("EXTM3U", "extm3u"),
        "hls-subfile": hls.replace(target, f"subfile,,start,0,end,64,,:{target}"),
        "hls-concat": hls.replace(target, f"concat:{target}|{target}"),
        "hls-data": hls.replace(target, f"data:application/vnd.apple.mpegurl,%23EXTM3U%0A{target}"),
        "hls-crypto": hls.replace(target, f"crypto+{target}"),
        "ffconcat": f"ffconcat version 1.0\nfile '{target}'\n",
        "ffconcat-options": f"ffconcat version 1.0\nfile '{target}'\noption safe 0\noption protocol_whitelist tcp\n",
        "dash": f'<?xml version="1.0"?>\n<MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>',
        "dash-entity": f'<!DOCTYPE x [<!ENTITY e SYSTEM "{target}">]>\n<MPD><BaseURL>&e;</BaseURL></MPD>',
        "smil": f'<smil><body><video src="{target}"/></body></smil>',
        "smooth-streaming": f'<SmoothStreamingMedia><StreamIndex Url="{target}"/></SmoothStreamingMedia>',
        "asx": f'<ASX version="3.0"><Entry><Ref href="{target}"/></Entry></ASX>',
        "xspf": f"<?xml version='1.0'?><playlist><trackList><location>{target}</location></trackList></playlist>",
        "imf": f"<CompositionPlaylist><Segment><Path>{target}</Path></Segment></CompositionPlaylist>",
        "imf-assets": f"<AssetMap><Path>{target}</Path></AssetMap>",
        "pls": f"[playlist]\nNumberOfEntries=1\nFile1={target}\n",
        "asf-reference": f"[Reference]\nRef1={target}\n",
        "quicktime-text": f"RTSPtextRTSP://{target}",
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\na=control:{target}\nm=video 0 RTP/AVP 96\n",
    }
    return {name: text.encode() for name, text in texts.items()}


def lists_in_plain_text(target: str) -> dict[str, bytes]:
    """Write what names the target but has no mark by which FFmpeg would know it."""
    texts = {
        "hls-after-comment": f"# a comment\n#EXTM3U\n#EXTINF:1,\n{target}\n",
        "concat-without-mark": f"file '{target}'\n",
        "m3u": f"{target}\n",
        "ram": f"{target}\n{target}\n",
        "concat-address": f"concat:{target}|/etc/passwd",
        "subfile-address": f"subfile,,start,0,end,0,,:{target}",
        "data-address": "data:video/mp4;base64,AAAA",
        "image-sequence": "/etc/%*\n/tmp/img%03d.png\n",
        "vobsub": f"# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n# {target}\n",
        "avisynth": f'DirectShowSource("{target}")\n',
        "subtitles": f"WEBVTT\n\nSTYLE\n@import url({target});\n",
        "timed-text": f'<tt xmlns="http://www.w3.org/ns/ttml"><head><metadata href="{target}"/></head></tt>',
    }
    return {name: text.encode() for name, text in texts.items()}


def avi_with_subtitles(avi: bytes, subtitles: bytes) -> bytes:
    """Add a text track whose only chunk wraps another file, as DivX subtitles do ("GAB2").

    Args:
        avi: With one video stream, as FFmpeg writes it.
        subtitles: The file to wrap; FFmpeg would guess its format.

    Returns:
        A file with two streams.
    """
    data = bytearray(avi)
    found = elements(avi)
    header = next(e for e in found if e.name == b"avih")
    spare = next(e for e in found if e.name == b"JUNK")
    movie = next(e for e in found if data[e.payload : e.payload + 4] == b"movi")
    name = "a\0".encode("utf-16-le")
    wrapped = b"GAB2\0" + struct.pack("<HI", 2, len(name)) + name + struct.pack("<HI", 4, len(subtitles)) + subtitles
    chunk = b"01tx" + struct.pack("<I", len(wrapped)) + wrapped + b"\0" * (len(wrapped) % 2)
    track = b"strl" + _chunk(b"strh", b"txts" + bytes(16) + struct.pack("<II", 1, 10) + bytes(4) + b"\1" + bytes(23))
    track = _chunk(b"LIST", track + _chunk(b"strf", bytes(40)))
    data[header.payload + 24 : header.payload + 28] = struct.pack("<I", 2)
    body = bytes(data[movie.payload : movie.payload + 4]) + chunk + bytes(data[movie.payload + 4 : movie.end])
    rest = _chunk(b"JUNK", bytes(spare.end - spare.payload - len(track)))
    changed = (
        bytes(data[12 : spare.start]) + track + rest + bytes(data[spare.end : movie.start]) + _chunk(b"LIST", body)
    )
    return b"RIFF" + struct.pack("<I", len(changed) + 4) + b"AVI " + changed


def _chunk(name: bytes, payload: bytes) -> bytes:
    return name + struct.pack("<I", len(payload)) + payload


def movie_with_reference(movie: bytes, reference: bytes) -> bytes:
    """Say that the samples of a QuickTime movie lie elsewhere.

    Args:
        movie: Its index at its end.
        reference: Entry of the table of data references: :func:`alias`, :func:`address`.

    Returns:
        The movie without its samples.
    """
    old = next(e for e in elements(movie) if e.name == b"dref")
    new = struct.pack(">I4sII", 16 + len(reference), b"dref", 0, 1) + reference
    data = bytearray(movie[: old.start] + new + movie[old.end :])
    for parent in elements(movie):
        if parent.start < old.start and parent.end >= old.end:
            size = parent.end - parent.start + len(new) - (old.end - old.start)
            data[parent.start : parent.start + 4] = struct.pack(">I", size)
    samples = next(e for e in elements(movie) if e.name == b"mdat")
    data[samples.payload : samples.end] = bytes(samples.end - samples.payload)
    return bytes(data)


def alias(path: Path) -> bytes:
    """Make a data reference by a Macintosh alias record with an absolute path."""
    volume, place = b"VOL", f"VOL{path}".replace("/", ":").encode()
    name = path.name.encode()
    record = bytes(10) + bytes([len(volume)]) + volume.ljust(27, b"\0") + bytes(12)
    record += bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16) + struct.pack(">hh", 1, 1) + bytes(16)
    record += struct.pack(">HH", 2, len(place)) + place + b"\0" * (len(place) % 2) + struct.pack(">hh", -1, 0)
    return struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record


def address(url: str) -> bytes:
    """Make a data reference by an address."""
    return struct.pack(">I4sI", 13 + len(url), b"url ", 0) + url.encode() + b"\0"


def reference_movie(url: str) -> bytes:
    """Make a QuickTime movie that is nothing but a pointer to another one."""
    data = b"\0" * 4 + b"url " + struct.pack(">I", len(url) + 1) + url.encode() + b"\0"
    for name in (b"rdrf", b"rmda", b"rmra", b"moov"):
        data = struct.pack(">I", len(data) + 8) + name + data
    return struct.pack(">I4s4sI4s", 20, b"ftyp", b"qt  ", 0, b"qt  ") + data


def linked_matroska(mkv: bytes, target: str) -> bytes:
    """Point a Matroska file at others: the file before, the file after, an ordered chapter from another segment."""
    found = elements(mkv)
    segment = next(e for e in found if e.name == bytes.fromhex("18538067"))
    info = next(e for e in found if e.name == bytes.fromhex("1549a966"))
    path = target.encode()
    links = _ebml("3c83ab", path) + _ebml("3e83bb", path) + _ebml("3cb923", bytes(range(16)))
    links += _ebml("3eb923", bytes(range(16)))
    chapter = _ebml("73c4", b"\1") + _ebml("91", b"\0") + _ebml("92", b"\x3b\x9a\xca\0")
    chapter += _ebml("6e67", bytes(range(16)))
    chapters = _ebml("1043a770", _ebml("45b9", _ebml("45dd", b"\1") + _ebml("b6", chapter)))
    new = _ebml("1549a966", mkv[info.payload : info.end] + links) + chapters
    unknown_size = b"\x01" + b"\xff" * 7
    return mkv[: segment.size_at] + unknown_size + new + mkv[info.end :]


def matroska_with_subtitles(mkv: bytes, text: bytes) -> bytes:
    """Add a WebVTT track whose header is this text."""
    found = elements(mkv)
    segment = next(e for e in found if e.name == bytes.fromhex("18538067"))
    tracks = next(e for e in found if e.name == bytes.fromhex("1654ae6b"))
    track = _ebml("d7", b"\2") + _ebml("73c5", b"\2") + _ebml("83", b"\x11") + _ebml("86", b"S_TEXT/WEBVTT")
    track = _ebml("ae", track + _ebml("63a2", text))
    new = _ebml("1654ae6b", mkv[tracks.payload : tracks.end] + track)
    unknown_size = b"\x01" + b"\xff" * 7
    head = mkv[: segment.size_at] + unknown_size + mkv[segment.payload : tracks.start]
    return head + new + mkv[tracks.end :]


def _ebml(name: str, payload: bytes) -> bytes:
    return bytes.fromhex(name) + (len(payload) | 1 << 56).to_bytes(8, "big") + payload
