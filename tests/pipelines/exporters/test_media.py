"""How tools reach videos, and what files about them are called."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import ConfigError
from pipelines.exporters.media import file_name, media_address, media_path
from pipelines.exporters.settings import ExportConfig
from tests.helpers.exporting import ODD_IDS, video


def test_the_address_that_was_labelled_is_the_default() -> None:
    found = video("a b.mp4", uri="s3://bucket/a b.mp4")
    assert media_address(found, ExportConfig()) == media_path(found, ExportConfig()) == "s3://bucket/a b.mp4"
    local = video("é.mp4", uri="file:///videos/%C3%A9.mp4")
    assert media_path(local, ExportConfig()) == "/videos/é.mp4"


def test_a_prefix_takes_the_place_of_the_folder() -> None:
    found = video("x/a b#1.mp4", uri="/mnt/corpus/x/a b#1.mp4")
    local_files = ExportConfig(url_prefix="/data/local-files/?d=corpus/")
    assert media_address(found, local_files) == "/data/local-files/?d=corpus/x/a%20b%231.mp4"
    moved = ExportConfig(url_prefix="https://host/v/", media_root="/mnt/")
    assert media_address(found, moved) == "https://host/v/corpus/x/a%20b%231.mp4"
    assert media_path(found, ExportConfig(url_prefix="/here/", media_root="/mnt/corpus")) == "/here/x/a b#1.mp4"


def test_a_video_elsewhere_is_said() -> None:
    with pytest.raises(ConfigError) as raised:
        media_address(video("a"), ExportConfig(url_prefix="x", media_root="/mnt"))
    assert raised.value.problems == ["export.media_root: got '/mnt', but '/videos/a' does not lie below it"]


def test_file_names_are_plain() -> None:
    assert file_name("clip 1.mp4", set()) == "clip 1.mp4"
    assert file_name("a/b.mp4", set()) == "a%2Fb.mp4"
    assert file_name("../x", set()) == "%2E.%2Fx"
    assert file_name("x.", set()) == "x%2E"
    assert file_name("con.mp4", set()).endswith("-con.mp4")


def test_no_two_videos_share_a_file_on_any_system() -> None:
    taken: set[str] = set()
    made = [file_name(name, taken) for name in ("Clip.mp4", "clip.mp4", "CLIP.mp4")]
    assert made[0] == "Clip.mp4"
    assert len({name.casefold() for name in made}) == 3


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(ODD_IDS) | st.text(min_size=1, max_size=300), unique=True, max_size=8))
def test_any_ids_give_different_names_without_folders(ids: list[str]) -> None:
    taken: set[str] = set()
    names = [file_name(video_id, taken) for video_id in ids]
    assert len({name.casefold() for name in names}) == len(ids)
    for video_id, name in zip(ids, names, strict=True):
        assert name.isascii()
        assert name.isprintable()
        assert not set(name) & set('/\\:*?"<>|')
        assert name[0] != "."
        assert name[-1] not in ". "
        assert len(name) <= 200
        assert unquote(name) == video_id or "-" in name
