"""What the decoding process gives up before it sees a video: memory, files, other processes, most system calls.

Limits on resources always hold. On Linux on x86-64 and arm64 a seccomp filter is added: the process may compute, ask
for memory, read and write through descriptors it already has, and end; every other system call fails with "operation
not permitted". So no file, no address and no other process can be reached, whatever a video makes a decoder do.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import platform
import resource
import struct

from pipelines.limits import DecodeLimits

MAX_OPEN_FILES = 64

PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER = 1
# For every thread there is, and without the brake on speculation that old kernels would add: decoders run no code of
# others, and every other process runs without it too.
SECCOMP_FLAGS = 1 | 4

# x86-64 and arm64 numbers of the calls that may be made with any arguments; the most frequent ones come first.
FREE_CALLS = {
    "preadv2": (327, 286),
    "preadv": (295, 69),
    "pread64": (17, 67),
    "futex": (202, 98),
    "munmap": (11, 215),
    "brk": (12, 214),
    "madvise": (28, 233),
    "mremap": (25, 216),
    "sendto": (44, 206),  # the socket is connected: no address can be named
    "sendmsg": (46, 211),
    "recvfrom": (45, 207),
    "recvmsg": (47, 212),
    "getrusage": (98, 165),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "restart_syscall": (219, 128),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
CLOSE, WRITE, MMAP, MPROTECT = (3, 57), (1, 64), (9, 222), (10, 226)
TGKILL, PRLIMIT, SECCOMP = (234, 131), (302, 261), (317, 277)
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the numbers above, and the word by which the kernel names the calling convention."""
PROT_EXEC = 4

_LOAD, _JUMP_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_Instruction = tuple[int, int, int, int]


def restrain(limits: DecodeLimits, lifeline: int) -> str:
    """Give up, for good, what decoding does not need. Everything has to be imported and opened before.

    Args:
        limits: Give the memory and the time.
        lifeline: Descriptor that stays open whatever code runs: when its other end goes, the kernel kills this process.

    Returns:
        Empty, or why there is no filter of system calls and only the limits hold.
    """
    for what, most in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_NPROC, 0),
    ):
        _, hard = resource.getrlimit(what)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, allowed))
    limit_processor_time(limits.total_wall_time_s)
    libc = ctypes.CDLL(None, use_errno=True)
    # No dump of a crashed decoder, not even into a pipe: what it holds are other people's videos.
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return f"no_new_privs: {os.strerror(ctypes.get_errno())}"
    return _filter_calls(libc, lifeline)


def limit_processor_time(seconds: float) -> None:
    """Let the kernel end this process should it compute on after its parent gave up on it.

    A second net for decoders that hang. Hostile code could lift it, as every video does; it cannot get rid of the
    parent's clock nor of the lifeline.

    Args:
        seconds: Processor time from now on.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    end = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (end if hard == resource.RLIM_INFINITY else min(end, hard), hard))


def filter_program(machine: str, pid: int, lifeline: int) -> bytes:
    """Assemble the filter.

    Args:
        machine: ``x86_64`` or ``aarch64``.
        pid: The only process that may be sent a signal, so that ``abort()`` works.
        lifeline: The only descriptor that may not be closed.

    Returns:
        Instructions of the classic Berkeley packet filter, 8 bytes each.

    Raises:
        KeyError: another machine.
    """
    column, convention = MACHINES[machine]
    program: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_JUMP_EQUAL, 1, 0, convention),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    for numbers in FREE_CALLS.values():
        program += [(_JUMP_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _ALLOW)]
    for numbers, conditions in (
        (CLOSE, [_differs(0, lifeline)]),
        (MMAP, [_has_no_bit(2, PROT_EXEC)]),  # no new code
        (MPROTECT, [_has_no_bit(2, PROT_EXEC)]),
        (WRITE, [_equals(0, 2)]),  # last words
        (TGKILL, [_equals(0, pid)]),
        (PRLIMIT, [_equals(0, 0), _equals(1, resource.RLIMIT_CPU)]),
    ):
        check = [instruction for condition in conditions for instruction in condition]
        program += [(_JUMP_EQUAL, 0, len(check) + 1, numbers[column]), *check, (_RETURN, 0, 0, _ALLOW)]
    program.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _equals(argument: int, value: int) -> list[_Instruction]:
    """Refuse the call unless an argument, of which the kernel reads 32 bits, has this value."""
    return [(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument), (_JUMP_EQUAL, 1, 0, value), (_RETURN, 0, 0, _REFUSE)]


def _differs(argument: int, value: int) -> list[_Instruction]:
    """Refuse the call if an argument, of which the kernel reads 32 bits, has this value."""
    return [(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument), (_JUMP_EQUAL, 0, 1, value), (_RETURN, 0, 0, _REFUSE)]


def _has_no_bit(argument: int, bits: int) -> list[_Instruction]:
    """Refuse the call if an argument has one of these bits set."""
    return [(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument), (_JUMP_ANY_BIT, 0, 1, bits), (_RETURN, 0, 0, _REFUSE)]


class _Program(ctypes.Structure):
    """How the kernel is told of a filter."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _filter_calls(libc: ctypes.CDLL, lifeline: int) -> str:
    machine = platform.machine()
    if machine not in MACHINES:
        return f"no filter is known for {machine!r}"
    data = filter_program(machine, os.getpid(), lifeline)
    number = SECCOMP[MACHINES[machine][0]]
    if libc.syscall(number, SECCOMP_SET_MODE_FILTER, SECCOMP_FLAGS, ctypes.byref(_Program(len(data) // 8, data))) != 0:
        return f"seccomp: {os.strerror(ctypes.get_errno())}"
    return ""
