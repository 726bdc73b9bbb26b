"""ActivityNet Captions: JSON of sentences with times.

Source: ``train.json``, ``val_1.json``, ``val_2.json`` of the set: ``{"v_<id>": {"duration": 82.73, "timestamps":
[[0.83, 19.86], …], "sentences": ["A young woman …", …]}}``; copies that join the three put ``{"train": …, "val_1": …}``
below each video. The two val files are two people's descriptions of the same videos.

Sentences are not classes, and none can be read off them without guessing. Nor does it help to take each described
stretch as a segment of one class: together they cover nearly all of a video. So the manifest gets the videos, their
split and their length, and no labels: something to be labelled. Whoever wants labels takes ActivityNet's own JSON, in
which the same videos have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.importers.annotations import Entry, FormatError, Kind, Parsed, TextFile, is_text, split_in
from pipelines.importers.reading import json_of


def parse(files: Sequence[TextFile]) -> Parsed:
    """Read one or more of the files.

    Raises:
        FormatError: a file that is not JSON, or has no videos with sentences.
    """
    parsed = Parsed()
    for file in files:
        data, repeated = json_of(file)
        if not isinstance(data, dict) or not any("sentences" in d for v in data.values() for _, d in _parts(v)):
            raise FormatError([f"{file.name}: no videos with 'timestamps' and 'sentences'"])
        for key in repeated:
            parsed.note(file.name, Kind.DUPLICATE_ROW, f"{key!r} is there twice in one object; the last one counts")
        for video_id, video in data.items():
            _video(parsed, f"{file.name}, {video_id}", video_id, video, split_in(file.name))
    return parsed


def _parts(video: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the descriptions of a video with the name of their part, empty where there are no parts."""
    if isinstance(video, dict) and ("sentences" in video or "timestamps" in video):
        yield "", video
    elif isinstance(video, dict):
        yield from ((str(part), d) for part, d in video.items() if isinstance(d, dict) and "sentences" in d)


def _video(parsed: Parsed, place: str, video_id: str, video: Any, file_split: str | None) -> None:
    parts = list(_parts(video))
    if not parts or not is_text(video_id):
        parsed.leave_out(place, Kind.BAD_ROW, f"expected timestamps and sentences, got {video!r}")
        return
    count = sum(len(s) for _, d in parts if isinstance(s := d.get("sentences"), list))
    parsed.note(place, Kind.NOT_A_CLASS, f"{count} sentences, which are not taken as labels")
    splits: list[str | None] = [split for part, _ in parts if (split := split_in(part))] or [file_split]
    parsed.entries.append(
        Entry(
            place,
            names=(video_id, video_id.removeprefix("v_")),
            split=splits[0],
            duration=parts[0][1].get("duration"),
        )
    )
