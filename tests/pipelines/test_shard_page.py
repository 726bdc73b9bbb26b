"""The page of shards says what they hold, and is safe to open whatever the videos are called."""

from __future__ import annotations

import base64
import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fal_model.flow_codec import encode_flow
from fal_model.taxonomy import Node, Taxonomy
from pipelines import pixels
from pipelines.shard_page import arrow, arrows, flow_colours, shown, write_page
from pipelines.shard_survey import NO_LABEL, Row, Survey
from pipelines.shard_writing import shard_row
from tests.helpers.model import SPEC, TREE, random_clip

ATTACK = "<script>alert(1)</script>\u202eevil\"'&.mp4"


class Page(HTMLParser):
    """What a browser would find."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


def row_of(video_id: str = "v.mp4", **changes: Any) -> Row:
    segments = [{"label": "tennis", "start_s": 2.0, "end_s": 2.6}]
    video = {"video_id": video_id, "labels": ["tennis"], "segments": segments}
    return shard_row(video, random_clip(1, index=1), 90) | changes


def surveys() -> list[Survey]:
    train = Survey(name="train", num_shards=2, num_videos=3, num_clips=6, num_timed=3, num_frames=24, num_flows=18)
    train.clips_s, train.file_bytes = 12.0, 600_000
    train.column_bytes.update({"frames_jpeg": 480_000, "flow_q": 119_000, "video_id": 500, "labels": 500})
    train.labels.update({"tennis": 4, "run": 1, NO_LABEL: 1})
    test = Survey(name="test", num_shards=1, num_videos=1, num_clips=1, num_frames=4, file_bytes=100_000)
    test.labels.update({"tennis": 1})
    return [train, test]


def written(folder: Path, rows: list[tuple[str, Row]], title: str = "a title", tree: Taxonomy = TREE) -> Page:
    uri = write_page(str(folder), title, surveys(), rows, SPEC, tree)
    assert uri == str(folder / "shards.html")
    return Page(Path(uri).read_text(encoding="utf-8"))


def test_the_page_says_what_is_there(tmp_path: Path) -> None:
    text = written(tmp_path, [("train", row_of())]).text
    for expected in (
        *("Shards of a title", "Clips 7 12.0 s of video", "Videos 4 1.75 clips each", "Stored 700 kB in 3 shards"),
        *("Per clip 100 kB", "Labels timed 43%", "Flow 64%", "frames_jpeg 68.6 kB 80.0%", "2 others 143 B 0.2%"),
        *("frames 4 of 32 × 32 px", "window 2 s at most", "flow grid 8 × 8", "train 2 3 6 600 kB 100 kB"),
        "Clips carry 2 classes; of the 3 leaves of the taxonomy, 2 have clips.",
        "Sport › Ball games › Tennis 4 1 Sport › Running 1 0 no label 1 0",
        "v.mp4 clip 1 · 2.00–4.00 s · train",
        "Sport › Ball games › Tennis 2.25 s",
    ):
        assert expected in text, expected
    of_frames = re.findall(r'<div class="labels(?: none)?">(.*?)</div>', (tmp_path / "shards.html").read_text("utf-8"))
    assert of_frames == ["Tennis", "–", "–", "–"]
    assert "No clip has this label." not in text
    assert "No clip has this label." in written(tmp_path, []).text


def test_the_frames_are_the_stored_ones(tmp_path: Path) -> None:
    row = row_of(flow_valid=[True, False, True, False])
    page = written(tmp_path, [("train", row)])
    embedded = [
        base64.b64decode(a.partition(",")[2]) for a in page.addresses if a.startswith("data:image/jpeg;base64,")
    ]
    assert [jpeg for jpeg in embedded if jpeg in row["frames_jpeg"]] == row["frames_jpeg"]
    assert len(embedded) == 1 + 4 + 2  # the wheel, the frames, the motion of two
    assert page.text.count("no flow here") == 2


def test_names_from_strangers_do_no_harm(tmp_path: Path) -> None:
    tree = Taxonomy([Node("tennis", ATTACK)])
    page = written(tmp_path, [(ATTACK, row_of(ATTACK))], ATTACK, tree)
    assert "script" not in page.tags
    assert "alert(1)" in page.text
    assert all(a.startswith(("data:image/jpeg;base64,", "#")) for a in page.addresses)
    text = html.unescape((tmp_path / "shards.html").read_text(encoding="utf-8"))
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in text
    assert " style=" not in text


def test_labels_that_the_tree_does_not_know_are_shown_as_they_are(tmp_path: Path) -> None:
    page = written(tmp_path, [("train", row_of(labels=["unknown", "run"], frame_labels=None))])
    assert "unknown Sport › Running" in page.text


# ---- motion -------------------------------------------------------------------------------------------------------


def test_still_is_white_and_directions_have_their_colours() -> None:
    flow = np.array([[[0, 0], [4, 0]], [[-4, 0], [400, 0]]], np.float32)
    colours = flow_colours(flow, 4.0)
    np.testing.assert_array_equal(colours[0, 0], [255, 255, 255])
    np.testing.assert_array_equal(colours[0, 1], [255, 64, 64])
    np.testing.assert_array_equal(colours[1, 0], [0, 191, 191])
    np.testing.assert_array_equal(colours[1, 1], colours[0, 1])  # no more than full
    half = flow_colours(flow / 2, 4.0)
    assert (half[0, 1] >= colours[0, 1]).all()
    assert half[0, 1, 1] > colours[0, 1, 1]


def test_arrows_lead_where_the_motion_leads() -> None:
    flow = np.zeros((14, 14, 2), np.float32)
    flow[:2, 4:6] = [3, 0]
    assert arrows(flow, 3.0) == arrow(5, 1, np.array([2.0, 0.0]))
    assert arrow(5, 1, np.array([2.0, 0.0])) == "M5.0 1.0L7.0 1.0l-0.7 -0.4M7.0 1.0l-0.7 0.4"
    assert arrow(5, 1, np.array([0.3, 0.4])) == ""
    assert arrows(np.zeros((8, 8, 2), np.float32), 1.0) == ""
    longest = arrow(0, 0, np.array([1000.0, 0.0]))
    assert longest.startswith("M0.0 0.0L14.0 0.0")


def test_the_camera_is_drawn_where_it_moves() -> None:
    flow = np.zeros((4, 8, 8, 2), np.float32)
    flow[..., 0] = 6.0
    camera = np.zeros((4, 2, 3), np.float32)
    camera[0, 0, 2] = 6.0
    row = row_of(flow_q=encode_flow(flow).tobytes(), flow_valid=[True] * 4, camera=camera.ravel().tolist())
    clip = shown("train", row, SPEC, TREE)
    assert clip.top_px_per_s == pytest.approx(6.0 / SPEC.flow_step_s, rel=0.01)
    assert [bool(frame.camera) for frame in clip.frames] == [True, False, False, False]
    assert clip.frames[0].camera.startswith("M4.0 4.0L5.")
    assert clip.frames[0].camera_text == "camera: content moves +90 right, +0 down, px/s"
    assert all(frame.arrows for frame in clip.frames)
    picture = base64.b64decode(clip.frames[1].flow.partition(",")[2])
    assert np.abs(pixels.decode_jpeg(picture).astype(int) - [255, 64, 64]).max() < 8
