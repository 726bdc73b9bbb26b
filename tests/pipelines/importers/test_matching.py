from __future__ import annotations

import pytest

from pipelines.importers.matching import is_video, without_suffix
from tests.helpers.importing import index

FILES = ("a/x.mp4", "b/x.mp4", "b/y.tar.webm", "c/Ünï.MP4", "notes.txt", "c/z", "q.mp4", "d/q.mp4")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a/x"], ["a/x.mp4"]),
        (["b/x.mp4"], ["b/x.mp4"]),
        (["b/x.avi"], ["b/x.mp4"]),
        (["x"], ["a/x.mp4", "b/x.mp4"]),
        (["nothing", "y.tar"], ["b/y.tar.webm"]),
        (["y"], []),
        (["/a/x.mp4"], ["a/x.mp4"]),
        (["notes"], []),
        (["z"], []),
        ([], []),
        ([""], []),
        (["q.mp4"], ["q.mp4"]),
    ],
)
def test_the_first_name_that_a_video_has_wins(names: list[str], found: list[str]) -> None:
    match = index(*FILES).find(names)
    assert [f.name for f in match.files] == found
    assert not match.is_respelled


def test_folders_tell_files_of_one_name_apart() -> None:
    assert [f.name for f in index(*FILES).find(["x"], ["B"]).files] == ["b/x.mp4"]
    spaced = index("making_tea/x.mp4", "making coffee/x.mp4")
    assert [f.name for f in spaced.find(["x"], ["making tea"]).files] == ["making_tea/x.mp4"]
    assert len(spaced.find(["x"], ["other"]).files) == 2


@pytest.mark.parametrize("name", ["ünï", "U\u0308nï.mp4", "C/ÜNÏ.mp4"])
def test_other_capitals_and_unicode_forms_are_the_last_resort(name: str) -> None:
    match = index(*FILES).find([name])
    assert [f.name for f in match.files] == ["c/Ünï.MP4"]
    assert match.is_respelled


def test_only_videos_are_listed() -> None:
    assert [f.name for f in index(*FILES).videos] == [n for n in FILES if n not in {"notes.txt", "c/z"}]
    assert not is_video("mp4")
    assert (without_suffix("a.b.mp4"), without_suffix("a.b"), without_suffix("c/mp4")) == ("a.b", "a.b", "c/mp4")
