#!/usr/bin/env python3
"""Divide a manifest into splits: what belongs together stays together, every class in every split."""

from __future__ import annotations

import sys
from pathlib import Path

# Started as a file, Python puts jobs/ on the path; the packages are one folder up.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.runtime import cli, split_corpus


def main(argv: list[str] | None = None) -> int:
    """Run the job and return its exit code."""
    return cli.run(argv, __doc__ or "", split_corpus.ARGUMENTS, split_corpus.split_corpus)


if __name__ == "__main__":
    sys.exit(main())
