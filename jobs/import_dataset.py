#!/usr/bin/env python3
"""Turn the annotation files of a public or own data set into a manifest."""

from __future__ import annotations

import sys
from pathlib import Path

# Started as a file, Python puts jobs/ on the path; the packages are one folder up.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.runtime import cli, import_dataset


def main(argv: list[str] | None = None) -> int:
    """Run the job and return its exit code."""
    return cli.run(argv, __doc__ or "", import_dataset.ARGUMENTS, import_dataset.import_dataset)


if __name__ == "__main__":
    sys.exit(main())
