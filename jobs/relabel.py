#!/usr/bin/env python3
"""Label a corpus again from its predictions: other thresholds, calibration or classes; opens no video."""

from __future__ import annotations

import sys
from pathlib import Path

# Started as a file, Python puts jobs/ on the path; the packages are one folder up.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.runtime import cli, relabel


def main(argv: list[str] | None = None) -> int:
    """Run the job and return its exit code."""
    return cli.run(argv, __doc__ or "", relabel.ARGUMENTS, relabel.relabel)


if __name__ == "__main__":
    sys.exit(main())
