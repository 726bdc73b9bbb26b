#!/usr/bin/env python3
"""Probe every video of a corpus: what is usable, what is twice there, what leaks; leaves a clean manifest."""

from __future__ import annotations

import sys
from pathlib import Path

# Started as a file, Python puts jobs/ on the path; the packages are one folder up.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.runtime import cli, scan


def main(argv: list[str] | None = None) -> int:
    """Run the job and return its exit code."""
    return cli.run(argv, __doc__ or "", scan.ARGUMENTS, scan.scan_corpus)


if __name__ == "__main__":
    sys.exit(main())
