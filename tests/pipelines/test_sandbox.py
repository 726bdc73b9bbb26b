from __future__ import annotations

import json
import resource
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.sandbox import CLOSE, FREE_CALLS, MACHINES, filter_program
from tests.helpers.escapes import RAW_CALLS

ROOT = Path(__file__).resolve().parents[2]
ALLOW, REFUSE = 0x7FFF0000, 0x00050001


def tried_escapes(folder: Path, *, is_restrained: bool) -> dict[str, str]:
    """Let a child try every way out; return what came of each. Nobody may have called at our listener."""
    (folder / "file").write_bytes(b"content")
    (folder / "other").touch()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        options = {
            "folder": str(folder),
            "nothing": str(folder / "nothing"),
            "port": listener.getsockname()[1],
            "is_restrained": is_restrained,
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.helpers.escapes", json.dumps(options)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            check=True,
        )
        listener.setblocking(False)
        if is_restrained:
            with pytest.raises(BlockingIOError):
                listener.accept()
        else:
            listener.accept()[0].close()
    found: dict[str, str] = json.loads(done.stderr)
    assert not found.pop("unconfined")
    return found


def test_a_restrained_process_reaches_no_file_no_address_and_no_process(tmp_path: Path) -> None:
    found = tried_escapes(tmp_path, is_restrained=True)
    threads = {name for name, result in found.items() if result == "RuntimeError"}
    limits = {name for name, result in found.items() if result == "ValueError"}
    assert threads == {"thread"}  # Python's words for "not permitted"
    assert limits <= {"ask for the memory limit"}
    assert {result for name, result in found.items() if name not in threads | limits} == {"EPERM"}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"content", "other": b""}


def test_the_same_ways_are_open_to_everybody_else(tmp_path: Path) -> None:
    found = tried_escapes(tmp_path, is_restrained=False)
    assert {name: found[name] for name in found if name not in RAW_CALLS and found[name] != "done"} == {
        "exec": "ENOENT"
    }


def restrained(code: str, memory_bytes: int = 2**31) -> subprocess.CompletedProcess[bytes]:
    program = (
        "import ctypes, os, resource, signal, sys\n"
        "from pipelines import sandbox\nfrom pipelines.limits import DecodeLimits\n"
        f"assert not sandbox.restrain(DecodeLimits(memory_bytes={memory_bytes}, total_wall_time_s=1), os.pipe()[0])\n"
    )
    return subprocess.run([sys.executable, "-c", program + code], cwd=ROOT, stderr=subprocess.PIPE, check=False)


def test_limits_hold_and_only_the_processor_time_can_be_moved() -> None:
    code = (
        "resource.setrlimit(resource.RLIMIT_CPU, (7, 9)); assert resource.getrlimit(resource.RLIMIT_CPU) == (7, 9)\n"
        "for what in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):\n"
        "    try: resource.setrlimit(what, (10**9, 10**9))\n"
        "    except (OSError, ValueError): continue\n"
        "    sys.exit(5)\n"
        "try: bytes(2**31)\n"
        "except MemoryError: sys.exit(6)\n"
    )
    assert restrained(code).returncode == 6


def test_a_restrained_process_can_still_abort_and_say_so() -> None:
    done = restrained("os.write(2, b'last words'); os.abort()")
    assert (done.returncode, done.stderr) == (-signal.SIGABRT, b"last words")


def test_processor_time_is_limited() -> None:
    done = restrained("while True: pass")
    assert done.returncode == -signal.SIGXCPU


def test_a_lower_limit_from_outside_stays() -> None:
    code = "assert resource.getrlimit(resource.RLIMIT_CPU)[1] == 30\n"
    program = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32)); {STRICTER}"
    done = subprocess.run([sys.executable, "-c", program + code], cwd=ROOT, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


STRICTER = (
    "resource.setrlimit(resource.RLIMIT_CPU, (30, 30))\n"
    "from pipelines import sandbox\nfrom pipelines.limits import DecodeLimits\n"
    "assert not sandbox.restrain(DecodeLimits(), 9)\n"
)


@pytest.mark.parametrize("machine", sorted(MACHINES))
def test_the_filter_says_what_it_should_on_both_machines(machine: str) -> None:
    """Run the filter as the kernel would, on calls of that machine."""
    program = filter_program(machine, 1234, 5)
    column, convention = MACHINES[machine]
    for numbers in FREE_CALLS.values():
        assert run(program, convention, numbers[column]) == ALLOW
    for numbers, _ in RAW_CALLS.values():
        assert run(program, convention, numbers[column]) == REFUSE
    asked = [(fd,) for fd in (4, 5, 6, 5 | 1 << 32)]  # the kernel reads 32 bits
    assert [run(program, convention, CLOSE[column], arguments) for arguments in asked] == [ALLOW, REFUSE, ALLOW, REFUSE]
    mmap, write, tgkill, prlimit = {0: (9, 1, 234, 302), 1: (222, 64, 131, 261)}[column]
    assert run(program, convention, mmap, (0, 4096, 3)) == ALLOW
    assert run(program, convention, mmap, (0, 4096, 7)) == REFUSE
    assert [run(program, convention, write, (fd,)) for fd in (0, 1, 2, 3)] == [REFUSE, REFUSE, ALLOW, REFUSE]
    assert [run(program, convention, tgkill, (pid,)) for pid in (1, 1234, -1)] == [REFUSE, ALLOW, REFUSE]
    cpu, memory = resource.RLIMIT_CPU, resource.RLIMIT_AS
    limits = [(0, cpu), (0, memory), (1234, cpu)]
    assert [run(program, convention, prlimit, arguments) for arguments in limits] == [ALLOW, REFUSE, REFUSE]
    other = {0: MACHINES["aarch64"][1], 1: MACHINES["x86_64"][1]}[column]
    assert run(program, other, FREE_CALLS["getpid"][column]) == REFUSE  # the numbers of another convention
    assert run(program, convention, FREE_CALLS["getpid"][column] | 0x40000000) == REFUSE  # x32


def run(program: bytes, convention: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """Interpret a filter on one system call; return its verdict."""
    values = [argument & (2**64 - 1) for argument in arguments] + [0] * (6 - len(arguments))
    data = struct.pack("=IIQ6Q", number, convention, 0, *values)
    instructions = list(struct.iter_unpack("=HBBI", program))
    at, accumulator = 0, 0
    while True:
        code, if_true, if_false, value = instructions[at]
        at += 1
        if code == 0x06:
            assert isinstance(value, int)
            return value
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        else:
            holds = {0x15: accumulator == value, 0x45: bool(accumulator & value)}[code]
            at += if_true if holds else if_false


def test_another_machine_has_no_filter() -> None:
    with pytest.raises(KeyError, match="pdp11"):
        filter_program("pdp11", 1, 5)


def test_the_numbers_are_those_of_this_machine() -> None:
    """Every call of the table is known to the kernel under its number: none of them is "not implemented"."""
    calls = {**FREE_CALLS, "close": CLOSE}
    assert len({numbers[0] for numbers in calls.values()}) == len(calls)
    assert len({numbers[1] for numbers in calls.values()}) == len(calls)
    header = Path("/usr/include/asm-generic/unistd.h")
    if not header.exists():
        pytest.skip("the kernel's headers are not installed")
    words = [line.split() for line in header.read_text().splitlines() if line.startswith("#define __NR")]
    known = {parts[1].removeprefix("__NR3264_").removeprefix("__NR_"): parts[2] for parts in words if len(parts) > 2}
    assert {name: known.get(name) for name in calls} == {name: str(numbers[1]) for name, numbers in calls.items()}
