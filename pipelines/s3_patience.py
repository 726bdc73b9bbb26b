"""When a request to S3 is made again, when it is given up, and what its failure means."""

from __future__ import annotations

import errno
import os
import random
import time
from dataclasses import dataclass
from typing import Any

from fal_model.errors import ConfigError

PATIENCE_VARIABLE = "FAL_S3_PATIENCE_S"
LEAST_BYTES_PER_S = 256 << 10
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 8.0

LONGEST_PATIENCE_S = 3600

AGAIN_CODES = frozenset(
    {
        "BadDigest",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)
AGAIN_STATUS = frozenset({429, 500, 502, 503, 504})
STORE_CODES = frozenset(
    {
        "AllAccessDisabled",
        "AuthorizationHeaderMalformed",
        "AuthorizationQueryParametersError",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "PermanentRedirect",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
STORE_STATUS = frozenset({301, 307})


class StoreError(OSError):
    """The store cannot be used at all: no valid credentials, or nobody answers at its address."""


class BrokenReadError(OSError):
    """The bytes read so far are worth nothing: the object has to be read from its start."""


class ChangedError(BrokenReadError):
    """The object is another one than when its reading began."""


class ShortBodyError(OSError):
    """A body ended before its announced end."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a store in trouble is waited for.

    Args:
        total_s: Seconds for one operation with all its tries; a transfer has one more per ``LEAST_BYTES_PER_S`` bytes.
        num_tries: How often one request is made at most.
        num_first_tries: The same while the store has not answered this process once, and for credentials.
        stall_s: Seconds without a byte after which a connection is given up.
        connect_s: Seconds to connect.
    """

    total_s: float = 60.0
    num_tries: int = 8
    num_first_tries: int = 5
    stall_s: float = 15.0
    connect_s: float = 5.0


def patience() -> Patience:
    """Return the patience that the environment asks for.

    Raises:
        ConfigError: the variable is no number of seconds in the allowed range.
    """
    text = os.environ.get(PATIENCE_VARIABLE, "60")
    try:
        total_s = float(text)
    except ValueError:
        total_s = 0.0
    if not 1 <= total_s <= LONGEST_PATIENCE_S:
        raise ConfigError([f"{PATIENCE_VARIABLE}: got {text!r}, must be seconds from 1 to {LONGEST_PATIENCE_S}"])
    return Patience(total_s=total_s, stall_s=total_s / 4, connect_s=min(5.0, total_s / 4))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failed request means: the error to raise in the end, and whether trying again may help."""

    error: OSError
    is_worth_another: bool
    is_about_store: bool = False


def judge(error: Exception) -> Verdict | None:
    """Say what an error of S3's client means; None if it is no answer of a store but a mistake of a program."""
    from botocore import exceptions as boto
    from s3fs.core import S3_RETRYABLE_ERRORS

    text = str(error) or type(error).__name__
    verdict: Verdict | None = None
    if isinstance(error, boto.ClientError):
        verdict = _judge_answer(error.response)
    elif isinstance(error, ChangedError):
        verdict = Verdict(error, False)
    elif isinstance(error, boto.ConnectionError) and not isinstance(error, boto.HTTPClientError):  # nobody there
        verdict = Verdict(StoreError(errno.EHOSTUNREACH, text), True, is_about_store=True)
    elif isinstance(error, TimeoutError):  # ours: the time for the whole operation is over
        verdict = Verdict(OSError(errno.EIO, "the store is silent or too slow"), True)
    elif isinstance(error, (boto.FlexibleChecksumError, boto.IncompleteReadError, OSError, *S3_RETRYABLE_ERRORS)):
        verdict = Verdict(OSError(errno.EIO, text), True)
    elif isinstance(error, boto.ParamValidationError):
        verdict = Verdict(OSError(errno.EINVAL, text), False)
    elif isinstance(error, boto.BotoCoreError):  # no credentials, no such profile, a token service in trouble
        verdict = Verdict(StoreError(errno.EACCES, text), True, is_about_store=True)
    elif isinstance(error, ValueError):  # an endpoint that is no address
        verdict = Verdict(StoreError(errno.EINVAL, text), False)
    return verdict


def _judge_answer(response: Any) -> Verdict:
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = response.get("Error", {}).get("Message") or "no reason given"
    message = f"{text} ({code or status})"
    if code in STORE_CODES or status in STORE_STATUS:
        return Verdict(StoreError(errno.EACCES, message), False)
    if code in AGAIN_CODES or status in AGAIN_STATUS:
        return Verdict(OSError(errno.EIO, message), True)
    final = {
        404: FileNotFoundError(errno.ENOENT, message),
        403: PermissionError(errno.EACCES, message),
        412: ChangedError(errno.ESTALE, "the object was changed while it was read"),
    }
    return Verdict(final.get(status) or OSError(errno.EINVAL, message), False)


class Tries:
    """The tries of one operation: counts them, waits between them, and gives up.

    Args:
        patience: How long to wait for a store in trouble.
        num_bytes: How much is to be transferred, as far as it is known.
        is_known: The store has answered this process before.
    """

    def __init__(self, patience: Patience, num_bytes: int = 0, *, is_known: bool = True) -> None:
        self._patience = patience
        self._is_known = is_known
        self._num_failed = 0
        self._since_s = time.monotonic()
        self._end_s = self._since_s + patience.total_s
        self.expect(num_bytes)

    def expect(self, num_bytes: int) -> None:
        """Allow the time that so many more bytes may take."""
        self._end_s += num_bytes / LEAST_BYTES_PER_S

    @property
    def left_s(self) -> float:
        """Return the seconds that are left, at least a thousandth."""
        return max(0.001, self._end_s - time.monotonic())

    def failed(self, error: Exception, *, num_more: int = 0) -> None:
        """Wait for the time after which the next try makes sense.

        Args:
            error: What the request raised.
            num_more: How many more tries a long transfer has.

        Raises:
            OSError: another try makes no sense, or there have been enough.
        """
        verdict = judge(error)
        if verdict is None:
            raise error
        self._num_failed += 1
        is_first = verdict.is_about_store and not (self._is_known and verdict.error.errno == errno.EHOSTUNREACH)
        allowed = self._patience.num_first_tries if is_first else self._patience.num_tries + num_more
        longest_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(self._num_failed - 1, 16))
        wait_s = random.uniform(0.5, 1.0) * longest_s  # many clients must not come back at once
        is_over = self._num_failed >= allowed or wait_s >= self._end_s - time.monotonic()
        if verdict.is_worth_another and not is_over:
            time.sleep(wait_s)
            return
        if verdict.is_worth_another:
            spent_s = time.monotonic() - self._since_s
            count = f"{self._num_failed} tries" if self._num_failed > 1 else "1 try"
            verdict.error.strerror = f"{verdict.error.strerror}; given up after {count} in {spent_s:.1f} s"
        raise verdict.error from error
