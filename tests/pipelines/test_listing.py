"""What is found, under which name, and what is passed over."""

from __future__ import annotations

import os
import shutil
import string
from pathlib import Path

import pytest
import s3fs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fal_model.errors import ConfigError
from pipelines import storage
from pipelines.listing import Listing, list_files

FILES = ("a.mp4", "b.mkv", "deep/a.mp4", "deep/er/c1.mp4", "deep/er/c2.mp4", "x/notes.txt")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name in (*FILES, ".hidden.mp4", "deep/.DS_Store", ".cache/inside.mp4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def names(listing: Listing) -> list[str]:
    return [file.name for file in listing.files]


def test_a_folder_is_listed_whole_and_sorted_and_hidden_files_are_counted(corpus: Path) -> None:
    listing = list_files(str(corpus))
    assert names(listing) == sorted(FILES)
    assert [file.uri for file in listing.files] == [str(corpus / name) for name in sorted(FILES)]
    assert listing.num_hidden == 2  # of .cache nobody looked inside


def test_what_a_job_left_in_a_folder_below_is_passed_over(corpus: Path) -> None:
    for name in (
        "deep/out/_fal/run.json",
        "deep/out/labels/part-0.parquet",
        "deep/out/report.html",
        "deep/outdoors.mp4",
    ):
        path = corpus / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert names(list_files(str(corpus))) == sorted([*FILES, "deep/outdoors.mp4"])
    assert "report.html" in names(list_files(str(corpus / "deep" / "out")))  # asked for, it is listed


def test_a_file_address_of_a_folder_is_the_folder(corpus: Path) -> None:
    assert list_files(corpus.as_uri()) == list_files(str(corpus))


def test_links_to_files_are_found_and_links_to_folders_are_not_followed(corpus: Path) -> None:
    (corpus / "link.mp4").symlink_to(corpus / "a.mp4")
    (corpus / "loop").symlink_to(corpus, target_is_directory=True)
    (corpus / "broken.mp4").symlink_to("nowhere")
    assert names(list_files(str(corpus))) == sorted([*FILES, "link.mp4", "broken.mp4"])


GLOBS = [
    ("*.mp4", ["a.mp4"]),
    ("?.m*", ["a.mp4", "b.mkv"]),
    ("**/*.mp4", ["a.mp4", "deep/a.mp4", "deep/er/c1.mp4", "deep/er/c2.mp4"]),
    ("deep/**/c[12].mp4", ["er/c1.mp4", "er/c2.mp4"]),
    ("*/er/c?.mp4", ["deep/er/c1.mp4", "deep/er/c2.mp4"]),
    ("deep/er/c[!1].mp4", ["c2.mp4"]),
]


@pytest.mark.parametrize(("glob", "expected"), GLOBS)
def test_a_glob_stays_within_folders_but_for_two_stars(corpus: Path, glob: str, expected: list[str]) -> None:
    listing = list_files(f"{corpus}/{glob}")
    assert names(listing) == expected
    assert listing.num_hidden == 0


def test_a_glob_may_be_relative(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus)
    assert [file.uri for file in list_files("*.mp4").files] == ["a.mp4"]


def test_a_glob_that_matches_nothing_is_refused(corpus: Path) -> None:
    with pytest.raises(ConfigError, match=r"input: nothing matches '.*/\*\.avi'"):
        list_files(f"{corpus}/*.avi")
    with pytest.raises(ConfigError, match=r"nothing matches '.*/none/\*'"):
        list_files(f"{corpus}/none/*")


def test_two_stars_within_a_name_are_refused(corpus: Path) -> None:
    with pytest.raises(ConfigError, match=r"input: '.*/a\*\*\.mp4' is not a glob: .*\*\*"):
        list_files(f"{corpus}/a**.mp4")


@pytest.mark.parametrize("place", ["nowhere", "a.mp4/below", ""])
def test_what_is_not_there_is_refused(corpus: Path, place: str) -> None:
    missing = str(corpus / "nowhere" / place)
    with pytest.raises(ConfigError, match=r"input: '.*nowhere.*' is neither a folder, a glob, a manifest nor an s3://"):
        list_files(missing)


def test_a_folder_whose_name_looks_like_a_glob_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "take [1]").mkdir()
    (tmp_path / "take [1]" / "a.mp4").write_bytes(b"x")
    assert names(list_files(str(tmp_path / "take [1]"))) == ["a.mp4"]


def test_a_name_that_is_not_utf8_is_listed_and_can_be_opened(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 #1?.mp4")
    (tmp_path / name).write_bytes(b"pixels")
    (file,) = list_files(str(tmp_path)).files
    assert file.name == "caf\\xe9 #1?.mp4"
    assert file.uri.startswith("file:///")
    assert (file.name + file.uri).encode("utf-8")
    with storage.open_video(file.uri, 100) as source:
        assert source.read() == b"pixels"
    assert list_files(f"{tmp_path}/*.mp4").files == [file]


def test_a_folder_that_cannot_be_read_is_refused(corpus: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every folder")
    (corpus / "deep").chmod(0)
    try:
        with pytest.raises(ConfigError, match=r"input: cannot list '.*/deep': Permission denied"):
            list_files(str(corpus))
    finally:
        (corpus / "deep").chmod(0o700)


def test_a_folder_too_deep_for_the_system_is_refused(tmp_path: Path) -> None:
    top = os.open(tmp_path, os.O_RDONLY)
    folder = top
    for _ in range(18):  # 18 names of 250 characters make a path longer than Linux takes
        os.mkdir("d" * 250, dir_fd=folder)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    try:
        with pytest.raises(ConfigError, match=r"input: cannot list '.*/d+/d+': File name too long"):
            list_files(str(tmp_path))
    finally:
        shutil.rmtree(tmp_path)


NAMES = st.text(string.ascii_letters + string.digits + " .é#%?[", min_size=1, max_size=8).filter(
    lambda name: name not in {".", ".."}
)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(NAMES, min_size=1, max_size=3), max_size=6))
def test_every_file_is_either_listed_once_or_hidden(
    tmp_path_factory: pytest.TempPathFactory, paths: list[list[str]]
) -> None:
    root = tmp_path_factory.mktemp("any")
    for parts in paths:
        path = root.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        except OSError:  # a name is both a file and a folder
            continue
    files = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    shown = {name for name in files if not any(part.startswith(".") for part in name.split("/"))}
    listing = list_files(str(root))
    assert names(listing) == sorted(shown)
    assert [storage.local_path(f.uri).relative_to(root).as_posix() for f in listing.files] == sorted(shown)


# ---- S3 -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3_corpus(bucket: str, s3_client: s3fs.S3FileSystem) -> str:
    for name in (*FILES, ".hidden.mp4", "deep/.DS_Store", ".cache/inside.mp4"):
        s3_client.pipe_file(f"{bucket}/videos/{name}", b"x")
    s3_client.pipe_file(f"{bucket}/videos-elsewhere/no.mp4", b"x")
    return f"{bucket}/videos"


def test_a_prefix_is_listed_like_a_folder(s3_corpus: str) -> None:
    for place in (s3_corpus, s3_corpus + "/"):
        listing = list_files(place)
        assert names(listing) == sorted(FILES)
        assert [file.uri for file in listing.files] == [f"{s3_corpus}/{name}" for name in sorted(FILES)]
        assert listing.num_hidden == 3


def test_a_bucket_is_a_prefix(s3_corpus: str) -> None:
    assert names(list_files(s3_corpus.removesuffix("/videos")))[0] == "videos-elsewhere/no.mp4"


@pytest.mark.parametrize(("glob", "expected"), GLOBS)
def test_a_glob_in_s3_finds_what_it_finds_in_a_folder(s3_corpus: str, glob: str, expected: list[str]) -> None:
    assert names(list_files(f"{s3_corpus}/{glob}")) == expected


def test_one_object_is_a_corpus_of_one(s3_corpus: str) -> None:
    listing = list_files(f"{s3_corpus}/deep/a.mp4")
    assert [(file.uri, file.name) for file in listing.files] == [(f"{s3_corpus}/deep/a.mp4", "a.mp4")]


def test_a_listing_shows_what_others_have_added_since(s3_corpus: str, s3_client: s3fs.S3FileSystem) -> None:
    before = names(list_files(s3_corpus))
    s3_client.pipe_file(f"{s3_corpus}/new.mp4", b"x")
    assert names(list_files(s3_corpus)) == sorted([*before, "new.mp4"])


@pytest.mark.parametrize("below", ["/none", "/none/*.mp4"])
def test_a_prefix_without_objects_is_refused(bucket: str, below: str) -> None:
    with pytest.raises(ConfigError, match=r"input: nothing is at 's3://corpus-.*/none"):
        list_files(bucket + below)


@pytest.mark.usefixtures("s3_environment")
def test_a_bucket_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"input: cannot list 's3://no-such-bucket/x': .*bucket does not exist"):
        list_files("s3://no-such-bucket/x")
    with pytest.raises(ConfigError, match=r"input: cannot list 's3://': "):
        list_files("s3://")
