"""Processes below one are found; others, the process itself included, are left alone."""

from __future__ import annotations

import os
import subprocess
import sys

from bench.processes import commands_below, own_pids, pids_below

CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()', sys.argv[1]])"


def test_children_and_theirs_are_found_by_a_word() -> None:
    word = f"fal-test-{os.getpid()}"
    with subprocess.Popen([sys.executable, "-c", CHILD, word], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()  # the grandchild is there
        found = own_pids(word)
        assert len(found) == 2
        assert child.pid in found
        (grandchild,) = set(found) - {child.pid}
        assert pids_below(child.pid, word) == [grandchild]
        assert os.getpid() not in commands_below(os.getpid())
        assert pids_below(grandchild, "") == []
        child.communicate(b"\n")
    assert own_pids(word) == []
