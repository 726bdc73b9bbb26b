"""What is in the store: globs by the rules of folders, page after page, and no request for what is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import s3fs

from pipelines import s3_listing, storage
from pipelines.s3 import store
from tests.helpers.s3_faults import FaultyProxy


def test_a_glob_pattern_matches_whole_paths() -> None:
    pattern = s3_listing.glob_pattern("/a/**/b?.mp4")
    assert [p for p in ("/a/b1.mp4", "/a/c/d/b2.mp4", "/a/b1.mp4x", "/z/a/b1.mp4") if pattern.match(p)] == [
        "/a/b1.mp4",
        "/a/c/d/b2.mp4",
    ]
    with pytest.raises(ValueError, match=r"\*\*"):
        s3_listing.glob_pattern("a**")


def test_many_objects_are_listed_page_by_page(
    bucket: str, s3_client: s3fs.S3FileSystem, faults: Callable[..., FaultyProxy]
) -> None:
    names = [f"{i:04d}" for i in range(1001)]
    for name in names:
        s3_client.call_s3("put_object", Bucket=bucket.removeprefix("s3://"), Key=f"many/{name}", Body=b"x")
    proxy = faults()
    assert s3_listing.names_in(store(), f"{bucket}/many") == names
    assert len(proxy.seen) == 2
    assert s3_listing.paths(store(), f"{bucket}/many") == [f"{bucket}/many/{n}".removeprefix("s3://") for n in names]
    assert len(proxy.seen) == 4


def test_a_pattern_within_a_folder_does_not_walk_through_the_folders_below(
    bucket: str, faults: Callable[..., FaultyProxy]
) -> None:
    for name in ("a1", "a2", "b", "a/deep"):
        storage.write_bytes(f"{bucket}/{name}", b"x")
    proxy = faults()
    found = s3_listing.paths(store(), f"{bucket}/a*")
    assert found == [f"{bucket}/{n}".removeprefix("s3://") for n in ("a1", "a2")]
    assert "delimiter=/" in proxy.seen[0].path
    assert "prefix=a&" in f"{proxy.seen[0].path}&"


def test_what_is_no_address_or_no_glob(bucket: str) -> None:
    with pytest.raises(OSError, match="the address has no bucket"):
        s3_listing.paths(store(), "s3://")
    with pytest.raises(OSError, match=r"\*\*"):
        s3_listing.paths(store(), f"{bucket}/a**")
