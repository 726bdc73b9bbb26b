#!/usr/bin/env python3
"""Find the labelled videos nearest to a video, to a file or to a class, by their embeddings."""

from __future__ import annotations

import sys
from pathlib import Path

# Started as a file, Python puts jobs/ on the path; the packages are one folder up.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.runtime import cli, search


def main(argv: list[str] | None = None) -> int:
    """Run the job and return its exit code."""
    return cli.run(argv, __doc__ or "", search.ARGUMENTS, search.search)


if __name__ == "__main__":
    sys.exit(main())
