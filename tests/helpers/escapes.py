"""Ways out of a process, tried one by one: ``python -m tests.helpers.escapes JSON``; answers on standard error.

With ``is_restrained`` the process gives up what the decoding process does before it tries.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pipelines import sandbox
from pipelines.limits import DecodeLimits

# Bare system calls, x86-64 and arm64 numbers, with arguments that do no harm where they are allowed.
RAW_CALLS: dict[str, tuple[tuple[int, int], tuple[int, ...]]] = {
    "ptrace": ((101, 117), (0x4206, 1, 0, 0)),
    "io_uring_setup": ((425, 425), (0, 0)),
    "userfaultfd": ((323, 282), (0xFFFF,)),
    "bpf": ((321, 280), (0xFFFF, 0, 0)),
    "keyctl": ((250, 219), (0xFFFF,)),
    "mount": ((165, 40), (0, 0, 0, 0, 0)),
    "process_vm_readv": ((310, 270), (1, 0, 0, 0, 0, 0)),
    "process_vm_writev": ((311, 271), (1, 0, 0, 0, 0, 0)),
    "unshare": ((272, 97), (0x10000000,)),
    "setns": ((308, 268), (-1, 0)),
    "perf_event_open": ((298, 241), (0, 0, -1, -1, 0)),
    "pidfd_getfd": ((438, 438), (-1, 0, 0)),
    "openat2": ((437, 437), (-100, 0, 0, 0)),
    "execveat": ((322, 281), (-1, 0, 0, 0, 0)),
    "clone3": ((435, 435), (0, 0)),
    "close_range": ((436, 436), (0xFFFFFFF0, 0xFFFFFFFF, 0)),
}
"""Refused with "not permitted" by the filter; elsewhere they fail with other errors, or are not permitted either."""


def harmless_ways(options: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Return what succeeds in every ordinary process."""
    folder, listener = Path(options["folder"]), ("127.0.0.1", options["port"])
    file = (folder / "file").open("rb+")
    inner, _outer = socket.socketpair()
    caller = socket.socket()
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    thread = threading.Thread(target=int)
    lifeline = options["lifeline"]
    return {
        "open /etc/passwd": Path("/etc/passwd").read_bytes,
        "open to write": lambda: (folder / "new").write_bytes(b"x"),
        "stat": (folder / "file").stat,
        "list a folder": lambda: os.listdir(folder),  # noqa: PTH208 - one call
        "read a link": lambda: os.readlink("/proc/self/exe"),  # noqa: PTH115 - one call
        "socket": socket.socket,
        "connect": lambda: caller.connect(listener),
        "socketpair": socket.socketpair,
        "bind": lambda: inner.bind(str(folder / "bound")),
        "write": lambda: os.write(file.fileno(), b"x"),
        "pwrite": lambda: os.pwrite(file.fileno(), b"x", 0),
        "truncate": lambda: os.ftruncate(file.fileno(), 0),
        "chmod": lambda: (folder / "file").chmod(0o600),
        "mkdir": (folder / "made").mkdir,
        "rename": lambda: (folder / "file").rename(folder / "renamed"),
        "unlink": (folder / "other").unlink,
        "memfd": lambda: os.memfd_create("x"),
        "pipe": os.pipe,
        "dup": lambda: os.dup(2),
        "fork": _fork,
        "run a program": lambda: subprocess.run(["true"], check=True),
        "shell": lambda: _checked(os.system("true")),  # noqa: S605 - a way out
        "exec": lambda: os.execv(options["nothing"], ["x"]),  # noqa: S606 - a way out
        "thread": thread.start,
        "kill the parent": lambda: os.kill(os.getppid(), 0),
        "kill itself": lambda: os.kill(os.getpid(), 0),
        "limit the parent": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU),
        "ask for the memory limit": lambda: resource.getrlimit(resource.RLIMIT_AS),
        "new code": lambda: _call("mprotect", ctypes.addressof(ctypes.c_char.from_buffer(memory)), mmap.PAGESIZE, 4),
        "detach the lifeline": lambda: fcntl.fcntl(lifeline, fcntl.F_SETFL, 0),
        "replace the lifeline": lambda: os.dup2(2, lifeline),
        "close the lifeline": lambda: os.close(lifeline),
    }


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _checked(status: int) -> None:
    if status != 0:
        raise OSError(errno.EPERM, f"status {status}")


def _call(name: str, address: int, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(ctypes.c_void_p(address), *arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


def _raw(name: str, column: int) -> None:
    numbers, arguments = RAW_CALLS[name]
    libc = ctypes.CDLL(None, use_errno=True)
    number = numbers[column]
    if libc.syscall(number, *(ctypes.c_long(argument) for argument in arguments)) == -1:
        raise OSError(ctypes.get_errno(), name)


def _tried(way: Callable[[], object]) -> str:
    try:
        way()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except (RuntimeError, ValueError) as error:  # a thread; a limit
        return type(error).__name__
    return "done"


def main() -> None:
    """Try everything and write what came of it."""
    options = json.loads(sys.argv[1])
    options["lifeline"], _our_end = os.pipe()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    column = sandbox.MACHINES[platform.machine()][0]
    ways = harmless_ways(options) | {name: partial(_raw, name, column) for name in RAW_CALLS}
    unconfined = sandbox.restrain(DecodeLimits(), options["lifeline"]) if options["is_restrained"] else ""
    found = {name: _tried(way) for name, way in ways.items()}
    os.write(2, json.dumps({"unconfined": unconfined, **found}).encode())


if __name__ == "__main__":
    main()
