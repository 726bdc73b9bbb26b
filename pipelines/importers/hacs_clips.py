"""HACS Clips: CSV.

Source: ``HACS_clips_v1.1.csv`` of hangzhaomit/HACS-dataset: ``classname,youtube_id,subset,start,end,label``, one row
per clip of two seconds; ``label`` 1 shows the class, -1 does not. Subsets ``training``, ``validation``, ``testing``.
The videos are whole ones, named ``v_<youtube id>`` or ``<youtube id>``.

Rows with -1 say that a class is absent from two seconds of a video. A manifest has no place for that, so they are
left out, and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.importers.annotations import Entry, Kind, Parsed, RawSegment, TextFile, is_text
from pipelines.importers.reading import csv_rows

COLUMNS = ("classname", "youtube_id", "subset", "start", "end", "label")


def parse(files: Sequence[TextFile]) -> Parsed:
    """Read one or more CSV files.

    Raises:
        FormatError: a file that is not such a CSV.
    """
    parsed = Parsed()
    for file in files:
        for place, cells in csv_rows(file, COLUMNS):
            _row(parsed, place, cells)
    return parsed


def _row(parsed: Parsed, place: str, cells: Mapping[str, str] | None) -> None:
    if cells is None:
        parsed.leave_out(place, Kind.BAD_ROW, "another number of cells than the first line")
        return
    video_id, label, sign = cells["youtube_id"].strip(), cells["classname"], cells["label"].strip()
    if not is_text(video_id):
        parsed.leave_out(place, Kind.BAD_ROW, "no youtube_id")
    elif not is_text(label):
        parsed.leave_out(place, Kind.NO_LABEL, f"{video_id}: the classname is empty")
    elif sign == "-1":
        parsed.leave_out(place, Kind.NEGATIVE, f"{video_id}: {label} is absent here", (f"v_{video_id}", video_id))
    elif sign not in {"1", "+1"}:
        parsed.leave_out(place, Kind.BAD_ROW, f"{video_id}: label: got {sign!r}, must be 1 or -1")
    else:
        parsed.entries.append(
            Entry(
                place,
                names=(f"v_{video_id}", video_id),
                labels=(label,),
                segments=(RawSegment(label, cells["start"], cells["end"], place),),
                split=cells["subset"],
            )
        )
