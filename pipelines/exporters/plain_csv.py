"""CSV: one table of videos, one of labels, one of segments, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO

from fal_model.taxonomy import BETWEEN_IDS
from pipelines import storage
from pipelines.exporters.about import About, Write
from pipelines.exporters.video import Video

COLUMNS = {
    "videos.csv": (
        *("video_id", "uri", "status", "split", "duration_s", "top_label", "top_path", "top_score", "is_abstained"),
        *("num_labels", "num_segments", "coverage", "sha256", "failure_stage", "failure_kind", "failure_message"),
    ),
    "labels.csv": ("video_id", "uri", "duration_s", "label", "name", "path", "level", "score", "is_abstained"),
    "segments.csv": ("video_id", "uri", "duration_s", "label", "name", "start_s", "end_s", "score"),
}
RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the beginning of a formula; some take the wide forms too."""
Cell = str | float | bool | None


@contextmanager
def writing(folder: str, about: About) -> Iterator[Write]:
    """Write ``videos.csv``, ``labels.csv`` and ``segments.csv``; a video that failed is in the first one."""
    with ExitStack() as opened:
        files = {name: opened.enter_context(storage.writing(storage.join(folder, name))) for name in COLUMNS}
        for name, columns in COLUMNS.items():
            _add(files[name], columns, is_safe=False)
        yield lambda video: _write(files, video, about)


def _write(files: dict[str, BinaryIO], video: Video, about: About) -> None:
    is_safe = about.config.is_spreadsheet_safe
    _add(files["videos.csv"], _video_row(video), is_safe=is_safe)
    about_video = (video.video_id, video.uri, video.duration_s)
    for x in video.labels:
        what = (x.label, about.name(x.label), BETWEEN_IDS.join(x.path), x.level, x.score, video.is_abstained)
        _add(files["labels.csv"], (*about_video, *what), is_safe=is_safe)
    for s in video.segments:
        when = (s.label, about.name(s.label), s.start_s, s.end_s, s.score)
        _add(files["segments.csv"], (*about_video, *when), is_safe=is_safe)


def _video_row(video: Video) -> Sequence[Cell]:
    who, failure = (video.video_id, video.uri), video.failure
    if failure is not None:
        return (*who, "failed", video.split, *[None] * 9, failure.stage, failure.kind, failure.message)
    top = (video.top_label, BETWEEN_IDS.join(video.top_path), video.top_score, video.is_abstained)
    found = (len(video.labels), len(video.segments), video.coverage, video.sha256)
    return (*who, "labelled", video.split, video.duration_s, *top, *found, None, None, None)


def _add(file: BinaryIO, cells: Sequence[Cell], *, is_safe: bool) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")  # a cell is quoted if it holds any of these
    writer.writerow([_cell(cell, is_safe=is_safe) for cell in cells])
    file.write(text.getvalue().encode())


def _cell(value: Cell, *, is_safe: bool) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if is_safe and isinstance(value, str) and value.startswith(RISKY):
        return "'" + value
    return value
