"""Which files may be read: by their first bytes, by demuxer, by decoder. Standard library only."""

from __future__ import annotations

import io
from typing import BinaryIO

from fal_model.errors import FailureKind, VideoError

DEMUXERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,rm,mxf,dv,swf,ivf,gif,"
    "h264,hevc,vvc,obu,av1,m4v,mpegvideo,h263,vc1"
)
"""Demuxers that may run: none of them can refer to another file. HLS, DASH, concat, SDP, image lists are not here."""
# Every decoder is code that strangers' bytes reach, so each needs a reason: corpora hold it. Left out although they
# are not rare in FFmpeg: MagicYUV (CVE-2026-8461, fixed in the least version that pipelines.ffmpeg_builds asks for)
# and Ut Video, which nobody uploads; Indeo, Cinepak, Video 1, RPZA, Sorenson 1 and 3, RealVideo 1, H.261, VP3, VP5,
# VP7 and the first MS-MPEG-4, which ended before people uploaded video, and whose decoders nobody looks after.
DECODERS = (
    "h264,hevc,vp8,vp9,libdav1d,vvc,"  # phones, cameras, the web; what comes next
    "mpeg4,mpeg1video,mpeg2video,msmpeg4v2,msmpeg4,"  # data sets in AVI (UCF-101, HMDB-51), discs, broadcasts
    "h263,flv,vp6,vp6f,theora,wmv1,wmv2,wmv3,vc1,rv20,rv30,rv40,"  # the web and phones of 2000 to 2010
    "mjpeg,dvvideo,prores,dnxhd,cfhd,"  # cameras: webcams, camcorders, cinema
    "rawvideo,ffv1,huffyuv,ffvhuff,"  # laboratories and archives: nothing lost
    "gif,png,qtrle"  # animations and screen recordings, with transparency
)
"""Decoders that may run."""
HEAD_BYTES = 4096

# Playlists and descriptions that make a player open other files or addresses: refused before FFmpeg is asked.
_PLAYLISTS = {
    b"#extm3u": "an HLS playlist",
    b"ffconcat": "an ffconcat list",
    b"v=0": "an SDP description",
    b"[playlist]": "a PLS playlist",
    b"[reference]": "an ASF reference list",
    b"rtsptext": "a QuickTime text reference",
    b"smjpeg playlist": "a playlist",
}
_NOT_VIDEO = {
    b"version https://git-lfs": "a Git LFS pointer, not the file it stands for",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip file",
    b"%PDF": "a PDF document",
    b"\x7fELF": "a program",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"SQLite format 3": "a database",
    b"PAR1": "a Parquet file",
}
_CONTAINERS = (
    (4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (4, b"free"), (4, b"skip"), (4, b"wide"), (4, b"styp"), (4, b"moof"),
    (0, b"\x1aE\xdf\xa3"), (8, b"AVI "), (0, b"OggS"), (0, b"FLV\x01"), (0, b"0&\xb2u\x8ef\xcf\x11"),
    (0, b".RMF"), (0, b"FWS"), (0, b"CWS"), (0, b"\x00\x00\x01\xba"), (0, b"\x00\x00\x01\xb3"), (0, b"G"),
    (0, b"\x00\x00\x00\x01"), (0, b"\x06\x0e+4"), (0, b"DKIF"), (0, b"nut/"),
)  # fmt: skip
_XML_PLAYLISTS = (
    b"<mpd", b"<smil", b"<smoothstreamingmedia", b"<asx", b"<playlist", b"<manifest", b"<compositionplaylist",
    b"<assetmap",
)  # fmt: skip


class NamelessFile:
    """The only thing FFmpeg is given: bytes without a name, so that nothing beside the file can be looked up.

    Args:
        source: Readable and seekable; never closed here.

    Attributes:
        failure: The error that reading met, if any; FFmpeg may have taken it for the end of the file.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.failure: OSError | None = None

    def read(self, size: int) -> bytes:
        """Return at most ``size`` bytes; none at the end and, noting the error, where reading fails."""
        try:
            return self._source.read(size)
        except OSError as error:
            self.failure = error
            return b""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position and return it, or -1 for a place that is not there."""
        try:
            return self._source.seek(offset, whence)
        except (OSError, ValueError):
            return -1

    def tell(self) -> int:
        """Return the position."""
        return self._source.tell()


def read_head(source: BinaryIO, max_bytes: int) -> bytes:
    """Read and check the first bytes of a file.

    Args:
        source: Readable and seekable.
        max_bytes: Largest file allowed.

    Returns:
        At most ``HEAD_BYTES`` bytes.

    Raises:
        VideoError: reading fails, the file is too large, or :func:`check_head` refuses it.
    """
    try:
        num_bytes = source.seek(0, io.SEEK_END)
        source.seek(0)
        head = source.read(HEAD_BYTES)
    except IsADirectoryError as error:
        raise VideoError(FailureKind.NOT_A_FILE, "the path is a directory", "open") from error
    except OSError as error:
        raise VideoError(FailureKind.STORAGE_ERROR, f"reading failed: {error}", "open") from error
    if num_bytes > max_bytes:
        text = f"{num_bytes} bytes, at most {max_bytes} are allowed"
        raise VideoError(FailureKind.LIMIT_EXCEEDED, text, "open")
    check_head(head, num_bytes)
    return head


def check_head(head: bytes, num_bytes: int) -> None:
    """Refuse what is plainly no video, and every format that refers to other files.

    Args:
        head: The first bytes of the file, at most ``HEAD_BYTES`` are looked at.
        num_bytes: Size of the whole file.

    Raises:
        VideoError: ``empty_file``, ``unsupported_format`` for playlists, ``not_a_video`` for other known things.
    """
    head = head[:HEAD_BYTES]
    if not head:
        raise VideoError(FailureKind.EMPTY_FILE, "the file is empty", "open")
    for magic, name in _NOT_VIDEO.items():
        if head.startswith(magic):
            raise VideoError(FailureKind.NOT_A_VIDEO, f"the file is {name}", "open")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for magic, name in _PLAYLISTS.items():
        if text.startswith(magic):
            raise VideoError(FailureKind.UNSUPPORTED_FORMAT, f"the file is {name}; references are not followed", "open")
    if text.startswith(b"<") and any(tag in text for tag in _XML_PLAYLISTS):
        raise VideoError(
            FailureKind.UNSUPPORTED_FORMAT, "the file is an XML playlist; references are not followed", "open"
        )
    if _is_text(head):
        # Not what it says: a link into private files must not bring their words into a report.
        raise VideoError(FailureKind.NOT_A_VIDEO, f"the file is text, {num_bytes} bytes of it", "open")


def looks_like_container(head: bytes) -> bool:
    """Tell whether the bytes start like a known video container, however damaged the rest may be."""
    return any(head[at : at + len(magic)] == magic for at, magic in _CONTAINERS)


def _is_text(head: bytes) -> bool:
    # Transport streams begin with a letter as words do, but none is all letters.
    is_container = looks_like_container(head) and not head.startswith(b"G")
    return all(byte >= ord(" ") or byte in b"\t\n\r\f" for byte in head[:512]) and not is_container
