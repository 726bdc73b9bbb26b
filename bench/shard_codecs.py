"""Ways to keep the frames of a clip, and how near the pictures that come back are: for ``bench/shards.py``."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines import pixels

Bytes = npt.NDArray[np.uint8]
Packets = list[bytes]
SSIM_SIGMA_PX = 1.5
SSIM_C1, SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True, slots=True)
class Codec:
    """A way to keep the frames of a clip.

    Attributes:
        name: What the table calls it.
        encode: From frames [T, H, W, 3], RGB, to what is stored.
        decode: From what is stored into frames of the same shape.
    """

    name: str
    encode: Callable[[Bytes], Packets]
    decode: Callable[[Packets, Bytes], None]


def jpeg(quality: int) -> Codec:
    """FAL's own: each frame as JPEG, colours at half the size."""
    return Codec(f"JPEG {quality}", lambda frames: [pixels.encode_jpeg(f, quality) for f in frames], _decode_jpegs)


def full_colour_jpeg(quality: int) -> Codec:
    """JPEG with colours at the full size."""
    options = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    return _pictures(f"JPEG {quality} 4:4:4", ".jpg", (cv2.IMWRITE_JPEG_QUALITY, quality, *options))


def fitted_jpeg(quality: int) -> Codec:
    """JPEG with Huffman tables made for each picture."""
    options = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1)
    return _pictures(f"JPEG {quality} fitted tables", ".jpg", options)


def webp(quality: int) -> Codec:
    """Each frame as WebP."""
    return _pictures(f"WebP {quality}", ".webp", (cv2.IMWRITE_WEBP_QUALITY, quality))


def avif(quality: int) -> Codec:
    """Each frame as AVIF, the encoder at its second-fastest."""
    return _pictures(f"AVIF {quality}", ".avif", (cv2.IMWRITE_AVIF_QUALITY, quality, cv2.IMWRITE_AVIF_SPEED, 9))


def raw() -> Codec:
    """The pixels as they are."""

    def decode(packets: Packets, out_THWC: Bytes) -> None:
        out_THWC[:] = np.frombuffer(packets[0], np.uint8).reshape(out_THWC.shape)

    return Codec("raw", lambda frames: [frames.tobytes()], decode)


def raw_zstd() -> Codec:
    """The pixels as they are, each the difference to its left neighbour, compressed by zstd."""
    zstd = pa.Codec("zstd", compression_level=3)

    def encode(frames_THWC: Bytes) -> Packets:
        return [zstd.compress(np.diff(frames_THWC, axis=2, prepend=np.uint8(0)).tobytes(), asbytes=True)]

    def decode(packets: Packets, out_THWC: Bytes) -> None:
        steps = np.frombuffer(zstd.decompress(packets[0], out_THWC.nbytes), np.uint8).reshape(out_THWC.shape)
        np.cumsum(steps, axis=2, dtype=np.uint8, out=out_THWC)

    return Codec("differences + zstd", encode, decode)


def h264(crf: int) -> Codec:
    """The frames as a video of their own, one keyframe and what follows from it."""

    def encode(frames_THWC: Bytes) -> Packets:
        sink = io.BytesIO()
        with av.open(sink, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=Fraction(1), options={"crf": str(crf), "preset": "veryfast"})
            stream.height, stream.width, stream.pix_fmt = *frames_THWC.shape[1:3], "yuv420p"
            stream.codec_context.thread_count = 1
            for frame_HWC in frames_THWC:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
            container.mux(stream.encode(None))
        return [sink.getvalue()]

    def decode(packets: Packets, out_THWC: Bytes) -> None:
        with av.open(io.BytesIO(packets[0]), "r") as container:
            container.streams.video[0].codec_context.thread_count = 1
            for out_HWC, frame in zip(out_THWC, container.decode(video=0), strict=True):
                out_HWC[:] = frame.to_ndarray(format="rgb24")

    return Codec(f"H.264 crf {crf}", encode, decode)


def _pictures(name: str, suffix: str, options: Sequence[int]) -> Codec:
    def encode(frames_THWC: Bytes) -> Packets:
        bgr = (cv2.cvtColor(f, cv2.COLOR_RGB2BGR) for f in frames_THWC)
        return [bytes(cv2.imencode(suffix, f, [*options])[1]) for f in bgr]

    return Codec(name, encode, _decode_jpegs)


def _decode_jpegs(packets: Packets, out_THWC: Bytes) -> None:
    for data, out_HWC in zip(packets, out_THWC, strict=True):
        out_HWC[:] = pixels.decode_jpeg(data)  # by its content: reads WebP and AVIF too


def psnr_db(truth: Bytes, seen: Bytes) -> float:
    """Return the ratio of full brightness to the mean error, decibels; 100 where there is none."""
    error = float(np.mean((truth.astype(np.float32) - seen) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error > 255**2 / 1e10 else 100.0


def ssim(truth_HWC: Bytes, seen_HWC: Bytes) -> float:
    """Return the structural similarity of two RGB pictures' luma, 1 where they are the same."""
    x, y = (pixels.gray(p).astype(np.float32) for p in (truth_HWC, seen_HWC))

    def mean(field: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(field, (11, 11), SSIM_SIGMA_PX), np.float32)

    mean_x, mean_y = mean(x), mean(y)
    spread_x, spread_y, common = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2, mean(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + SSIM_C1) * (2 * common + SSIM_C2)
    return float(np.mean(likeness / ((mean_x**2 + mean_y**2 + SSIM_C1) * (spread_x + spread_y + SSIM_C2))))
