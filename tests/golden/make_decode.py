"""Make the small videos of ``tests/golden/decode`` and write down what FFmpeg's own tools say of them.

Run it where ``ffmpeg`` (with x264, x265, libvpx, libaom and libtheora) and ``ffprobe`` are on the path, and look at
what changed; the tests need neither tool:

    python -m tests.golden.make_decode              # make the videos anew, and decode.json
    python -m tests.golden.make_decode --keep       # decode.json only
    python -m tests.golden.make_decode --odd FOLDER # decode_odd.json, for recordings that are not in the repository

For each file it notes the clock of the stream, the presentation time of every frame counted from the first one, as
runs of equal steps or as their hash (``ffprobe -show_frames``), and a few pictures (``ffmpeg``, turned upright), as the
means of 8 x 8 cells. Where the tools cannot say what is right, the table says why in ``exception``.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import itertools
import json
import re
import struct
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.golden.decode_kinds import CODECS, PICTURES
from tests.golden.decode_recipes import AVI_CLOCK, PARTS, STREAMS, TIMES, Recipe

HERE = Path(__file__).parent
RECIPES = (*TIMES, *STREAMS, *PICTURES, *CODECS)
CELLS = 8
MOST_RUNS = 40
MAX_BYTES = 20_000
BITEXACT = ("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-threads", "1")
NUM_PICTURES, NUM_ODD_PICTURES = 6, 3
HDR = {"smpte2084", "arib-std-b67"}

# Recordings whose frame times ffprobe does not know: its reason, and then their stated rate is expected.
ODD_CLOCKS = {
    "mmaction2__tests__data__test.avi": AVI_CLOCK,
    "mmaction2__tools__data__skeleton__S001C001P001R001A001_rgb.avi": AVI_CLOCK,
}

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


def drawing(number: int, width_px: int, height_px: int) -> Bytes:
    """Draw a frame: twelve cells, light or dark by its number, tinted so that up, left and colours can be told."""
    bits = (number + 1) * 2654435761 >> 14
    cells = np.array([(bits >> bit) & 1 for bit in range(12)], np.float64).reshape(3, 4, 1) * 130 + 60
    tint = np.stack(np.meshgrid(np.linspace(0, 60, 4), np.linspace(0, -50, 3)), axis=2)
    colours = np.concatenate([cells + tint[..., :1], cells, cells + tint[..., 1:]], axis=2)
    rows, columns = np.arange(height_px) * 3 // height_px, np.arange(width_px) * 4 // width_px
    picture: Bytes = np.clip(colours[rows][:, columns], 0, 255).astype(np.uint8)
    return picture


def run(command: list[str], given: bytes = b"") -> bytes:
    """Run a tool and return what it writes."""
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout


def make(recipe: Recipe, folder: Path, parts: Path) -> None:
    """Make one file."""
    path = folder / recipe.name
    if recipe.parts:
        path.write_bytes(b"".join((parts / part).read_bytes() for part in recipe.parts))
        return
    width_px, height_px = recipe.size_px
    raw = b"".join(drawing(number, width_px, height_px).tobytes() for number in range(recipe.count))
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width_px}x{height_px}", "-r", "25"]
    source += [*recipe.before, "-i", "-", *recipe.inputs]
    pix_fmt = ["-pix_fmt", recipe.pix_fmt] if recipe.pix_fmt else []
    command = ["ffmpeg", "-v", "error", "-y", *source, *pix_fmt, *recipe.args, *BITEXACT]
    if recipe.two_passes:
        log = ["-passlogfile", str(parts / recipe.name), "-pass"]
        run([*command, *log, "1", "-f", "null", "-"], raw)
        command += [*log, "2"]
    if recipe.pipe:
        kind = {".webm": "webm", ".mkv": "matroska", ".mp4": "mp4"}[path.suffix]
        path.write_bytes(run([*command, "-f", kind, "-"], raw))
    else:
        run([*command, str(path)], raw)
    for before, after in recipe.steps:
        again = path.with_name(f"again_{path.name}")
        run(["ffmpeg", "-v", "error", "-y", *before, "-i", str(path), *after, *BITEXACT, str(again)])
        again.replace(path)
    if recipe.matrix:
        path.write_bytes(with_matrix(path.read_bytes(), recipe.matrix))


def with_matrix(data: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """Put a display matrix into the track header of an MP4."""
    at = data.index(b"tkhd") + 4 + 40
    right_x, right_y, down_x, down_y = matrix
    return data[:at] + struct.pack(">9i", right_x, right_y, 0, down_x, down_y, 0, 0, 0, 1 << 30) + data[at + 36 :]


def probe(path: Path, *what: str) -> dict[str, Any]:
    """Ask ffprobe."""
    answer: dict[str, Any] = json.loads(run(["ffprobe", "-v", "error", "-of", "json", *what, str(path)]))
    return answer


def shown_stream(path: Path) -> dict[str, Any] | None:
    """Return the video stream that a player shows: the default one, or else the largest; no attached picture."""
    streams = probe(path, "-show_streams")["streams"]
    videos = [s for s in streams if s["codec_type"] == "video" and not s["disposition"]["attached_pic"]]
    return max(
        videos,
        key=lambda s: (s["disposition"]["default"], s.get("width", 0) * s.get("height", 0), -s["index"]),
        default=None,
    )


def standard_range(code: Floats, transfer: str) -> Floats:
    """Say what PQ or HLG codes are on an ordinary screen; the formula is explained in ``pipelines.tone``."""
    if transfer == "smpte2084":
        root = code ** (32 / 2523)
        light = 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (8192 / 1305)
    else:
        low, high = code * code / 3, (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12
        light = 1000 * np.where(code < 0.5, low, high) ** 1.2
    white = light / 203
    shown: Floats = np.where(white < 0.6, white, 1 - 0.4 * np.exp((0.6 - white) / 0.4)) ** (1 / 2.4)
    return shown


def cell_means(picture: Floats) -> Bytes:
    """Average a picture to 8 x 8 cells; a pixel on an edge counts in both by its share."""

    def shares(size_px: int) -> Floats:
        edges = np.arange(size_px + 1) * CELLS / size_px
        cells = np.arange(CELLS)[:, None]
        overlap: Floats = np.minimum(edges[None, 1:], cells + 1) - np.maximum(edges[None, :-1], cells)
        return overlap.clip(min=0)

    means = np.einsum("ay,bx,yxc->abc", shares(picture.shape[0]), shares(picture.shape[1]), picture)
    rounded: Bytes = np.rint(means * 255).astype(np.uint8)
    return rounded


def pictures(path: Path, stream: dict[str, Any], frames: list[int], *, decode_all: bool) -> dict[str, str]:
    """Return chosen frames as ffmpeg decodes them, upright, 8 x 8."""
    transfer = stream.get("color_transfer", "")
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", f"0:{stream['index']}"]
    if not decode_all:  # its counter starts over where the size of the picture changes
        command += ["-vf", "select=" + "+".join(f"eq(n\\,{frame})" for frame in frames)]
    flags = "area+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
    command += ["-sws_flags", flags, "-pix_fmt", "rgb48be" if transfer in HDR else "rgb24", "-vsync", "passthrough"]
    data = memoryview(run([*command, "-f", "image2pipe", "-c:v", "ppm", "-"]))
    means: list[Bytes] = []
    while len(data) > 0:
        header = re.match(rb"P6\n(\d+) (\d+)\n(255|65535)\n", bytes(data[:64]))
        if header is None:
            raise SystemExit(f"{path.name}: ffmpeg gave something else than pictures")
        width_px, height_px, top = (int(number) for number in header.groups())
        kind = np.dtype(">u2") if top > 255 else np.dtype(np.uint8)
        end = header.end() + width_px * height_px * 3 * kind.itemsize
        rgb = np.frombuffer(data[header.end() : end], kind).reshape(height_px, width_px, 3).astype(np.float64) / top
        means.append(cell_means(standard_range(rgb, transfer) if transfer in HDR else rgb))
        data = data[end:]
    chosen = {frame: means[frame if decode_all else place] for place, frame in enumerate(frames)}
    if not decode_all and len(means) != len(frames):
        raise SystemExit(f"{path.name}: ffmpeg gave {len(means)} pictures for {len(frames)} frames")
    return {str(frame): base64.b64encode(mean.tobytes()).decode() for frame, mean in chosen.items()}


def times_of(ticks: list[int]) -> dict[str, Any]:
    """Write times as steps, ``[step, how often]``, or where these are many, as the hash of the list of times."""
    pairs = [later - sooner for sooner, later in itertools.pairwise(ticks)]
    steps = [[step, len(list(group))] for step, group in itertools.groupby(pairs)]
    if len(steps) <= MOST_RUNS:
        return {"steps": steps}
    return {"sha256": hashlib.sha256(json.dumps([tick - ticks[0] for tick in ticks]).encode()).hexdigest()}


def expectation(path: Path, num_pictures: int, clock: str, *, decode_all: bool) -> dict[str, Any]:
    """Say what the tools say of a file."""
    stream = shown_stream(path)
    if stream is None:
        return {"error": "no_video_stream"}
    frames = probe(path, "-select_streams", str(stream["index"]), "-show_frames")["frames"]
    frames = [frame for frame in frames if frame.get("media_type") == "video"]
    ticks = [frame.get("pts", frame.get("best_effort_timestamp")) for frame in frames]
    found: dict[str, Any] = {"num_frames": len(frames), "time_base": stream["time_base"]}
    if clock:
        rate = Fraction(stream["r_frame_rate"])
        found |= {"exception": clock, "time_base": str(1 / rate)} | times_of(list(range(len(frames))))
    elif None in ticks:
        raise SystemExit(f"{path.name}: ffprobe gives no time for {ticks.count(None)} of {len(ticks)} frames")
    else:
        found |= times_of([int(tick) for tick in ticks])
    if stream.get("color_transfer") in HDR:
        found["transfer"] = stream["color_transfer"]
    chosen = sorted({round(i * (len(frames) - 1) / (num_pictures - 1)) for i in range(num_pictures)})
    return found | {"pictures": pictures(path, stream, chosen, decode_all=decode_all)}


def write(name: str, table: dict[str, Any]) -> None:
    """Write a table beside this script."""
    version = run(["ffmpeg", "-version"]).decode().split(" Copyright")[0]
    text = json.dumps({"made_by": f"{version}, by tests/golden/make_decode.py", "files": table}, indent=1)
    (HERE / name).write_text(text + "\n", encoding="utf-8")


def odd_table(folder: Path) -> dict[str, Any]:
    """Say what the tools say of every recording in a folder."""
    table: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        sys.stderr.write(f"{path.name}\n")
        clock = ODD_CLOCKS.get(path.name, "")
        table[path.name] = expectation(path, NUM_ODD_PICTURES, clock, decode_all=False)
    return table


def main() -> None:
    """Make the files and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="keep the videos, only ask the tools again")
    parser.add_argument("--odd", type=Path, help="write decode_odd.json for this folder, and nothing else")
    options = parser.parse_args()
    if options.odd:
        write("decode_odd.json", odd_table(options.odd))
        return
    folder = HERE / "decode"
    if not options.keep:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as parts:
            for recipe in (*PARTS, *RECIPES):
                make(recipe, Path(parts) if recipe in PARTS else folder, Path(parts))
    table = {}
    for recipe in RECIPES:
        size_bytes = (folder / recipe.name).stat().st_size
        if size_bytes > MAX_BYTES:
            raise SystemExit(f"{recipe.name}: {size_bytes} bytes, at most {MAX_BYTES} are to be kept in the repository")
        found = expectation(folder / recipe.name, NUM_PICTURES, recipe.clock, decode_all=True)
        table[recipe.name] = {"what": recipe.what, **found}
    write("decode.json", table)


if __name__ == "__main__":
    main()
