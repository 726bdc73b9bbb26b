#!/usr/bin/env python3
"""Fit classes of your own to the embeddings of a labelling run; opens no video. Apply them with relabel --head."""

from __future__ import annotations

import sys
from pathlib import Path

# Started as a file, Python puts jobs/ on the path; the packages are one folder up.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.runtime import cli, fit_head


def main(argv: list[str] | None = None) -> int:
    """Run the job and return its exit code."""
    return cli.run(argv, __doc__ or "", fit_head.ARGUMENTS, fit_head.fit_head)


if __name__ == "__main__":
    sys.exit(main())
