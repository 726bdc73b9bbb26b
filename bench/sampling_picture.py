"""Draw how ``key_moments`` chooses frames: ``python bench/sampling_picture.py [--output docs/key-moments.svg]``.

Makes one video of ``bench/sampling_scenes.py``, chooses 8 frames of it as ``uniform`` and as ``key_moments``, and
writes one self-contained SVG: packet sizes, novelty, the frames of both, and what was decoded for them. Every number in
it is measured here.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.sampling_scenes import SIZE_PX, Scene, write_scene
from fal_model.spec import Sampling
from pipelines import pixels, sampling
from pipelines.clips import LOOK_SIZE_PX
from pipelines.frame_table import FrameTable
from pipelines.limits import DecodeLimits
from pipelines.novelty import WIDTH_S, Novelty
from pipelines.pictures import PictureReader

ROOT = Path(__file__).resolve().parents[1]

SCENE = Scene(seed=31, background="traffic", event="object crosses", encoder="x264, keyframe each 2 s")
"""Four discs wander about all the time; once a large one crosses, away from every centre."""
NUM_FRAMES = 8

WIDTH_PX, HEIGHT_PX = 1000, 566
LEFT_PX, STRATUM_PX = 174, 84
TOP_PX, AXIS_PX = 92, 526
PACKETS_PX, NOVELTY_PX = (96, 160), (182, 250)
UNIFORM_PX, KEY_MOMENTS_PX = 272, 402
THUMBNAIL_PX, STORED_PX, JPEG_QUALITY = 72, 96, 70
INK, SOFT, FAINT, BLUE, TEAL, AMBER = "#1f2933", "#5b6773", "#d5dbe1", "#1d5fd1", "#0f8a7e", "#d97706"
STYLE = f"""text{{font:12px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:{INK}}}
.h{{font-size:17px;font-weight:600}}.b{{font-size:13px;font-weight:600}}.s{{font-size:11px;fill:{SOFT}}}
.n{{font-size:30px;font-weight:600}}.m{{text-anchor:middle}}.e{{text-anchor:end}}.a{{fill:#b45309;font-weight:600}}"""


@dataclass(frozen=True, slots=True)
class Choice:
    """What one setting made of the scene: its candidates, the frames it took, how they look, and its cost."""

    strata: sampling.Strata
    frames: list[int]
    jpegs: list[bytes]
    num_decoded: int
    caught: list[bool]


def main(argv: list[str]) -> int:
    """Write the picture; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "key-moments.svg")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        path = write_scene(SCENE, Path(folder))
        table, uniform = _choose(path, Sampling.UNIFORM)
        _, key_moments = _choose(path, Sampling.KEY_MOMENTS)
    text = draw(table, uniform, key_moments)
    arguments.output.write_text(text, encoding="utf-8")
    print(f"{arguments.output}: {len(text) / 1000:.0f} kB; ", end="")
    print(f"uniform decoded {uniform.num_decoded}, key_moments {key_moments.num_decoded} of {len(table)} frames")
    return 0


def _choose(path: Path, setting: Sampling) -> tuple[FrameTable, Choice]:
    """Choose frames of the whole video as one clip, as ``bench/sampling.py`` does."""
    with path.open("rb") as file:
        reader = PictureReader(file, DecodeLimits())
        table = reader.table
        strata = sampling.plan_frames(table, Novelty(table), (0.0, table.duration_s), NUM_FRAMES, setting)
        pictures = reader.pictures(sorted(set(itertools.chain(*strata))), SIZE_PX)
        num_decoded = reader.video.num_decoded
        reader.close()
    looks = {frame: pixels.thumbnail(picture.rgb_HWC, LOOK_SIZE_PX) for frame, picture in pictures.items()}
    frames = sampling.settle(strata, looks, table.times_s)
    small = [pixels.resize(pictures[frame].rgb_HWC, STORED_PX, STORED_PX) for frame in frames]
    start_s, end_s = SCENE.event_s
    caught = [bool(start_s - 1e-3 <= table.times_s[frame] < end_s - 1e-3) for frame in frames]
    return table, Choice(strata, frames, [pixels.encode_jpeg(s, JPEG_QUALITY) for s in small], num_decoded, caught)


class _TimeAxis:
    """Where seconds lie on the picture."""

    def __init__(self, duration_s: float) -> None:
        self.duration_s = duration_s

    def x(self, time_s: float) -> float:
        return LEFT_PX + time_s / self.duration_s * NUM_FRAMES * STRATUM_PX


def draw(table: FrameTable, uniform: Choice, key_moments: Choice) -> str:
    """Return the picture as SVG."""
    axis = _TimeAxis(table.duration_s)
    length_s = SCENE.event_s[1] - SCENE.event_s[0]
    title = f"Something happens for {length_s:.2f} s in {table.duration_s:.0f} s of video"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {HEIGHT_PX}" role="img">',
        f"<title>{title}: frames taken by uniform and by key_moments</title><style>{STYLE}</style>",
        f'<rect x="1" y="1" width="{WIDTH_PX - 2}" height="{HEIGHT_PX - 2}" rx="10" fill="#fff" stroke="{FAINT}"/>',
        _text(24, 32, title, "h"),
        _text(
            24,
            51,
            f"a made video of {len(table)} frames, cut into {NUM_FRAMES} strata; each gives one frame to the clip",
            "s",
        ),
        *_strata(),
        *_event(axis),
        *_packets(axis, table),
        *_novelty(axis, table, key_moments),
        *_row(axis, table, uniform, UNIFORM_PX, SOFT),
        *_row(axis, table, key_moments, KEY_MOMENTS_PX, BLUE),
        *_labels(),
        *_costs(uniform, key_moments),
        *_seconds(axis),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _strata() -> Iterable[str]:
    for k in range(NUM_FRAMES):
        x = LEFT_PX + k * STRATUM_PX
        fill = "#f3f5f8" if k % 2 == 0 else "#fafbfc"
        yield f'<rect x="{x}" y="{TOP_PX}" width="{STRATUM_PX}" height="{AXIS_PX - TOP_PX}" fill="{fill}"/>'
        yield _text(x + STRATUM_PX / 2, TOP_PX - 6, str(k + 1), "s m")


def _event(axis: _TimeAxis) -> Iterable[str]:
    start, end = (axis.x(time_s) for time_s in SCENE.event_s)
    yield (
        f'<rect x="{start:.1f}" y="{TOP_PX - 20}" width="{end - start:.1f}" height="{AXIS_PX - TOP_PX + 20}" '
        f'fill="#f59e0b" fill-opacity=".28"/>'
    )
    yield _text((start + end) / 2, TOP_PX - 25, "the event: a disc crosses", "a m")


def _packets(axis: _TimeAxis, table: FrameTable) -> Iterable[str]:
    top, base = PACKETS_PX[0] + 6, PACKETS_PX[1]
    heights = np.sqrt(table.sizes_bytes / table.sizes_bytes.max()) * (base - top)
    for is_key, colour, width in ((False, "#8a96a3", 0.9), (True, TEAL, 2.0)):
        chosen = np.flatnonzero(table.is_key == is_key)
        path = "".join(f"M{axis.x(table.times_s[i]):.1f} {base}v-{max(0.6, heights[i]):.1f}" for i in chosen)
        yield f'<path d="{path}" stroke="{colour}" stroke-width="{width}" fill="none"/>'
    for i in np.flatnonzero(table.is_key):
        yield f'<circle cx="{axis.x(table.times_s[i]):.1f}" cy="{base - heights[i]:.1f}" r="2.6" fill="{TEAL}"/>'


def _novelty(axis: _TimeAxis, table: FrameTable, key_moments: Choice) -> Iterable[str]:
    """Draw the score of the stretch around each moment, and the stretches that are looked at."""
    novelty = Novelty(table)
    bursts = [novelty.burst(i, i + 1) for i in range(len(table))]
    scores = np.array([burst.score if burst is not None else 0.0 for burst in bursts])
    top, base = NOVELTY_PX
    heights = np.maximum(scores, 0.0) / scores.max() * (base - top - 4)
    middles_s = np.minimum(table.times_s + WIDTH_S / 2, table.duration_s)
    points = " ".join(f"{axis.x(m):.1f},{base - h:.1f}" for m, h in zip(middles_s, heights, strict=True))
    area = f"{LEFT_PX},{base} {points} {axis.x(axis.duration_s):.1f},{base}"
    yield f'<polygon points="{area}" fill="{BLUE}" fill-opacity=".16"/>'
    yield f'<polyline points="{points}" fill="none" stroke="{BLUE}" stroke-width="1.3"/>'
    edges = np.searchsorted(table.times_s, np.linspace(0, table.duration_s, NUM_FRAMES + 1))
    for candidates, (start, stop) in zip(key_moments.strata, itertools.pairwise(edges.tolist()), strict=True):
        burst = novelty.burst(start, stop)
        if len(candidates) > 1 and burst is not None:
            left, right = axis.x(table.times_s[candidates[0]]), axis.x(table.times_s[candidates[-1]])
            yield f'<path d="M{left:.1f} {base + 3}v5H{right:.1f}v-5" fill="none" stroke="{BLUE}" stroke-width="1.4"/>'
            yield _text(right + 5, base + 11, f"looked at: {burst.score:.1f}", "s")


def _row(axis: _TimeAxis, table: FrameTable, choice: Choice, y: int, colour: str) -> Iterable[str]:
    """Draw what is decoded as a strip, candidates and taken frames on it, and the taken frames below."""
    yield f'<rect x="{LEFT_PX}" y="{y}" width="{NUM_FRAMES * STRATUM_PX}" height="12" rx="2" fill="#e4e8ec"/>'
    shown = np.argsort(table.packet_index, kind="stable")
    for run in table.runs(itertools.chain(*choice.strata)):
        times_s = table.times_s[shown[run.start : run.last + 1]]
        left, right = axis.x(times_s.min()), axis.x(times_s.max())
        yield (
            f'<rect x="{left - 1:.1f}" y="{y}" width="{right - left + 2:.1f}" height="12" fill="{colour}" '
            f'fill-opacity=".38"/>'
        )
    candidates = itertools.chain(*(several for several in choice.strata if len(several) > 1))
    path = "".join(f"M{axis.x(table.times_s[frame]):.1f} {y + 6}v6" for frame in candidates)
    yield f'<path d="{path}" stroke="{colour}" stroke-width="1"/>'
    taken = zip(choice.frames, choice.jpegs, choice.caught, strict=True)
    for k, (frame, jpeg, is_caught) in enumerate(taken):
        look = (AMBER, 3.0) if is_caught else (colour, 1.0)
        yield from _thumbnail(axis.x(table.times_s[frame]), k, y, jpeg, *look)


def _thumbnail(x: float, k: int, y: int, jpeg: bytes, colour: str, width: float) -> Iterable[str]:
    left, top = LEFT_PX + k * STRATUM_PX + (STRATUM_PX - THUMBNAIL_PX) / 2, y + 30
    yield (
        f'<path d="M{x:.1f} {y - 3}v18L{left + THUMBNAIL_PX / 2} {top}" fill="none" stroke="{colour}" '
        f'stroke-width="{max(1.6, width * 0.8):.1f}"/>'
    )
    box = f'x="{left}" y="{top}" width="{THUMBNAIL_PX}" height="{THUMBNAIL_PX}"'
    data = base64.b64encode(jpeg).decode("ascii")
    yield f'<image {box} href="data:image/jpeg;base64,{data}"/>'
    yield f'<rect {box} fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _labels() -> Iterable[str]:
    yield from _label(PACKETS_PX[0] + 16, "packet sizes", ["known before anything is", "decoded (square roots)"])
    yield f'<circle cx="28" cy="{PACKETS_PX[0] + 57}" r="2.6" fill="{TEAL}"/>'
    yield _text(36, PACKETS_PX[0] + 61, "keyframe", "s")
    yield from _label(NOVELTY_PX[0] + 16, "novelty", ["bytes of a burst against", "what is usual around it"])
    yield from _label(
        UNIFORM_PX + 10, "uniform", ["the middle of each", "stratum; darker: what", "is decoded to see it"]
    )
    yield from _label(
        KEY_MOMENTS_PX + 10,
        "key_moments",
        ["the cheapest frames; of", "the two most novel", "bursts (fine marks) the", "picture least like others"],
    )


def _label(y: float, name: str, lines: Sequence[str]) -> Iterable[str]:
    yield _text(24, y, name, "b")
    for number, line in enumerate(lines):
        yield _text(24, y + 16 + 14 * number, line, "s")


def _costs(uniform: Choice, key_moments: Choice) -> Iterable[str]:
    x = LEFT_PX + NUM_FRAMES * STRATUM_PX + 14
    room = WIDTH_PX - 24 - x
    for choice, y, colour in ((uniform, UNIFORM_PX, SOFT), (key_moments, KEY_MOMENTS_PX, BLUE)):
        yield f'<text x="{x}" y="{y + 46}" class="n" style="fill:{colour}">{choice.num_decoded}</text>'
        yield _text(x, y + 64, "frames decoded", "s")
        yield f'<rect x="{x}" y="{y + 72}" width="{room}" height="6" rx="3" fill="#e4e8ec"/>'
        width = room * choice.num_decoded / max(uniform.num_decoded, key_moments.num_decoded)
        yield f'<rect x="{x}" y="{y + 72}" width="{width:.1f}" height="6" rx="3" fill="{colour}"/>'
        yield _text(
            x, y + 98, "event caught" if any(choice.caught) else "event missed", "a" if any(choice.caught) else ""
        )


def _seconds(axis: _TimeAxis) -> Iterable[str]:
    for second in range(0, int(axis.duration_s) + 1, 4):
        yield f'<path d="M{axis.x(second):.1f} {AXIS_PX}v5" stroke="{SOFT}"/>'
        yield _text(axis.x(second), AXIS_PX + 18, f"{second} s", "s m")


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{text}</text>'


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
