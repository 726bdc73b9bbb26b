"""Splits keep units whole, classes spread and old splits as they were, whatever the order of the rows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import ConfigError, ManifestError
from pipelines.splits import NO_LABEL, Gap, SplitConfig, SplitPlan, assign_splits

ROOT = Path(__file__).resolve().parents[2]
Row = dict[str, Any]
THREE = {"train": 0.8, "val": 0.1, "test": 0.1}
SHARES = st.sampled_from([THREE, {"train": 1.0}, {"learn": 0.5, "hold": 0.5}, {"a": 0.3, "b": 0.3, "c": 0.3, "d": 0.1}])


def row(video_id: str, *labels: str, **changes: Any) -> Row:
    return {"video_id": video_id, "labels": [*labels], "segments": None} | {
        name: changes.get(name) for name in ("split", "group", "sha256")
    }


def corpora(max_labels: int, splits: tuple[str | None, ...] = (None,)) -> st.SearchStrategy[list[Row]]:
    """Make manifests whose videos are joined in chains, of few classes; what is given never divides a unit."""
    labels = st.lists(st.sampled_from("abcde"), max_size=max_labels, unique=True)
    places = st.sampled_from([None, None, "1", "2", "3", "4"])
    one = st.tuples(labels, places, places)

    def rows_of(found: list[tuple[list[str], str | None, str | None]], salt: int, given: list[str | None]) -> list[Row]:
        rows = [row(f"{salt}-{i}", *names, group=g, sha256=h) for i, (names, g, h) in enumerate(found)]
        for number, unit in enumerate(units_of(rows)):
            for member in unit:
                member["split"] = given[number % len(given)]
        return rows

    return st.builds(
        rows_of,
        st.lists(one, min_size=1, max_size=30),
        st.integers(0, 10**6),
        st.lists(st.sampled_from(splits), min_size=1, max_size=7),
    )


def units_of(rows: list[Row]) -> list[list[Row]]:
    """Join rows the plain way: take one, then all that share something with what is taken."""
    left, units = list(rows), []
    while left:
        unit = [left.pop()]
        for taken in unit:  # grows while it is walked
            bound = [r for r in left if any(r[name] and r[name] == taken[name] for name in ("group", "sha256"))]
            left = [r for r in left if r not in bound]
            unit += bound
        units.append(unit)
    return units


def split_units(rows: list[Row], plan: SplitPlan) -> list[tuple[list[Row], str]]:
    """Return each unit with its split; fails where a unit is in two."""
    found = []
    for unit in units_of(rows):
        (split,) = {plan.split_of[r["video_id"]] for r in unit}
        found.append((unit, split))
    return found


@settings(deadline=None, max_examples=60)
@given(corpora(3, (None, None, "train", "val", "elsewhere")), SHARES, st.integers(0, 3), st.integers(2, 12))
def test_every_video_has_one_split_and_no_unit_two(
    rows: list[Row], shares: dict[str, float], seed: int, cover: int
) -> None:
    plan = assign_splits(rows, SplitConfig(shares=shares, seed=seed, cover_units=cover))
    units = split_units(rows, plan)
    assert set(plan.split_of) == {r["video_id"] for r in rows}
    assert (plan.num_units, plan.largest_unit) == (len(units), max(len(unit) for unit, _ in units))
    for r in rows:
        split = plan.split_of[r["video_id"]]
        assert split == r["split"] if r["split"] else split in shares
    assert plan.num_given == sum(r["split"] is not None for r in rows)
    assert sum(plan.sizes().values()) == len(rows)
    counted = Counter((label, plan.split_of[r["video_id"]]) for r in rows for label in r["labels"] or [NO_LABEL])
    assert {(label, name): n for label, found in plan.counts.items() for name, n in found.items() if n} == counted


@settings(deadline=None, max_examples=40)
@given(corpora(3, (None, "train")), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(rows: list[Row], dice: Any) -> None:
    plan = assign_splits(rows, SplitConfig())
    shuffled = [r | {"labels": dice.sample(r["labels"], len(r["labels"]))} for r in rows]
    dice.shuffle(shuffled)
    assert assign_splits(shuffled, SplitConfig()) == plan


@settings(deadline=None, max_examples=60)
@given(corpora(3), SHARES, st.integers(0, 3))
def test_shares_are_met_within_the_largest_unit(rows: list[Row], shares: dict[str, float], seed: int) -> None:
    """Without units that had to cover a class, no split is over its share by a whole unit."""
    plan = assign_splits(rows, SplitConfig(shares=shares, seed=seed, cover_units=1000))
    assert plan.num_forced == 0
    for name, share in shares.items():
        over = plan.sizes().get(name, 0) - share * len(rows)
        assert -(len(shares) - 1) * plan.largest_unit <= over <= plan.largest_unit


@settings(deadline=None, max_examples=60)
@given(corpora(1), st.integers(2, 12), st.integers(0, 3))
def test_a_class_of_enough_units_is_in_every_split(rows: list[Row], cover: int, seed: int) -> None:
    """Where no unit carries two classes, that is always possible."""
    rows = [r for unit in units_of(rows) if len({*map(tuple, (r["labels"] for r in unit))}) == 1 for r in unit]
    plan = assign_splits(rows, SplitConfig(cover_units=cover, seed=seed))
    units = split_units(rows, plan)
    for label in {label for r in rows for label in r["labels"]}:
        where = [split for unit, split in units if label in unit[0]["labels"]]
        if len(where) >= max(cover, len(THREE)):
            assert set(where) == set(THREE)


@settings(deadline=None, max_examples=60)
@given(corpora(3, (None, None, "train", "test", "elsewhere")), st.integers(2, 12))
def test_gaps_name_exactly_the_classes_that_a_split_lacks(rows: list[Row], cover: int) -> None:
    plan = assign_splits(rows, SplitConfig(cover_units=cover))
    expected = {}
    for label in sorted({label for r in rows for label in r["labels"]}):
        where = [split for unit, split in split_units(rows, plan) if any(label in r["labels"] for r in unit)]
        if not set(THREE) <= set(where):
            expected[label] = (len(where), tuple(name for name in ("train", "test", "val") if name not in where))
    assert {gap.label: (gap.num_units, gap.missing) for gap in plan.gaps} == expected


@settings(deadline=None, max_examples=40)
@given(corpora(2), corpora(2))
def test_a_corpus_that_grows_keeps_its_splits(old: list[Row], new: list[Row]) -> None:
    """New videos may join old units, but not two old ones: those could be in two splits already."""
    before = assign_splits(old, SplitConfig()).split_of
    kept = [r | {"split": before[r["video_id"]]} for r in old]
    places = {r["group"]: r["group"] for r in old}
    more = [r | {"video_id": f"new {i}", "group": places.get(r["group"]), "sha256": None} for i, r in enumerate(new)]
    after = assign_splits([*more, *kept], SplitConfig()).split_of
    assert {video_id: split for video_id, split in after.items() if video_id in before} == before
    again = assign_splits([r | {"split": after[r["video_id"]]} for r in [*more, *kept]], SplitConfig())
    assert again.split_of == after


def test_splits_never_change() -> None:
    # Fixed for ever: another answer would move videos between training and test.
    rows = [row(f"v{i}", "ab"[i % 2]) for i in range(24)]
    plan = assign_splits(rows, SplitConfig())
    assert {name: sorted(v for v, s in plan.split_of.items() if s == name) for name in ("test", "val")} == FOR_EVER
    assert plan.sizes() == {"test": 3, "train": 19, "val": 2}
    assert assign_splits(rows, SplitConfig(seed=1)).split_of != plan.split_of


FOR_EVER = {"test": ["v1", "v20", "v3"], "val": ["v15", "v2"]}


def test_every_process_divides_alike() -> None:
    """Sets of labels come in another order in each process."""
    code = (
        "from tests.pipelines.test_splits import SplitConfig, assign_splits, row\n"
        "rows = [row(f'v{i}', *{f'c{i % 7}', f'd{i * i % 5}', f'e{i % 3}'}, group=str(i % 90)) for i in range(200)]\n"
        "print(assign_splits(rows, SplitConfig()))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1
    assert "'v199'" in outputs.pop()


def test_many_small_classes_are_divided_together() -> None:
    """Three videos are too few for 0.8, 0.1 and 0.1 of a class, but 300 classes of them can be divided so."""
    plan = assign_splits([row(f"v{i}", f"c{i % 300}") for i in range(900)], SplitConfig())
    assert plan.sizes() == {"test": 90, "train": 720, "val": 90}
    assert all(found["train"] for found in plan.counts.values())
    assert {gap.reason for gap in plan.gaps} == {"fewer than split.cover_units (10) units"}
    one_each = assign_splits([row(f"v{i}", f"c{i % 300}") for i in range(900)], SplitConfig(cover_units=3))
    assert one_each.gaps == []
    assert one_each.sizes() == {"test": 300, "train": 300, "val": 300}


def test_classes_that_cannot_be_everywhere_say_why() -> None:
    rows = [row("1", "two"), row("2", "two"), *(row(f"g{i}", "given", split="test") for i in range(12))]
    assert assign_splits(rows, SplitConfig()).gaps == [
        Gap("given", 12, ("train", "val"), "given splits, or other labels of the same videos, left none"),
        Gap("two", 2, ("test", "val"), "2 units for 3 splits"),
    ]


def test_labels_of_segments_count_and_videos_without_any_are_divided_too() -> None:
    segment = {"label": "run", "start_s": 0.0, "end_s": 1.0}
    rows = [row(f"r{i}", "run") for i in range(5)] + [row(f"s{i}") | {"segments": [segment]} for i in range(5)]
    rows += [row(f"n{i}") | {"labels": None} for i in range(10)]
    plan = assign_splits(rows, SplitConfig())
    assert plan.counts == {NO_LABEL: {"test": 1, "train": 8, "val": 1}, "run": {"test": 1, "train": 8, "val": 1}}
    assert plan.gaps == []


def test_contents_are_joined_whatever_the_case_of_their_hash() -> None:
    rows = [row(str(i), sha256=["aB", "Ab", ""][i % 3]) for i in range(9)]
    plan = assign_splits(rows, SplitConfig())
    assert (plan.num_units, plan.largest_unit) == (4, 6)


def test_given_splits_that_divide_a_unit_are_all_named() -> None:
    rows = [
        row("a", group="g", split="train"),
        row("b", group="g", sha256="x"),
        row("c", sha256="x", split="test"),
        row("d", group="h", split="val"),
        row("e", group="h", split="train"),
        row("f", group="h", split="train"),
    ]
    with pytest.raises(ManifestError) as raised:
        assign_splits(rows, SplitConfig())
    assert raised.value.problems == [
        "3 videos of one group or content were given different splits: 'c' to 'test', 'a' to 'train'",
        "3 videos of one group or content were given different splits: 'e' to 'train', 'd' to 'val'",
    ]
    split_units(rows, assign_splits(rows, SplitConfig(keeps_given=False)))
    many = [row(f"{i}{name}", group=str(i), split=name) for i in range(33) for name in ("x", "y")]
    with pytest.raises(ManifestError) as raised:
        assign_splits(many, SplitConfig())
    assert len(raised.value.problems) == 31
    assert raised.value.problems[-1] == "… and 3 more"


def test_no_rows_are_no_problem() -> None:
    plan = assign_splits([], SplitConfig())
    assert (plan.split_of, plan.counts, plan.largest_unit, plan.gaps) == ({}, {}, 0, [])


def test_settings_that_cannot_be_are_refused_together() -> None:
    with pytest.raises(ConfigError) as raised:
        SplitConfig(shares={"a": 0.0, "b": 1.5, "": 0.2}, cover_units=1)
    assert raised.value.problems == [
        "split.cover_units: got 1, must be ≥ 2",
        "split.shares.a: got 0.0, must be > 0 and ≤ 1",
        "split.shares.b: got 1.5, must be > 0 and ≤ 1",
        "split.shares: a split needs a name",
    ]
    with pytest.raises(ConfigError, match=r"^split\.shares: got \{'a': 0\.5\}, must be 1 together, not 0\.5$"):
        SplitConfig(shares={"a": 0.5})
    with pytest.raises(ConfigError, match=r"^split\.shares: got \{\}, must be 1 together, not 0$"):
        SplitConfig(shares={})
