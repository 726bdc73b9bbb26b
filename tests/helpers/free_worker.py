"""A decoding process on a machine for which there is no filter of system calls; started in place of the real one."""

from __future__ import annotations

import platform
import sys

from pipelines import decode_worker

MODULE = "tests.helpers.free_worker"


if __name__ == "__main__":
    setattr(platform, "machine", lambda: "pdp11")  # noqa: B010 - mypy: a function is not assigned to
    sys.exit(decode_worker.main(sys.argv[1:]))
