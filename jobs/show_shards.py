#!/usr/bin/env python3
"""Show what is in training shards: sizes, classes, and clips with their motion and labels."""

from __future__ import annotations

import sys
from pathlib import Path

# Started as a file, Python puts jobs/ on the path; the packages are one folder up.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.runtime import cli, show_shards


def main(argv: list[str] | None = None) -> int:
    """Run the job and return its exit code."""
    return cli.run(argv, __doc__ or "", show_shards.ARGUMENTS, show_shards.show_shards)


if __name__ == "__main__":
    sys.exit(main())
