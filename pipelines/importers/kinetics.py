"""Kinetics-400, 600, 700, 700-2020: CSV.

Source: the CSV files that DeepMind published, whose README gives the columns ``label, youtube_id, time_start, time_end,
split`` and in Kinetics-400 ``is_cc``; test files may come without ``label``. Cut clips are named
``<youtube_id>_<start:06d>_<end:06d>.mp4`` in a folder named by the label, with spaces or underscores, by the download
script of activitynet/ActivityNet; others cut them to ``<youtube_id>.mp4``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.importers.annotations import (
    Entry,
    Kind,
    Parsed,
    RawSegment,
    TextFile,
    is_text,
    split_in,
)
from pipelines.importers.reading import csv_rows, number_in

COLUMNS = ("youtube_id", "time_start", "time_end")


def parse(files: Sequence[TextFile], *, is_untrimmed: bool = False) -> Parsed:
    """Read one or more CSV files.

    Args:
        files: The CSV files.
        is_untrimmed: Files named by the id alone are whole videos: the times are segments of them.

    Raises:
        FormatError: a file that is not such a CSV.
    """
    parsed = Parsed()
    for file in files:
        for place, cells in csv_rows(file, COLUMNS):
            _row(parsed, place, cells, split_in(file.name), is_untrimmed=is_untrimmed)
    return parsed


def _row(
    parsed: Parsed, place: str, cells: Mapping[str, str] | None, file_split: str | None, *, is_untrimmed: bool
) -> None:
    if cells is None:
        parsed.leave_out(place, Kind.BAD_ROW, "another number of cells than the first line")
        return
    video_id, label = cells["youtube_id"].strip(), cells.get("label")
    if not is_text(video_id):
        parsed.leave_out(place, Kind.BAD_ROW, "no youtube_id")
        return
    if label is not None and not is_text(label):
        parsed.leave_out(place, Kind.NO_LABEL, f"{video_id}: the label is empty")
        return
    segments = None
    if label is not None:
        unusable = None if is_untrimmed else Kind.TIMES_UNUSED
        segments = (RawSegment(label, cells["time_start"], cells["time_end"], place, unusable),)
    parsed.entries.append(
        Entry(
            place,
            names=(video_id,),
            cut_names=_cut_names(video_id, cells),
            labels=None if label is None else (label,),
            segments=segments,
            split=cells.get("split") or file_split,
            group=video_id,
            is_single_label=True,
        )
    )


def _cut_names(video_id: str, cells: Mapping[str, str]) -> tuple[str, ...]:
    start, end = number_in(cells["time_start"]), number_in(cells["time_end"])
    return () if start is None or end is None else (f"{video_id}_{int(start):06d}_{int(end):06d}",)
