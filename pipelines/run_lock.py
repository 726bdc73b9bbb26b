"""Only one job at a time writes into an output folder.

Locally the kernel holds the lock, and lets go of it when the process ends, however it ends. In S3 it is a lease: an
object that its holder renews, and that counts no longer once it has not been renewed for a while. Whether it is renewed
is watched, on the clock of the one who watches: clocks of two machines may differ.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TextIO

from fal_model.errors import FalError, OutputError
from pipelines import storage

LEASE_S = 60.0
"""How long a lease in S3 counts without being renewed, seconds."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock.

    Attributes:
        host: Name of the machine.
        pid: Process on it.
        token: Tells this holder from every other.
        renewed_s: When the lease was last renewed, seconds since 1970.
        space: Where the number of the process means something: this start of the machine, and the container.
    """

    host: str
    pid: int
    token: str
    renewed_s: float
    space: str = ""

    @property
    def is_dead(self) -> bool:
        """Whether its process is one of this machine, and dead."""
        # Containers may share a host's name, and not its processes.
        is_here = self.host == socket.gethostname() and self.space == _space() != ""
        return is_here and not Path(f"/proc/{self.pid}").exists()

    def is_fresh(self, now_s: float, lease_s: float) -> bool:
        """Tell whether it was renewed just now; what is far in the future was written by a clock that is wrong."""
        return abs(now_s - self.renewed_s) <= lease_s


Check = Callable[[], None]
"""Raises ``OutputError`` once the lock has been lost to another job."""


@contextmanager
def exclusive(output: str, lease_s: float = LEASE_S) -> Iterator[Check]:
    """Hold an output folder for a block.

    Args:
        output: Local folder or ``s3://`` prefix.
        lease_s: How long a lease in S3 counts without being renewed, seconds.

    Yields:
        What to call now and then: a lease that could not be renewed in time may be another's now.

    Raises:
        OutputError: another job holds it; says which process on which machine.
    """
    uri = storage.join(output, "_fal", "lock")
    with _leased(uri, lease_s) if storage.is_remote(output) else _locked(storage.local_path(uri), output) as check:
        yield check


@contextmanager
def _locked(path: Path, output: str) -> Iterator[Check]:
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _held(output, file.read()) from None
        except OSError as error:  # a file system without locks
            raise OutputError(f"cannot lock {str(path)!r}: {error.strerror or error}") from error
        file.truncate(0)
        file.write(_text(_me()))
        file.flush()
        yield lambda: None  # the kernel takes no lock away; closing the file lets go


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot lock {str(path)!r}: {error.strerror or error}") from error


@contextmanager
def _leased(uri: str, lease_s: float) -> Iterator[Check]:
    me = _me()
    _take(uri, me, lease_s)
    stop, lost = threading.Event(), threading.Event()
    renewer = threading.Thread(target=_renew, args=(uri, me, lease_s / 4, stop, lost), daemon=True, name="fal-lease")
    renewer.start()

    def check() -> None:
        if lost.is_set():
            raise OutputError(f"{uri!r} was taken by another job, because it could not be renewed in time; run again")

    try:
        yield check
    finally:
        stop.set()
        renewer.join()
        if not lost.is_set():
            with suppress(FalError):  # whoever comes next waits until it is over
                storage.remove(uri)


def _take(uri: str, me: Holder, lease_s: float) -> None:
    """Take a lease that is free or over; of two that try at once, the later writer wins and the earlier one notices."""
    held = _read(uri)
    if held is not None and not held.is_dead:
        now = held if held.is_fresh(time.time(), lease_s) else _renewed(uri, held, lease_s / 2)
        if now is not None:
            raise _held(uri, _text(now))
    storage.write_bytes(uri, _text(me).encode())
    after = _read(uri)
    if after is None or after.token != me.token:
        raise _held(uri, _text(after) if after else "")


def _renewed(uri: str, held: Holder, watch_s: float) -> Holder | None:
    """Watch a lease that looks old for longer than it takes to renew it, and return it if it was renewed."""
    _LOG.warning(
        "process %d on %s left %s and seems to be dead: watching for %.0f s", held.pid, held.host, uri, watch_s
    )
    threading.Event().wait(watch_s)
    now = _read(uri)
    return None if now == held else now


def _renew(uri: str, me: Holder, every_s: float, stop: threading.Event, lost: threading.Event) -> None:
    while not stop.wait(every_s):
        with suppress(FalError, OSError):  # the next time comes before the lease is over
            held = _read(uri)
            if held is None or held.token != me.token:  # another job may have come, finished and gone meanwhile
                lost.set()
                return
            storage.write_bytes(uri, _text(replace(me, renewed_s=time.time())).encode())


def _read(uri: str) -> Holder | None:
    try:
        return Holder(**json.loads(storage.read_bytes(uri)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return None  # half a lease is none


def _me() -> Holder:
    return Holder(socket.gethostname(), os.getpid(), uuid.uuid4().hex, time.time(), _space())


def _space() -> str:
    """Name the start of this machine and the process namespace; empty where neither can be read."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _text(holder: Holder) -> str:
    return json.dumps(asdict(holder)) + "\n"


def _held(output: str, text: str) -> OutputError:
    try:
        holder = json.loads(text)
        who = f"process {holder['pid']} on {holder['host']}"
    except (ValueError, TypeError, KeyError):
        who = "another process"
    return OutputError(
        f"{output!r} is being written by {who}: two jobs on one output would undo each other's work; wait for it, "
        "or use another --output"
    )
