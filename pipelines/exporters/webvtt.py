"""WebVTT: a file per video with a cue for each segment, for players and editors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

from fal_model.errors import printable
from pipelines.exporters.about import About, Write
from pipelines.exporters.per_video import files_in
from pipelines.exporters.video import Segment, Video

SUFFIX = ".vtt"
ARROW = "-->"
"""Ends a comment, wherever it stands."""
MAX_NOTE_CHARS = 2_000


@contextmanager
def writing(folder: str, about: About) -> Iterator[Write]:
    """Write a ``.vtt`` file for each video and ``index.jsonl``; one that failed has no cues and says why in a note."""
    with files_in(folder, SUFFIX) as put:
        yield lambda video: put(video, document(video, about))


def document(video: Video, about: About) -> str:
    """Return the file of one video: what holds of the whole of it in a note, then a cue per segment."""
    blocks = ["WEBVTT", "NOTE\n" + "\n".join(map(_note, _facts(video, about)))]
    blocks += [f"{number}\n{_cue(segment, about)}" for number, segment in enumerate(video.segments, start=1)]
    return "\n\n".join(blocks) + "\n"


def _facts(video: Video, about: About) -> list[str]:
    who = f"video: {video.video_id}"
    if video.failure is not None:
        return [who, f"not labelled: {video.failure.kind}: {video.failure.message}"]
    labels = ", ".join(f"{about.name(found.label)} {found.score:.0%}" for found in video.labels) or "none"
    sure = ["the model is not sure"] if video.is_abstained else []
    return [who, f"labels: {labels}", *sure, f"model: {about.model_id}"]


def _note(text: str) -> str:
    """Make one line of a comment, which a blank line or an arrow would end."""
    return printable(text, MAX_NOTE_CHARS).replace(ARROW, "-- >")


def _cue(segment: Segment, about: About) -> str:
    start_ms = max(0, round(segment.start_s * 1000))
    end_ms = max(start_ms + 1, round(segment.end_s * 1000))  # a cue without length is never shown
    text = f"{printable(about.name(segment.label))} {segment.score:.0%}"
    return f"{clock(start_ms)} {ARROW} {clock(end_ms)}\n{escape(text, quote=False)}"


def clock(time_ms: int) -> str:
    """Write a time as ``hh:mm:ss.ttt``; hours may have more digits."""
    seconds, milliseconds = divmod(time_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}"
