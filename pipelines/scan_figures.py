"""What the report of a scan shows of the videos as a whole: distributions, tallies, warnings. Columns, not rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import page, parts, scan_job, storage, tables

NUM_BINS = 28
MAX_TALLY = 12
MAX_EXAMPLES = 5
STEPS = (1, 2, 5)
ROUND_TIMES_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10_800)
MAX_MARKS = 8
COLUMNS = [
    *("video_id", "num_bytes", "container", "codec", "width_px", "height_px", "rotation_deg", "bit_depth", "is_hdr"),
    *("duration_s", "mean_fps", "is_variable_rate", "bit_rate_bps", "has_audio", "keyframe_gap_s", "warnings"),
]
Floats = npt.NDArray[np.float64]

WARNINGS = {
    "duration_differs": "the manifest gives another length than the file has",
    "segment_after_end": "a segment of the manifest ends after the video",
    "shows_nothing": "every picture looked at is black, fog or a single colour",
    "damaged": "parts of pictures are made up by the decoder",
    "frames_missing": "fewer frames came out of the decoder than the container lists",
    "hole": "more than five seconds without a frame",
    "short": "less than a second",
    "tiny": "less than 32 pixels high or wide",
    "few_keyframes": "more than 30 seconds from keyframe to keyframe: slow to sample",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Videos by the size of something, in bins that grow by a factor; ``marks`` are places of round numbers."""

    title: str
    caption: str
    counts: list[int]
    titles: list[str]
    marks: dict[float, str]
    median: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Videos by a word: the most frequent ones, and how many have another."""

    title: str
    counts: list[tuple[str, int]]
    num_others: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Videos with one kind of oddity."""

    kind: str
    why: str
    count: int
    examples: list[str]


@dataclass(slots=True, kw_only=True)
class Figures:
    """Everything the report shows of the usable videos as a whole."""

    total_s: float = 0.0
    total_bytes: int = 0
    distributions: list[Distribution] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)


def read_figures(output: str) -> Figures:
    """Read the facts of all usable videos.

    Raises:
        OutputError: a table cannot be read.
    """
    table = tables.read_folder(storage.join(output, "videos"), COLUMNS)
    if table is None or table.num_rows == 0:
        return Figures()
    return Figures(
        total_s=float(pc.sum(table["duration_s"]).as_py()),
        total_bytes=int(pc.sum(table["num_bytes"]).as_py()),
        distributions=[
            distribution("Duration", "seconds", table["duration_s"].to_numpy(), _seconds, round_times),
            distribution("File size", "bytes", table["num_bytes"].to_numpy(), lambda v: page.amount(v, "B")),
            distribution("Frame rate", "frames per second", table["mean_fps"].to_numpy(), lambda v: f"{v:.3g}"),
            distribution(
                "Bit rate", "bits per second", table["bit_rate_bps"].to_numpy(), lambda v: page.amount(v, "b/s")
            ),
        ],
        tallies=[
            tally("Codec", table["codec"].to_pylist()),
            tally("Container", (name.partition(",")[0] for name in table["container"].to_pylist())),
            tally("Size", (f"{w} × {h}" for w, h in zip(*_lists(table, "width_px", "height_px"), strict=True))),
            _kinds(table),
        ],
        warnings=_warned(table),
    )


def _seconds(value_s: float) -> str:
    if value_s < page.MINUTE_S:
        return f"{value_s:.3g} s"
    if value_s < page.HOUR_S:
        return f"{value_s / page.MINUTE_S:.3g} min"
    return f"{value_s / page.HOUR_S:.3g} h"


def distribution(
    title: str,
    caption: str,
    values: Floats,
    text: Callable[[float], str],
    marks_of: Callable[[float, float], list[float]] | None = None,
) -> Distribution:
    """Count values in bins that grow by a factor; all of one value make one bin.

    Args:
        title: Headline.
        caption: What the values are.
        values: At least one, > 0.
        text: How a value is written.
        marks_of: Chooses the numbers below the axis, out of a range; round ones where None.
    """
    low, high = float(values.min()), float(values.max())
    edges = np.geomspace(low, high, NUM_BINS + 1) if high > low else np.array([low, low])
    inside = np.searchsorted(edges[1:-1], values, side="right")
    counts = np.bincount(inside, minlength=len(edges) - 1)
    growth = np.log(high / low) / (len(edges) - 1) if high > low else 1.0
    marks = {float(np.log(value / low) / growth): text(value) for value in (marks_of or round_numbers)(low, high)}
    return Distribution(
        title=title,
        caption=caption,
        counts=counts.tolist(),
        titles=[
            f"{text(a)} – {text(b)}: {n:,}" for a, b, n in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
        ],
        marks=marks if high > low else {0.5: text(low)},
        median=text(float(np.median(values))),
    )


def round_times(low_s: float, high_s: float) -> list[float]:
    """Choose round numbers of seconds, minutes or hours in a range, not too many."""
    found = [time_s for time_s in ROUND_TIMES_S if low_s <= time_s <= high_s]
    return found if len(found) <= MAX_MARKS else found[::2]


def round_numbers(low: float, high: float) -> list[float]:
    """Choose numbers 1, 2, 5 times a power of ten in a range, not too many."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for steps in (STEPS, (1, 3), (1,)):
        found = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(found) <= MAX_MARKS:
            break
    return found[:: -(-len(found) // MAX_MARKS)] if found else []


def tally(title: str, words: Iterable[str]) -> Tally:
    """Count words, the most frequent first."""
    counts = sorted(Counter(words).items(), key=lambda pair: (-pair[1], pair[0]))
    shown = counts if len(counts) <= MAX_TALLY else counts[: MAX_TALLY - 1]
    return Tally(title=title, counts=shown, num_others=sum(n for _, n in counts[len(shown) :]))


def _kinds(table: pa.Table) -> Tally:
    kinds = {
        "sound": table["has_audio"],
        "variable rate": table["is_variable_rate"],
        "turned": pc.not_equal(table["rotation_deg"], 0),
        "over 8 bits": pc.greater(table["bit_depth"], 8),
        "HDR": table["is_hdr"],
    }
    return Tally(
        title="Kind", counts=[(name, pc.sum(flags).as_py() or 0) for name, flags in kinds.items()], num_others=0
    )


def _warned(table: pa.Table) -> list[Warned]:
    examples: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    odd = table.filter(pc.greater(pc.list_value_length(table["warnings"]), 0))
    for video_id, warnings in zip(*_lists(odd, "video_id", "warnings"), strict=True):
        counts.update(warnings)
        for kind in warnings:
            if counts[kind] <= MAX_EXAMPLES:
                examples.setdefault(kind, []).append(video_id)
    return [
        Warned(kind=kind, why=WARNINGS.get(kind, ""), count=count, examples=examples[kind])
        for kind, count in counts.most_common()
    ]


def _lists(table: pa.Table, *names: str) -> list[list[Any]]:
    return [table[name].to_pylist() for name in names]


def read_strips(output: str, video_ids: set[str], part_videos: int) -> dict[str, bytes]:
    """Read the pictures of some videos, out of the parts that hold them; videos without are left out."""
    wanted = pa.array(sorted(video_ids), pa.string())
    manifest = tables.read_table(parts.manifest_uri(output), ["video_id"])
    places = pc.drop_null(pc.index_in(wanted, value_set=manifest["video_id"].combine_chunks())).to_pylist()
    strips: dict[str, bytes] = {}
    for part in sorted({place // part_videos for place in places}):
        uri = scan_job.pictures_uri(output, part)
        if storage.exists(uri):
            table = tables.read_table(uri)
            found = table.filter(pc.is_in(table["video_id"], value_set=wanted))
            strips.update(zip(*_lists(found, "video_id", "strip_jpeg"), strict=True))
    return strips
