import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fal_model.open_fal_500 import open_fal_500
from fal_model.taxonomy import Node, Taxonomy
from pipelines import class_map
from pipelines.class_map import Relation
from pipelines.taxonomy_page import Link, Links, main, page_of, public_links, render
from tests.helpers.browser import drawn_by_script

ROOT = Path(__file__).resolve().parents[2]
ATTACK = '"><script>document.documentElement.dataset.pwned = 1</script><img src=x onerror=alert(1)>'
SMALL = Taxonomy(
    [
        Node("move", "Moves", definition="Something moves."),
        Node("be", "Is", definition="Something is there."),
        Node("run", "Running", "move", "A person runs.", "motion", ("walk", "gone")),
        Node("walk", "Walking", "move", "A person walks.", "motion", ("run",)),
        Node("lake", "Café by a lake", "be", "Still water.", "scene"),
        Node("bin", "Bin", "be", "A bin.", "object"),
    ]
)
LINKS: Links = {
    "run": {"some-set": [Link("jogging slowly", Relation.NARROWER), Link("run", Relation.SAME)]},
    "be": {"other-set": [Link("existing", Relation.RELATED)]},
}


class Page(HTMLParser):
    """The classes on a page: leaves in order, those that are hidden, branches that are open; addresses and words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.leaves: list[str] = []
        self.hidden: set[str] = set()
        self.open_groups: set[str] = set()
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self._group, self._is_code = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.addresses += [str(values[name]) for name in ("src", "href", "action") if name in values]
        self.handlers += [name for name in values if name.startswith("on") or name == "style"]
        label = str(values.get("id", "")).removeprefix("class-")
        if tag == "li" and "leaf" in str(values.get("class")).split():
            self.leaves.append(label)
            self.hidden |= {label} if "hidden" in values else set()
        elif tag == "li" and "group" in str(values.get("class")).split():
            self._group = label
        elif tag == "details" and "class" not in values and "open" in values:
            self.open_groups.add(self._group)
        self._is_code = tag in {"script", "style"}

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the parser calls it so
        self._is_code = False

    def handle_data(self, data: str) -> None:
        self.words += [] if self._is_code else data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def shown(self) -> set[str]:
        return set(self.leaves) - self.hidden


def data_of(text: str) -> Any:
    """Return what the page's script adds to the classes."""
    found = re.search(r'<script type="application/json" id="more">(.*?)</script>', text)
    assert found
    return json.loads(found[1])


# ---- what the page holds ------------------------------------------------------------------------------------------


def test_the_committed_page_is_what_the_files_make() -> None:
    committed = (ROOT / "docs" / "taxonomy.html").read_text(encoding="utf-8")
    hint = "make it anew: .venv/bin/python -m pipelines.taxonomy_page --output docs/taxonomy.html"
    assert committed == page_of("open-fal-500"), hint


def test_every_leaf_is_on_the_page_once() -> None:
    page = Page(page_of("open-fal-500"))
    taxonomy = open_fal_500()
    assert len(page.leaves) == 500
    assert set(page.leaves) == {taxonomy.nodes[i].id for i in taxonomy.leaves}


def test_every_link_of_the_page_leads_to_a_class() -> None:
    text = page_of("open-fal-500")
    targets = set(re.findall(r' id="([^"]+)"', text))
    inside = {address[1:] for address in Page(text).addresses if address.startswith("#")}
    assert len(inside) >= 500
    assert inside <= targets
    more = data_of(text)
    neighbours = {other for others in more["like"].values() for other in others}
    assert len(neighbours) > 100
    assert {f"class-{label}" for label in {*more["like"], *neighbours, *more["links"]}} <= targets


def test_the_page_needs_no_other_file_and_no_network() -> None:
    text = page_of("open-fal-500")
    page = Page(text)
    assert {address for address in page.addresses if not address.startswith("#")} == {"taxonomy.md"}
    assert page.handlers == []
    assert set(page.tags) & {"img", "link", "iframe", "object"} == set()
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|sendBeacon|import\(", text)
    assert "default-src &#39;none&#39;; img-src" in text


def test_counts_definitions_and_neighbours_are_shown() -> None:
    text = Page(render(SMALL, "Small")).text
    assert "4 leaf classes 2 groups, 2 at the top 2 levels 2 told by motion 1 told by the scene 1 told by an" in text
    assert "Running run motion A person runs. Walking walk motion" in text
    assert "version" not in text


def test_neighbours_that_are_not_in_the_tree_are_left_out() -> None:
    assert data_of(render(SMALL, "Small"))["like"] == {"run": ["walk"], "walk": ["run"]}


def test_public_classes_are_shown_with_their_relation() -> None:
    page = render(SMALL, "Small", "3.1", {**LINKS, "stranger": {"some-set": [Link("far away", Relation.SAME)]}})
    more = data_of(page)
    assert more["links"] == {"run": [[1, "1jogging slowly", "0run"]], "be": [[0, "3existing"]]}
    assert more["sets"] == ["other-set", "some-set"]
    assert [(more["signs"][i], more["meanings"][i]) for i in (0, 1, 3)] == [
        ("=", "the same"),
        ("⊂", "a part of this"),
        ("~", "meets this in some videos"),
    ]
    assert "Public class lists: other-set, some-set." in Page(page).text
    assert "Small version 3.1" in Page(page).text


def test_the_page_stays_light() -> None:
    assert len(page_of("open-fal-500").encode()) <= 300_000


def test_the_public_classes_are_those_of_the_map() -> None:
    links = public_links()
    assert set(links) <= {node.id for node in open_fal_500().nodes}
    for name in class_map.set_names():
        linked = {c.name for c in class_map.load_class_map(name).classes if c.links}
        assert {link.name for by_set in links.values() for link in by_set.get(name, ())} == linked


def test_a_tree_of_strangers_is_only_text() -> None:
    hostile = Taxonomy([Node(ATTACK, ATTACK, None, ATTACK, ATTACK, ()), Node("b", "B", None, "", "", (ATTACK,))])
    page = Page(render(hostile, ATTACK))
    assert page.tags.count("script") == 2  # the data and the program
    assert page.handlers == []
    assert page.text.count("onerror=alert(1)>") == 6  # two titles, name, id, kind and definition


def test_a_tree_without_kinds_has_no_filter_for_them() -> None:
    page = Page(render(Taxonomy([Node("a", "Alpha"), Node("b", "Beta")]), "Plain"))
    assert page.leaves == ["a", "b"]
    assert "told by" not in page.text


# ---- the command --------------------------------------------------------------------------------------------------


def test_the_command_writes_the_page_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.csv").write_text("id,name\na,Alpha\nb,Beta\n", encoding="utf-8")
    target = tmp_path / "own.html"
    assert main([str(tmp_path / "own.csv"), "--output", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    assert "own.csv 2 leaf classes" in Page(target.read_text(encoding="utf-8")).text


def test_what_is_no_tree_is_said_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.csv").write_text("id,parent\na,z\n", encoding="utf-8")
    assert main([str(tmp_path / "own.csv"), "--output", str(tmp_path / "own.html")]) == 2
    assert capsys.readouterr().err == "taxonomy: 'a' has the unknown parent 'z'\n"
    assert not (tmp_path / "own.html").exists()


# ---- in a real browser --------------------------------------------------------------------------------------------


def opened(page: Path, address: str = "") -> Page:
    """Open the page, let its script finish, and return what is then on it; complaints of the browser are errors."""
    return Page(drawn_by_script(f"{page.as_uri()}{address}", page.parent / "browser"))


@pytest.mark.slow
def test_browser_finds_classes_by_all_that_is_written_about_them(tmp_path: Path) -> None:
    path = tmp_path / "small.html"
    path.write_text(render(SMALL, ATTACK, "1", LINKS), encoding="utf-8")
    found = opened(path, "#q=CAFE%20water")
    assert (found.shown, found.open_groups) == ({"lake"}, {"be"})
    assert "1 of 4 classes fold all" in found.text
    assert opened(path, "#q=moves%20jogging").shown == {"run"}  # by its group and its public class
    assert opened(path, "#q=existing").shown == {"lake", "bin"}  # by that of their group


@pytest.mark.slow
def test_browser_shows_neighbours_and_public_classes(tmp_path: Path) -> None:
    path = tmp_path / "small.html"
    path.write_text(render(SMALL, "Small", "3.1", LINKS), encoding="utf-8")
    found = opened(path)
    assert "Easily taken for Walking 2 public classes some-set ⊂ jogging slowly = run Walking" in found.text
    assert "Is be Something is there. 2 1 public class other-set ~ existing" in found.text
    assert "#class-walk" in found.addresses


@pytest.mark.slow
def test_browser_takes_a_tree_of_strangers_for_text(tmp_path: Path) -> None:
    hostile = Taxonomy([Node(ATTACK, ATTACK, None, ATTACK, ATTACK, ()), Node("b", "B", None, "", "", (ATTACK,))])
    path = tmp_path / "hostile.html"
    path.write_text(render(hostile, ATTACK, links={"b": {ATTACK: [Link(ATTACK, Relation.SAME)]}}), encoding="utf-8")
    found = opened(path)  # which looks that nothing has run
    assert found.handlers == []
    assert f"Easily taken for {ATTACK} 1 public class {ATTACK} = {ATTACK}" in found.text


@pytest.mark.slow
def test_browser_unfolds_what_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page_of("open-fal-500"), encoding="utf-8")
    page = opened(tmp_path / "page.html", "#class-basketball_dunk")
    assert page.open_groups == {"sports", "team_ball_sports", "basketball"}
    assert page.hidden == set()
    assert "500 classes unfold all" in page.text
