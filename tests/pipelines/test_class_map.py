"""The classes of public sets: complete lists, every one mapped or said not to be, and found by any usual spelling."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import ConfigError
from fal_model.open_fal_500 import open_fal_500
from pipelines.class_map import (
    CERTAIN,
    ClassMap,
    Relation,
    SourceClass,
    load_class_map,
    normal_form,
    open_fal_500_of,
    set_names,
)

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = {
    "kinetics-400": 400,
    "kinetics-700": 700,
    "something-something-v2": 174,
    "ucf-101": 101,
    "hmdb-51": 51,
    "activitynet-200": 200,
    "charades": 157,
    "moments-in-time-v1": 339,
    "moments-in-time-v2": 305,
    "rekognition-moderation": 52,
    "rekognition-categories": 40,
    "google-video-intelligence": 1,
}
STRICT_SETS = tuple(PUBLISHED)[:7]
"""Sets whose classes are told apart by one activity of people each."""
HOMONYMS = {"punch"}
"""UCF-101 shows boxing by this name, HMDB-51 any blow."""


def table(name: str) -> list[dict[str, str]]:
    with (ROOT / "pipelines" / "data" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def certain(source: SourceClass) -> tuple[str, ...]:
    return source.nodes(*CERTAIN)


def ancestors(node: str) -> set[str]:
    tree = open_fal_500()
    return set(tree.path(tree.index(node))[:-1])


def reach() -> dict[str, list[int]]:
    """Return, of each set, its classes and how many are same, certain of a leaf, of a group, broader, related, none."""
    tree = open_fal_500()
    leaves = {tree.nodes[i].id for i in tree.leaves}
    found = {}
    for name in set_names():
        best = Counter(_best(source, leaves) for source in load_class_map(name).classes)
        kinds = ("same", "leaf", "group", "broader", "related", "none")
        found[name] = [best.total(), *(best[kind] for kind in kinds)]
    return found


def _best(source: SourceClass, leaves: set[str]) -> str:
    if source.nodes(Relation.SAME):
        return "same"
    if certain(source):
        return "leaf" if leaves & set(certain(source)) else "group"
    return next((r.value for r in (Relation.BROADER, Relation.RELATED) if source.nodes(r)), "none")


def leaf_coverage() -> tuple[set[str], set[str], dict[str, list[str]]]:
    """Return the leaves a public class is certain of, those that are candidates only, and the others by domain."""
    tree = open_fal_500()
    sources = [source for name in set_names() for source in load_class_map(name).classes]
    sure = {node for source in sources for node in certain(source)}
    named = {node for source in sources for node, _ in source.links}
    leaves = [(tree.path(i)[0], tree.nodes[i].id) for i in tree.leaves]
    bare: dict[str, list[str]] = {}
    for domain, leaf in leaves:
        if leaf not in named:
            bare.setdefault(domain, []).append(leaf)
    ids = {leaf for _, leaf in leaves}
    return ids & sure, ids & (named - sure), bare


def test_every_promised_set_is_there_with_as_many_classes_as_it_published() -> None:
    assert {name: len(load_class_map(name).classes) for name in set_names()} == PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_class_is_listed_twice_under_any_spelling(name: str) -> None:
    forms = Counter(normal_form(c.name) for c in load_class_map(name).classes)
    assert [form for form, n in forms.items() if n > 1 or not form] == []
    ids = Counter(c.id for c in load_class_map(name).classes if c.id)
    assert len(ids) in {0, PUBLISHED[name]}
    assert set(ids.values()) <= {1}


def test_the_second_edition_of_moments_in_time_only_left_classes_out() -> None:
    first, second = (load_class_map(f"moments-in-time-v{n}").classes for n in (1, 2))
    kept = {c.name for c in second}
    assert [c for c in first if c.name in kept] == list(second)


def test_every_class_has_its_rows_in_the_map_in_the_order_of_the_lists() -> None:
    listed = [(row["set"], row["source_class"]) for row in table("class_lists.csv")]
    mapped = dict.fromkeys((row["set"], row["source_class"]) for row in table("class_map.csv"))
    assert list(mapped) == listed


def test_rows_of_the_map_are_well_formed() -> None:
    rows = table("class_map.csv")
    tree = open_fal_500()
    assert set(rows[0]) == {"set", "source_class", "open_fal_500", "relation"}
    assert [row for row in rows if row["relation"] not in set(Relation)] == []
    assert [row for row in rows if (row["relation"] == "none") != (row["open_fal_500"] == "")] == []
    assert [row for row in rows if row["open_fal_500"] and row["open_fal_500"] not in tree] == []


def test_a_class_without_counterpart_has_no_other_row_and_no_row_is_repeated() -> None:
    rows = table("class_map.csv")
    per_class = Counter((row["set"], row["source_class"]) for row in rows)
    nothing = [row for row in rows if row["relation"] == "none"]
    assert [row for row in nothing if per_class[row["set"], row["source_class"]] > 1] == []
    links = Counter((row["set"], row["source_class"], row["open_fal_500"]) for row in rows)
    assert [link for link, n in links.items() if n > 1] == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_relations_of_a_class_do_not_contradict_the_tree(name: str) -> None:
    wrong = []
    for source in load_class_map(name).classes:
        implied = set().union(*(ancestors(node) for node in certain(source)))
        wrong += [(source.name, node) for node, _ in source.links if node in implied]
        if source.nodes(Relation.SAME) and len(certain(source)) > 1:
            below = [node for node in certain(source) if set(source.nodes(Relation.SAME)) & ancestors(node)]
            wrong += [(source.name, node) for node in below]
    assert wrong == []


def test_a_name_that_two_sets_share_means_the_same_in_both() -> None:
    meanings: dict[str, set[tuple[str, ...]]] = {}
    for source in (s for name in STRICT_SETS for s in load_class_map(name).classes):
        meanings.setdefault(normal_form(source.name), set()).add(certain(source))
    assert {form for form, found in meanings.items() if len(found) > 1} == HOMONYMS


def test_a_verb_of_moments_in_time_claims_no_more_than_its_namesake_elsewhere() -> None:
    # Its verbs hold for animals and things too, so they may say less than a class of the same name, never more.
    verbs = {normal_form(c.name): certain(c) for c in load_class_map("moments-in-time-v1").classes}
    wrong = []
    for source in (s for name in STRICT_SETS for s in load_class_map(name).classes):
        implied = set(certain(source)).union(*(ancestors(node) for node in certain(source)))
        wrong += [(source.name, node) for node in verbs.get(normal_form(source.name), ()) if node not in implied]
    assert wrong == []


@pytest.mark.parametrize("name", PUBLISHED)
@given(data=st.data())
@settings(deadline=None, max_examples=30)
def test_any_spelling_finds_the_class(name: str, data: st.DataObject) -> None:
    class_map = load_class_map(name)
    source = data.draw(st.sampled_from(class_map.classes))
    words = re.split(r"[\s_+/-]+", source.name)
    joined = data.draw(st.sampled_from([" ", "_", "-", "+", "  "])).join(words)
    spelt = data.draw(st.sampled_from([joined, joined.upper(), joined.title(), f" {joined} ", source.name]))
    assert class_map.find(spelt) is source


@pytest.mark.parametrize(
    ("name", "spelt", "published"),
    [
        ("kinetics-400", "riding_a_bike", "riding a bike"),
        ("kinetics-400", "skiing not slalom or crosscountry", "skiing (not slalom or crosscountry)"),
        ("kinetics-700", "massaging_persons_head", "massaging person's head"),
        ("ucf-101", "v_HandStandPushups"[2:], "HandstandPushups"),
        ("ucf-101", "Apply Eye Makeup", "ApplyEyeMakeup"),
        ("ucf-101", "101", "YoYo"),
        ("hmdb-51", "ride bike", "ride_bike"),
        ("something-something-v2", "Putting [something] into [something]", "Putting something into something"),
        ("something-something-v2", "Stacking [number of] [something]", "Stacking number of something"),
        ("something-something-v2", "0", "Approaching something with your camera"),
        ("charades", "c092", "Watching/Looking outside of a window"),
        ("charades", "C106", "Drinking from a cup/glass/bottle"),
        ("activitynet-200", "Hitting a piñata", "Hitting a pinata"),
        ("moments-in-time-v1", "adult female singing", "adult+female+singing"),
    ],
)
def test_spellings_of_real_annotation_files(name: str, spelt: str, published: str) -> None:
    assert load_class_map(name).find(spelt).name == published


def test_labels_are_the_certain_nodes_only() -> None:
    source = SourceClass("x", "", (("a", Relation.BROADER), ("b", Relation.SAME), ("c", Relation.NARROWER)))
    assert certain(source) == ("b", "c")
    assert source.nodes(Relation.BROADER, Relation.RELATED) == ("a",)
    for name in PUBLISHED:
        for found in load_class_map(name).classes:
            expected = tuple(node for node, relation in found.links if relation in CERTAIN)
            assert open_fal_500_of(name, found.name) == expected


def test_an_unknown_set_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="class map: no set 'kinetics-600'; the sets are kinetics-400, kinetics-700,"):
        ClassMap("kinetics-600")


def test_an_unknown_class_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="ucf-101 has no class 'HighJmp'; nearest are 'HighJump'"):
        open_fal_500_of("ucf-101", "HighJmp")


def test_a_class_like_none_gets_no_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"charades has no class 'qqqq'$"):
        open_fal_500_of("charades", "qqqq")


def test_the_page_gives_the_figures_of_the_tables() -> None:
    page = (ROOT / "docs" / "class-map.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:3] == "| `"]
    assert {row[0].strip("`"): [int(cell) for cell in row[2:]] for row in rows if len(row) == 9} == reach()
    covered, candidates, bare = leaf_coverage()
    counts = [int(n) for n in re.findall(r"<!-- (?:covered|candidates|uncovered) -->(\d+)", page)]
    assert counts == [len(covered), len(candidates), sum(map(len, bare.values()))]
    assert {row[0].strip("`"): row[1].split(", ") for row in rows if len(row) == 2} == bare
    assert sum(counts) == 500


def test_most_of_the_sets_of_actions_reach_the_tree() -> None:
    shares = {name: sum(cells[1:4]) / cells[0] for name, cells in reach().items()}
    assert min(shares[name] for name in ("kinetics-400", "kinetics-700", "ucf-101", "activitynet-200")) > 0.85
    assert shares["something-something-v2"] > 0.95
    assert len(leaf_coverage()[0]) > 300
