"""Open pages in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def drawn(address: str, profile: Path) -> tuple[str, str]:
    """Open a page, let its script finish, and return its elements as they are then, and what the browser says.

    Without a browser the test is skipped, and in CI it fails.
    """
    found = [path for name in NAMES if (path := shutil.which(name))]
    if not found:
        reason = f"needs {', '.join(NAMES)} to open a page"
        if os.environ.get("CI"):
            pytest.fail(f"CI {reason}")
        pytest.skip(reason)
    flags = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--enable-logging=stderr", "--virtual-time-budget=3000", f"--user-data-dir={profile}"),
    ]
    command = [found[0], *flags, "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def drawn_by_script(address: str, profile: Path) -> str:
    """Open a page whose script says that it is ready, and return its elements; complaints are errors."""
    elements, said = drawn(address, profile)
    assert "CONSOLE" not in said, said
    opening = re.search(r"<html[^>]*>", elements)
    assert opening
    assert "data-error" not in opening.group()
    assert "data-pwned" not in opening.group()
    assert "data-ready" in opening.group()
    return elements
