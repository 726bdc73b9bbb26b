"""What each answer of a store means, and how often and how long it is asked again."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from botocore import exceptions as boto

from fal_model.errors import ConfigError
from pipelines.s3_patience import (
    PATIENCE_VARIABLE,
    ChangedError,
    Patience,
    ShortBodyError,
    StoreError,
    Tries,
    judge,
    patience,
)


def answer(code: str, status: int, message: str = "why") -> boto.ClientError:
    data: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(data, "GetObject")


@pytest.mark.parametrize(
    ("error", "kind", "number", "is_worth_another"),
    [
        (answer("SlowDown", 503), OSError, errno.EIO, True),
        (answer("Unknown", 500), OSError, errno.EIO, True),
        (answer("", 429), OSError, errno.EIO, True),
        (answer("BadDigest", 400), OSError, errno.EIO, True),
        (answer("NoSuchKey", 404), FileNotFoundError, errno.ENOENT, False),
        (answer("AccessDenied", 403), PermissionError, errno.EACCES, False),
        (answer("PreconditionFailed", 412), ChangedError, errno.ESTALE, False),
        (answer("ExpiredToken", 400), StoreError, errno.EACCES, False),
        (answer("SignatureDoesNotMatch", 403), StoreError, errno.EACCES, False),
        (answer("PermanentRedirect", 301), StoreError, errno.EACCES, False),
        (answer("InvalidRange", 416), OSError, errno.EINVAL, False),
        (boto.EndpointConnectionError(endpoint_url="http://x"), StoreError, errno.EHOSTUNREACH, True),
        (boto.NoCredentialsError(), StoreError, errno.EACCES, True),
        (boto.ParamValidationError(report="x"), OSError, errno.EINVAL, False),
        (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), OSError, errno.EIO, True),
        (TimeoutError(), OSError, errno.EIO, True),
        (ShortBodyError("short"), OSError, errno.EIO, True),
        (ChangedError("changed"), ChangedError, None, False),
        (ConnectionResetError("cut"), OSError, errno.EIO, True),
        (ValueError("Invalid endpoint"), StoreError, errno.EINVAL, False),
    ],
)
def test_what_an_answer_means(
    error: Exception, kind: type[OSError], number: int | None, is_worth_another: bool
) -> None:
    verdict = judge(error)
    assert verdict is not None
    assert type(verdict.error) is kind
    assert verdict.error.errno == number
    assert verdict.is_worth_another is is_worth_another
    assert str(verdict.error)


def test_the_reason_is_told_or_that_there_is_none() -> None:
    for error, said in ((answer("SlowDown", 503), "why (SlowDown)"), (answer("", 500, ""), "no reason given (500)")):
        verdict = judge(error)
        assert verdict is not None
        assert verdict.error.strerror == said


def test_a_mistake_of_the_program_is_raised_as_it_is() -> None:
    assert judge(KeyError("x")) is None
    with pytest.raises(KeyError, match="x"):
        Tries(Patience()).failed(KeyError("x"))


def tried(tries: Tries, error: Exception, num_more: int = 0) -> tuple[int, OSError]:
    for num in range(100):
        try:
            tries.failed(error, num_more=num_more)
        except OSError as given_up:
            return num + 1, given_up
    raise AssertionError("it is never given up")


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Count the seconds that are waited, and let them pass."""
    waited: list[float] = []
    now = [1000.0]

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        now[0] += seconds

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return waited


def test_it_waits_longer_each_time_and_gives_up_by_count(slept: list[float]) -> None:
    num, error = tried(Tries(Patience(total_s=1000, num_tries=10)), answer("SlowDown", 503))
    assert num == 10
    assert all(0.5 * 0.1 * 2**i <= s <= 0.1 * 2**i for i, s in enumerate(slept[:6]))
    assert max(slept) <= 8
    assert str(error.strerror).startswith("why (SlowDown); given up after 10 tries in ")


def test_it_gives_up_by_time_and_a_large_transfer_has_more_of_it(slept: list[float]) -> None:
    limits = Patience(total_s=2, num_tries=100)
    few, _ = tried(Tries(limits), TimeoutError())
    assert sum(slept) <= 2
    more, _ = tried(Tries(limits, 4 << 20), TimeoutError())
    assert few < more < 100


def test_a_long_transfer_has_more_tries(slept: list[float]) -> None:  # noqa: ARG001 - no time passes
    assert tried(Tries(Patience(total_s=1e6, num_tries=3)), TimeoutError())[0] == 3
    assert tried(Tries(Patience(total_s=1e6, num_tries=3)), TimeoutError(), num_more=4)[0] == 7


def test_a_store_that_never_answered_is_given_up_sooner(slept: list[float]) -> None:  # noqa: ARG001 - same
    limits = Patience(total_s=1e6, num_tries=8, num_first_tries=2)
    nobody = boto.EndpointConnectionError(endpoint_url="http://x")
    assert tried(Tries(limits, is_known=False), nobody)[0] == 2
    assert tried(Tries(limits, is_known=True), nobody)[0] == 8
    assert tried(Tries(limits, is_known=True), boto.NoCredentialsError())[0] == 2


def test_what_cannot_change_is_given_up_at_once_and_says_nothing_of_tries() -> None:
    num, error = tried(Tries(Patience()), answer("NoSuchKey", 404))
    assert (num, error.strerror) == (1, "why (NoSuchKey)")


def test_patience_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert patience() == Patience()
    monkeypatch.setenv(PATIENCE_VARIABLE, "8")
    assert patience() == Patience(total_s=8, stall_s=2, connect_s=2)
    for text in ("0", "soon", "nan", "3601"):
        monkeypatch.setenv(PATIENCE_VARIABLE, text)
        with pytest.raises(ConfigError, match=rf"{PATIENCE_VARIABLE}: got '{text}', must be seconds from 1 to 3600"):
            patience()
