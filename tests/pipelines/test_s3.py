"""What a store is asked and what its answers say; whole operations: test_storage_s3, test_storage_faults."""

from __future__ import annotations

import pytest

from pipelines import s3
from pipelines.s3 import Info, check_same, described, range_of
from pipelines.s3_patience import PATIENCE_VARIABLE, ChangedError, ShortBodyError
from tests.helpers.s3 import bucket, s3_client, s3_environment, s3_server

__all__ = ["bucket", "s3_client", "s3_environment", "s3_server"]


@pytest.mark.parametrize(
    ("start", "stop", "asked"),
    [
        (0, None, {}),
        (0, 10, {"Range": "bytes=0-9"}),
        (5, None, {"Range": "bytes=5-"}),
        (5, 6, {"Range": "bytes=5-5"}),
        (-8, None, {"Range": "bytes=-8"}),
    ],
)
def test_ranges_are_asked_for_by_their_last_byte(start: int, stop: int | None, asked: dict[str, str]) -> None:
    assert range_of(start, stop) == asked


def test_an_answer_says_where_its_bytes_are_and_of_what() -> None:
    part = {"ContentRange": "bytes 5-9/20", "ContentLength": 5, "ETag": '"a"'}
    assert described(part) == (5, Info(20, '"a"'))
    # Some stores give the whole object whatever was asked for.
    assert described({"ContentLength": 20}) == (0, Info(20, ""))
    assert Info(20, '"a"').fingerprint == '20:"a"'


@pytest.mark.parametrize("change", [{"ContentLength": 4}, {"ContentRange": "bytes 5-9/9"}])
def test_an_answer_that_contradicts_itself_is_no_answer(change: dict[str, object]) -> None:
    part = {"ContentRange": "bytes 5-9/20", "ContentLength": 5, "ETag": '"a"'} | change
    with pytest.raises(ShortBodyError, match=rf"got {part['ContentLength']} bytes for 'bytes 5-9/"):
        described(part)


def test_another_version_is_refused() -> None:
    check_same(Info(1, "a"), Info(1, "a"))
    with pytest.raises(ChangedError, match="the object was changed while it was read"):
        check_same(Info(1, "b"), Info(1, "a"))


def test_a_store_is_made_anew_for_other_settings_only(s3_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - sets variables
    first = s3.store()
    assert s3.store() is first
    monkeypatch.setenv(PATIENCE_VARIABLE, "9")
    assert s3.store() is not first
    monkeypatch.delenv(PATIENCE_VARIABLE)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody else")
    assert s3.store() is not first


def test_an_address_is_bucket_and_key(bucket: str) -> None:
    name = bucket.removeprefix("s3://")
    assert s3.store().split(f"{bucket}/a/b.mp4") == (name, "a/b.mp4")
    assert s3.store().split(bucket) == (name, "")


def test_what_a_listing_told_is_not_asked_again(bucket: str) -> None:
    store = s3.store()
    store.listed[f"{bucket.removeprefix('s3://')}/told"] = Info(7, "e")
    assert store.info(f"{bucket}/told") == Info(7, "e")
    with pytest.raises(FileNotFoundError):
        store.info(f"{bucket}/not-told")


def test_an_error_says_which_object(bucket: str) -> None:
    with pytest.raises(FileNotFoundError, match=rf": '{bucket}/no/such\.mp4'"):
        s3.store().call("get_object", f"{bucket}/no/such.mp4")
