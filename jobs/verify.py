#!/usr/bin/env python3
"""Make rows of labels again from the video and the model: the same, or what is another than it was?"""

from __future__ import annotations

import sys
from pathlib import Path

# Started as a file, Python puts jobs/ on the path; the packages are one folder up.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.runtime import cli, verify


def main(argv: list[str] | None = None) -> int:
    """Run the job and return its exit code."""
    return cli.run(argv, __doc__ or "", verify.ARGUMENTS, verify.verify)


if __name__ == "__main__":
    sys.exit(main())
