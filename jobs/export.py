#!/usr/bin/env python3
"""Write the labels of a run for other tools: ActivityNet, FiftyOne, Label Studio, CSV, JSONL, WebVTT, Rekognition."""

from __future__ import annotations

import sys
from pathlib import Path

# Started as a file, Python puts jobs/ on the path; the packages are one folder up.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.runtime import cli, export


def main(argv: list[str] | None = None) -> int:
    """Run the job and return its exit code."""
    return cli.run(argv, __doc__ or "", export.ARGUMENTS, export.export)


if __name__ == "__main__":
    sys.exit(main())
