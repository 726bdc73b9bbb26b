#!/usr/bin/env python3
"""Label videos over HTTP, with a web page: one process tree on this machine, or an application on a cluster."""

# No `from __future__ import annotations` here: Ray Serve reads the annotation of `app` as a class, not as text.
import sys
from pathlib import Path
from typing import Any

# Started as a file, Python puts jobs/ on the path; the packages are one folder up.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.runtime import cli, serve
from jobs.runtime.serve_config import ServeArgs


def app(args: ServeArgs) -> Any:
    """Build the application: ``serve run jobs.serve:app model=DIR``, or ``serve deploy cluster/serve.yaml``."""
    return serve.application(args)


def main(argv: list[str] | None = None) -> int:
    """Run the endpoint here until it is stopped, and return the exit code."""
    return cli.run(argv, __doc__ or "", serve.ARGUMENTS, serve.serve_videos)


if __name__ == "__main__":
    sys.exit(main())
