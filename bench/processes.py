"""Which processes are ours: what is killed or measured must never be somebody else's work on the same machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def commands_below(pid: int) -> dict[int, str]:
    """Return the command lines of all processes that a process has started, and of those that these have, by id."""
    parents = dict(_parents())
    found: dict[int, str] = {}
    for candidate in parents:
        if pid in _ancestors(candidate, parents):
            with suppress(OSError):
                found[candidate] = Path(f"/proc/{candidate}/cmdline").read_bytes().decode(errors="replace")
    return found


def pids_below(pid: int, word: str) -> list[int]:
    """Return those processes below another whose command line holds a word; Ray writes the class of an actor there."""
    return sorted(found for found, command in commands_below(pid).items() if word in command)


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The name stands in brackets and may itself hold spaces and brackets; state and parent follow.
            stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
            yield int(folder.name), int(stat.rpartition(")")[2].split()[1])


def _ancestors(pid: int, parents: dict[int, int]) -> set[int]:
    above: set[int] = set()
    while (pid := parents.get(pid, 0)) > 0 and pid not in above:
        above.add(pid)
    return above


def own_pids(word: str) -> list[int]:
    """Return the processes below this one whose command line holds a word."""
    return pids_below(os.getpid(), word)
