"""The dials: each step is harder than the one before in everything that makes it hard."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from pipelines.standin_difficulty import (
    CROWDED,
    EASY,
    HARD,
    MEDIUM,
    SMALL,
    STANDARD,
    TINY,
    Difficulty,
    difficulty_numbers,
    picture_numbers,
)


def test_names_give_their_numbers() -> None:
    names: tuple[Difficulty, ...] = ("easy", "crowded", "standard", "hard")
    assert [difficulty_numbers(name) for name in names] == [EASY, CROWDED, STANDARD, HARD]
    assert [picture_numbers(name) for name in ("tiny", "small", "medium")] == [TINY, SMALL, MEDIUM]


def test_every_step_is_harder() -> None:
    for easier, harder in ((EASY, STANDARD), (STANDARD, HARD)):
        for rising in ("texture", "clutter", "movers", "noise", "crf", "defocus_px", "idlers", "occluders"):
            assert sum(getattr(easier, rising)) <= sum(getattr(harder, rising)), rising
        for falling in ("contrast", "radius", "event_share", "camera_s"):
            assert sum(getattr(easier, falling)) > sum(getattr(harder, falling)), falling
        for rising in ("overlap_share", "camera", "shake", "shutter", "variable_rate_share"):
            assert getattr(easier, rising) <= getattr(harder, rising), rising
        assert easier.follow[1] < harder.follow[1]


def test_crowded_differs_from_easy_in_what_goes_on_at_once_only() -> None:
    changed = {field.name for field in fields(EASY) if getattr(EASY, field.name) != getattr(CROWDED, field.name)}
    assert changed == {"num_events", "overlap_share"}
    page = (Path(__file__).parents[2] / "docs" / "stand-in.md").read_text(encoding="utf-8")
    dials = f"`num_events` {written(CROWDED.num_events)} and `overlap_share` {written(CROWDED.overlap_share)}"
    assert f"`crowded` is `easy` with {dials}" in " ".join(page.split())


def test_only_easy_tells_the_appearance_by_its_hue() -> None:
    assert [numbers.is_hue_bound for numbers in (EASY, STANDARD, HARD)] == [True, False, False]


def test_in_standard_and_hard_the_camera_hides_which_way_things_go() -> None:
    # At 1 the object stands still in the picture, and only the background tells that it moves.
    assert [difficulty_numbers(name).follow[1] >= 1 for name in ("easy", "standard", "hard")] == [False, True, True]


def test_pictures_grow_and_every_encoder_can_write_them() -> None:
    areas = [max(w * h for w, h in numbers.sizes_px) for numbers in (TINY, SMALL, MEDIUM)]
    assert areas == sorted(areas)
    for numbers in (TINY, SMALL, MEDIUM):
        assert all(w % 2 == h % 2 == 0 and min(w, h) >= 64 for w, h in numbers.sizes_px)


def written(value: object) -> str:
    """Write a number of a difficulty as the page does."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return (" to " if len(value) == 2 else ", ").join(f"{number:g}" for number in value)
    return f"{value:g}"


def test_the_page_shows_these_numbers() -> None:
    page = (Path(__file__).parents[2] / "docs" / "stand-in.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)

    names = [field.name for field in fields(EASY)]
    assert rows == [(name, *(written(getattr(n, name)) for n in (EASY, STANDARD, HARD))) for name in names]
