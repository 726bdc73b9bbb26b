"""A store in trouble: what is read is whole, or there is one error of the right kind within the time allowed."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import s3fs

from fal_model.errors import ConfigError, FailureKind, OutputError, VideoError
from pipelines import listing, storage, tables
from pipelines.s3 import store
from pipelines.s3_patience import PATIENCE_VARIABLE, Patience
from tests.helpers.s3 import KEY, SECRET
from tests.helpers.s3_faults import Fault, FaultyProxy, Harm

DATA = random.Random(0).randbytes(2_500_000)
PASSING = [h for h in Harm if h not in (Harm.FORBIDDEN, Harm.EXPIRED, Harm.TRICKLED, Harm.FLIPPED, Harm.WRONG_LENGTH)]
BRIEF = [h for h in PASSING if h not in (Harm.STALLED, Harm.SILENT)]
Faults = Callable[..., FaultyProxy]


@pytest.fixture
def place(bucket: str) -> str:
    """Return a folder in the store with a video in it."""
    storage.write_bytes(f"{bucket}/in/a.mp4", DATA)
    return f"{bucket}/in"


def failure(uri: str, max_bytes: int = len(DATA)) -> VideoError:
    with pytest.raises(VideoError) as raised:
        storage.open_video(uri, max_bytes)
    return raised.value


@pytest.mark.parametrize("harm", PASSING)
def test_a_fault_that_passes_leaves_a_video_whole(place: str, faults: Faults, harm: Harm) -> None:
    proxy = faults(Fault(harm, method="GET"), patience_s=8)
    with storage.open_video(f"{place}/a.mp4", len(DATA)) as file:
        assert file.read() == DATA
    assert proxy.choose("GET", "/a") is None  # the one fault has happened


@pytest.mark.parametrize("harm", [Harm.CUT_BODY, Harm.SHORT_BODY])
def test_after_a_cut_only_the_rest_is_fetched(place: str, faults: Faults, harm: Harm) -> None:
    proxy = faults(Fault(harm, method="GET"))
    storage.open_video(f"{place}/a.mp4", len(DATA)).close()
    assert proxy.seen[0].bytes_down == len(DATA) // 2
    if harm is Harm.SHORT_BODY:  # a reset may lose all that was on its way, an early end what is in a buffer
        assert len(DATA) <= proxy.bytes_down < len(DATA) + 300_000


def test_a_length_that_is_too_short_is_never_taken_for_the_whole(place: str, faults: Faults) -> None:
    # The whole object, and a length of half of it: only a range shows that it cannot be.
    proxy = faults(Fault(Harm.SHORT_BODY, method="GET"), Fault(Harm.WRONG_LENGTH, method="GET", first=1))
    with storage.open_video(f"{place}/a.mp4", len(DATA)) as file:
        assert file.read() == DATA
    assert proxy.num_harmed == 2


@pytest.mark.parametrize("harm", BRIEF)
def test_no_operation_minds_a_fault_that_passes(
    place: str, faults: Faults, s3_client: s3fs.S3FileSystem, harm: Harm
) -> None:
    proxy = faults()
    operations: list[Callable[[], object]] = [
        lambda: storage.write_bytes(f"{place}/b", b"written"),
        lambda: storage.exists(f"{place}/b"),
        lambda: storage.names_in(place),
        lambda: storage.read_bytes(f"{place}/b"),
        lambda: storage.open_ranged(f"{place}/b").read(),
        lambda: len(storage.fingerprint(f"{place}/b").split(":")),
        lambda: [file.name for file in listing.list_files(place).files],
        lambda: storage.copy(f"{place}/b", f"{place}/c"),
        lambda: storage.remove(f"{place}/b"),
        lambda: storage.remove_folder(f"{place}/b"),
    ]
    answers = []
    for operation in operations:
        proxy.faults[:] = [Fault(harm)]
        answers.append(operation())
    assert answers == [None, True, ["a.mp4", "b"], b"written", b"written", 2, ["a.mp4", "b"], None, None, None]
    assert proxy.num_harmed == len(operations)
    assert s3_client.cat_file(f"{place}/c") == b"written"


@pytest.mark.parametrize(
    ("harm", "kind", "reason"),
    [
        (Harm.SLOW_DOWN, FailureKind.STORAGE_ERROR, "Told to say so (SlowDown); given up after "),
        (Harm.INTERNAL_ERROR, FailureKind.STORAGE_ERROR, "Told to say so (InternalError); given up after "),
        (Harm.FORBIDDEN, FailureKind.PERMISSION_DENIED, "Told to say so (AccessDenied)"),
        (Harm.EXPIRED, FailureKind.STORAGE_ERROR, "Told to say so (ExpiredToken)"),
        (Harm.CUT_BEFORE, FailureKind.STORAGE_ERROR, "given up after "),
        (Harm.STALLED, FailureKind.STORAGE_ERROR, "given up after "),
        (Harm.SILENT, FailureKind.STORAGE_ERROR, "given up after "),
    ],
)
def test_a_fault_that_stays_is_one_failure(
    place: str, faults: Faults, harm: Harm, kind: FailureKind, reason: str
) -> None:
    proxy = faults(Fault(harm, count=None), patience_s=2)
    error = failure(f"{place}/a.mp4")
    assert (error.kind, error.stage) == (kind, "open")
    assert error.message.startswith(f"cannot read '{place}/a.mp4': ")
    assert reason in error.message
    tries = re.search(r"given up after (\d+) tr", error.message)
    num_tries = int(tries[1]) if tries else 1
    assert num_tries <= Patience().num_tries
    assert len(proxy.seen) <= 2 * num_tries  # HTTP's client itself asks once more when a connection dies unanswered


def test_a_trickle_is_given_up(bucket: str, faults: Faults) -> None:
    storage.write_bytes(f"{bucket}/a.mp4", DATA[:300_000])
    proxy = faults(Fault(Harm.TRICKLED, method="GET", count=None), patience_s=2)
    error = failure(f"{bucket}/a.mp4")
    assert error.kind is FailureKind.STORAGE_ERROR
    assert "the store is silent or too slow; given up after 1 try in " in error.message
    assert len(proxy.seen) < 3


@pytest.mark.parametrize("harm", [Harm.SLOW_DOWN, Harm.CUT_BEFORE])
def test_output_that_cannot_be_written_is_an_output_error(place: str, faults: Faults, harm: Harm) -> None:
    faults(Fault(harm, count=None), patience_s=2)
    with pytest.raises(OutputError, match=rf"cannot write '{place}/b': .*; given up after \d tr"):
        storage.write_bytes(f"{place}/b", b"x")
    with pytest.raises(OutputError, match=rf"cannot delete '{place}/b': .*; given up after \d tr"):
        storage.remove(f"{place}/b")


def test_input_that_cannot_be_listed_is_a_config_error(place: str, faults: Faults) -> None:
    faults(Fault(Harm.SLOW_DOWN, count=None), patience_s=2)
    with pytest.raises(
        ConfigError, match=rf"input: cannot list '{place}': Told to say so \(SlowDown\); given up after"
    ):
        listing.list_files(place)


def test_expired_credentials_are_found_with_the_first_video(place: str, faults: Faults) -> None:
    proxy = faults(Fault(Harm.EXPIRED, count=None))
    with pytest.raises(ConfigError, match=r"^input: cannot ask S3 for the videos: Told to say so \(ExpiredToken\)$"):
        storage.fingerprints([f"{place}/{i}.mp4" for i in range(2000)])
    assert len(proxy.seen) < 1000


def test_nobody_at_the_endpoint(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"Could not connect to the endpoint URL.*; given up after 5 tries in"):
        storage.fingerprints([f"{place}/a.mp4"])
    with pytest.raises(ConfigError, match=r"input: cannot list .*Could not connect to the endpoint URL"):
        listing.list_files(place)
    with pytest.raises(OutputError, match="Could not connect to the endpoint URL"):
        storage.check_writable(place)


def test_an_endpoint_that_is_no_address(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nowhere")
    with pytest.raises(OSError, match="Invalid endpoint: nowhere"):
        storage.read_bytes(f"{place}/a.mp4")


def test_patience_is_checked(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("0", "soon", "nan", "3601"):
        monkeypatch.setenv(PATIENCE_VARIABLE, wrong)
        with pytest.raises(ConfigError, match=f"FAL_S3_PATIENCE_S: got '{wrong}', must be seconds from 1 to 3600"):
            storage.read_bytes(f"{place}/a.mp4")


def test_an_object_that_changes_while_it_is_read(place: str, faults: Faults, s3_server: str) -> None:
    class Changing(Fault):
        def hits(self, method: str, path: str) -> bool:
            is_second = super().hits(method, path)
            if is_second:
                fs = s3fs.S3FileSystem(key=KEY, secret=SECRET, endpoint_url=s3_server, skip_instance_cache=True)
                fs.pipe_file(f"{place}/a.mp4", DATA[::-1])
            return False

    proxy = faults(Fault(Harm.SHORT_BODY, method="GET"), Changing(Harm.CUT_BODY, method="GET", first=1))
    with storage.open_video(f"{place}/a.mp4", len(DATA)) as file:
        assert file.read() == DATA[::-1]
    assert len(proxy.seen) == 3  # the first half of the old one, a refusal, all of the new one


def test_bits_that_change_on_the_way_are_noticed(place: str, faults: Faults) -> None:
    proxy = faults(Fault(Harm.FLIPPED, method="GET"))
    with storage.open_video(f"{place}/a.mp4", len(DATA)) as file:
        assert file.read() == DATA
    assert len(proxy.seen) == 2
    proxy.faults[:] = [Fault(Harm.FLIPPED, method="GET", count=None)]
    error = failure(f"{place}/a.mp4")
    assert error.kind is FailureKind.STORAGE_ERROR
    assert "what was read is not what is stored: " in error.message
    assert error.message.endswith(", twice")


def test_a_changed_bit_in_a_whole_read_is_noticed(place: str, faults: Faults) -> None:
    storage.write_bytes(f"{place}/marks.json", DATA[:1000])
    proxy = faults(Fault(Harm.FLIPPED, method="GET"))
    assert storage.read_bytes(f"{place}/marks.json") == DATA[:1000]
    assert len(proxy.seen) == 2


def test_a_put_that_was_cut_leaves_the_old_or_the_new(place: str, faults: Faults, s3_client: s3fs.S3FileSystem) -> None:
    storage.write_bytes(f"{place}/b", b"old")
    faults(Fault(Harm.CUT_BEFORE, method="PUT", count=None), patience_s=2)
    with pytest.raises(OutputError, match="cannot write"):
        storage.write_bytes(f"{place}/b", DATA)
    assert s3_client.cat_file(f"{place}/b") == b"old"
    faults(Fault(Harm.CUT_AFTER, method="PUT"))
    storage.write_bytes(f"{place}/b", DATA)
    assert s3_client.cat_file(f"{place}/b") == DATA


def test_what_is_too_large_or_no_video_is_refused_before_it_is_fetched(bucket: str, faults: Faults) -> None:
    data = b"%PDF-1.7 " + os.urandom(24 << 20)
    storage.write_bytes(f"{bucket}/a.mp4", data)
    proxy = faults()
    assert failure(f"{bucket}/a.mp4", 1000).kind is FailureKind.LIMIT_EXCEEDED
    assert failure(f"{bucket}/a.mp4", 1 << 30).kind is FailureKind.NOT_A_VIDEO
    assert proxy.bytes_down < len(data)  # of two that would be twice as many


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_large_file_is_put_in_parts(
    bucket: str, faults: Faults, s3_client: s3fs.S3FileSystem, tmp_path: Path, method: str
) -> None:
    data = DATA * 3
    (tmp_path / "large").write_bytes(data)
    proxy = faults(Fault(Harm.CUT_AFTER, method=method, first=1))  # the second part, or what joins the parts
    store().put(tmp_path / "large", f"{bucket}/large", part_bytes=5 << 20)
    assert proxy.num_harmed == 1
    assert s3_client.cat_file(f"{bucket}/large") == data


def test_parts_are_not_left_behind(bucket: str, faults: Faults, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(DATA * 3)
    proxy = faults(Fault(Harm.FORBIDDEN, method="PUT", first=1))
    with pytest.raises(PermissionError, match="Told to say so"):
        store().put(tmp_path / "large", f"{bucket}/large", part_bytes=5 << 20)
    assert not storage.exists(f"{bucket}/large")
    assert "DELETE" in [seen.method for seen in proxy.seen]


def test_of_a_table_only_the_columns_asked_for_are_fetched(bucket: str, faults: Faults) -> None:
    numbers = pa.array(range(1000), pa.int32())
    table = pa.table({"n": numbers, "large": [os.urandom(3000) for _ in range(1000)], "m": numbers})
    tables.write_table(f"{bucket}/a.parquet", table)
    proxy = faults()
    assert tables.read_table(f"{bucket}/a.parquet", ["n", "m"]).equals(table.select(["n", "m"]))
    num_bytes = proxy.bytes_down
    assert num_bytes < 600_000
    assert tables.read_table(f"{bucket}/a.parquet").equals(table)
    assert proxy.bytes_down - num_bytes > 3_000_000
