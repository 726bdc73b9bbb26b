"""Rows and tables of ``bench/model.py``."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table; None is what was not or could not be measured.

    Attributes:
        what: Model or part.
        way: Eager or compiled; in training also whether activations are computed anew.
        dtype: By name.
        batch: Clips per call.
        clips_per_s: By the median call.
        spread: Range of the call's times over their median.
        gflop: Floating-point operations of one clip.
        share: Share of the measured matmul rate.
        peak_gb: Most memory, weights included.
        processor_s: Seconds of all processors per clip; on a CPU that others use it says more than the wall.
        is_training: Whether a call is a training step.
        note: Why there are no figures.
    """

    what: str
    way: str
    dtype: str
    batch: int
    clips_per_s: float | None = None
    spread: float | None = None
    gflop: float | None = None
    share: float | None = None
    peak_gb: float | None = None
    processor_s: float | None = None
    is_training: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class PartRow:
    """A part of our model, eager: its time (on a CPU, of the processors), and how that compares with its operations."""

    part: str
    dtype: str
    batch: int
    gflop: float
    ms_per_clip: float
    share_of_time: float
    share: float


HEADS = ("batch", "clips/s", "± range", "GFLOP per clip", "share of matmul rate", "processor s per clip", "most GB")


def headline(device: torch.device) -> str:
    """Say what was measured on, in one line."""
    if device.type == "cuda":
        chip = torch.cuda.get_device_name(device)
    else:
        found = re.search(r"^model name\s*: (.+)$", _cpu_facts(), re.MULTILINE)
        busy = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
        name = found[1] if found else platform.processor()
        chip = f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, load average at the end {busy}"
    return f"{platform.machine()}, {chip}, Python {platform.python_version()}, torch {torch.__version__}."


def _cpu_facts() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def inference_table(rows: Sequence[Row], ours: str) -> str:
    """Make the table of forward passes; the last columns are how many times as fast ours is as the row's."""
    if not rows:
        return ""
    lines = _heading("inference", "way", "type", *HEADS, f"`{ours}` is faster by", "by processor time")
    mine = {(r.way, r.dtype, r.batch): r for r in rows if r.what == ours}
    for row in rows:
        lines.append(
            _line(row.what, row.way, row.dtype, *_figures(row), *_times(row, mine.get((row.way, row.dtype, row.batch))))
        )
    return "\n".join(lines)


def training_table(rows: Sequence[Row]) -> str:
    """Make the table of training steps."""
    if not rows:
        return ""
    lines = _heading("training step", "way", "type", *HEADS)
    lines += [_line(row.what, row.way, row.dtype, *_figures(row)) for row in rows]
    return "\n".join(lines)


def part_table(rows: Sequence[PartRow]) -> str:
    """Make the table of parts."""
    if not rows:
        return ""
    heads = ("type", "batch", "GFLOP per clip", "ms per clip", "share of time", "share of GFLOP")
    lines = _heading("part, eager", *heads, "share of matmul rate")
    wholes = {(r.dtype, r.batch): r.gflop for r in rows if r.part == "total"}
    for r in rows:
        of_gflop = r.gflop / wholes[r.dtype, r.batch]
        cells = (f"{r.gflop:.1f}", f"{r.ms_per_clip:.3g}", f"{r.share_of_time:.1%}", f"{of_gflop:.1%}")
        lines.append(_line(r.part, r.dtype, str(r.batch), *cells, f"{r.share:.0%}" if r.gflop else "–"))
    return "\n".join(lines)


def _times(row: Row, mine: Row | None) -> tuple[str, str]:
    """Say how many times as fast ours is, by the wall and by processor time."""
    if (
        mine is None
        or mine is row
        or not (mine.clips_per_s and row.clips_per_s and mine.processor_s and row.processor_s)
    ):
        return "–", "–"
    return f"{mine.clips_per_s / row.clips_per_s:.2f} ×", f"{row.processor_s / mine.processor_s:.2f} ×"


def _figures(row: Row) -> list[str]:
    if row.clips_per_s is None:
        return [str(row.batch), row.note, *"–––––"]
    return [
        str(row.batch),
        f"{row.clips_per_s:.4g}",
        f"{row.spread:.0%}",
        f"{row.gflop:.0f}" if row.gflop and row.gflop >= 10 else f"{row.gflop:.2f}",
        f"{row.share:.0%}",
        f"{row.processor_s:.3g}",
        "–" if row.peak_gb is None else f"{row.peak_gb:.2f}",
    ]


def _heading(*cells: str) -> list[str]:
    return [_line(*cells), "|---" * len(cells) + "|"]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
