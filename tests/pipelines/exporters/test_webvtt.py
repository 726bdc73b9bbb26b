"""WebVTT."""

from __future__ import annotations

import html
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.taxonomy import Node, Taxonomy
from pipelines.exporters import webvtt
from pipelines.exporters.video import Segment
from tests.helpers.exporting import ODD_IDS, about, failed, label, video, written

TIME = r"(\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3})"


def cues_of(document: str) -> list[tuple[float, float, str]]:
    """Read a file as players do: blocks between blank lines, those with an arrow in the first two lines are cues."""
    head, *blocks = re.split(r"\n\n+", document.strip("\n"))
    assert head == "WEBVTT"
    cues = []
    for block in blocks:
        lines = block.split("\n")
        if "-->" in block:
            times = re.fullmatch(f"{TIME} --> {TIME}", lines[1])
            assert times, block
            h, m, s, ms, *end = map(int, times.groups())
            start_s = h * 3600 + m * 60 + s + ms / 1000
            end_s = end[0] * 3600 + end[1] * 60 + end[2] + end[3] / 1000
            assert len(lines) == 3, block
            assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", lines[2])
            cues.append((start_s, end_s, html.unescape(lines[2])))
        else:
            assert lines[0] == "NOTE"
    return cues


def test_a_file_per_video(tmp_path: Path) -> None:
    found = video(segments=[Segment("run", 1.5, 3725.0625, 0.5), Segment("jump", 2.0, 4.0, 0.25)], is_abstained=True)
    files = written(webvtt.writing, tmp_path, [found, failed()])
    assert list(files) == ["a.mp4.vtt", "index.jsonl", "z.mp4.vtt"]
    assert files["a.mp4.vtt"] == (
        "WEBVTT\n\nNOTE\nvideo: a.mp4\nlabels: Sport 88%, Running 75%\nthe model is not sure\nmodel: m1\n\n"
        "1\n00:00:01.500 --> 01:02:05.062\nRunning 50%\n\n"
        "2\n00:00:02.000 --> 00:00:04.000\nJumping 25%\n"
    )
    assert files["z.mp4.vtt"] == "WEBVTT\n\nNOTE\nvideo: z.mp4\nnot labelled: corrupt: damaged\n"


def test_names_cannot_end_a_block_or_open_a_tag() -> None:
    names = ["a --> b", "x\n\n00:00:00.000 --> 00:00:01.000\nfake", "<i>&lt;", "\u202e \x00"]
    tree = Taxonomy([Node(f"n{i}", name) for i, name in enumerate(names)])
    segments = [Segment(f"n{i}", float(i), i + 1.0, 0.5) for i in range(len(names))]
    cues = cues_of(webvtt.document(video("a", label(), segments=segments), about(tree)))
    assert [cue[:2] for cue in cues] == [(i, i + 1) for i in range(len(names))]
    assert cues[0][2] == "a --> b 50%"
    assert cues[2][2] == "<i>&lt; 50%"
    for name in ODD_IDS:
        assert cues_of(webvtt.document(video(name), about())) == []
        assert cues_of(webvtt.document(failed(name, message=name), about())) == []


@settings(deadline=None, max_examples=60)
@given(st.floats(0, 2e6), st.floats(0, 100))
def test_a_cue_is_never_without_length_and_true_to_a_millisecond(start_s: float, length_s: float) -> None:
    segment = Segment("run", start_s, start_s + length_s, 0.5)
    ((first, last, _),) = cues_of(webvtt.document(video(segments=[segment]), about()))
    assert last > first
    assert abs(first - start_s) <= 0.00051
    assert abs(last - start_s - length_s) <= 0.0015
