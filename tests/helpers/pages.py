"""Read our pages as a browser would, and open them in a real one."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from tests.helpers.browser import drawn_by_script


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


def opened(uri: str, tmp_path: Path, address: str = "") -> Page:
    """Open the page, let its script finish, and return what is then on it; complaints of the browser are errors."""
    return Page(drawn_by_script(f"{Path(uri).as_uri()}{address}", tmp_path / "browser"))
