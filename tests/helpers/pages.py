"""Read our pages as a browser would, and open them in a real one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest


class Page(HTMLParser):
    """What a browser would make of the page: elements, visible text, addresses and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.scripts: dict[str, str] = {}
        self._script = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.addresses += [str(values[n]) for n in ("src", "href", "action", "data", "poster") if n in values]
        self.handlers += [name for name in values if name.startswith("on") or name == "style"]
        self._script = (values.get("id") or "main") if tag == "script" else "style" if tag == "style" else ""

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        else:
            self.words += data.split()

    def handle_endtag(self, tag: str) -> None:
        self._script = "" if tag in {"script", "style"} else self._script

    @property
    def text(self) -> str:
        return " ".join(self.words)


def page_of(uri: str) -> Page:
    return Page(Path(uri).read_text(encoding="utf-8"))


def browser() -> str:
    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    if not found:
        reason = "needs chromium, chromium-browser or google-chrome to open the report"
        if os.environ.get("CI"):
            pytest.fail(f"CI {reason}")
        pytest.skip(reason)
    return found[0]


def opened(uri: str, tmp_path: Path, address: str = "") -> Page:
    """Open the page, let its script finish, and return what is then on it; complaints of the browser are errors."""
    flags = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--enable-logging=stderr", "--virtual-time-budget=3000", f"--user-data-dir={tmp_path / 'browser'}"),
    ]
    done = subprocess.run(
        [browser(), *flags, "--dump-dom", f"{Path(uri).as_uri()}{address}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    opening = re.search(r"<html[^>]*>", done.stdout)
    assert opening
    assert "data-error" not in opening.group()
    assert "data-pwned" not in opening.group()
    assert "data-ready" in opening.group()
    return Page(done.stdout)
