import csv
import re
from collections import Counter
from importlib import resources

import pytest

from fal_model.open_fal_500 import OPEN_FAL_500, VERSION, open_fal_500
from fal_model.taxonomy import Taxonomy

DOMAINS_PROMISED = {
    "sports",
    "everyday_life",
    "work_and_industry",
    "news_and_talk",
    "action_scenes",
    "animals",
    "sensitive_content",
}
MODERATION = {
    "violence": {"fist_fight", "animal_cruelty", "robbery"},
    "weapons_and_conflict": {"gun_displayed", "gun_pointed", "blade_threat"},
    "fire_and_explosions": {"explosion", "fire_and_smoke"},
    "accidents": {"vehicle_crash", "child_in_danger"},
    "injury_and_death": {"blood_and_wounds", "dead_body"},
    "self_harm": {"self_injury", "suicide_attempt"},
    "nudity_and_sexuality": {"explicit_nudity", "nudity_non_sexual", "sexual_act"},
    "alcohol_tobacco_drugs": {"drinking_alcohol", "smoking_and_tobacco", "drug_use"},
    "gambling": {"casino_games", "gambling_stakes"},
    "hate_and_rudeness": {"hate_symbol", "rude_gesture"},
}


def leaves_below(taxonomy: Taxonomy, group: str) -> set[str]:
    return {taxonomy.nodes[i].id for i in taxonomy.leaves if group in taxonomy.path(i)[:-1]}


def file_rows() -> list[dict[str, str]]:
    file = resources.files("fal_model") / "data" / "open_fal_500.csv"
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def test_there_are_500_leaves_under_three_levels_and_more() -> None:
    taxonomy = open_fal_500()
    assert len(taxonomy.leaves) == 500
    assert {taxonomy.levels[i] for i in taxonomy.leaves} == {2, 3}


def test_each_id_is_used_once_and_speaks_for_itself() -> None:
    rows = file_rows()
    ids = [row["id"] for row in rows]
    assert len(ids) == len(set(ids)) == len(open_fal_500())
    assert [i for i in ids if not re.fullmatch(r"[a-z]+(_[a-z]+)*", i)] == []
    names = Counter(row["name"].casefold() for row in rows)
    assert [name for name, count in names.items() if count > 1] == []


def test_the_structure_is_the_released_one() -> None:
    # Ids, parents and their order decide what the outputs of a model mean. Whoever changes them on purpose makes a
    # new version: first VERSION, then these two lines.
    assert VERSION == "1.0"
    assert open_fal_500().taxonomy_id == "9538702773a108b3"


def test_the_tree_is_made_once() -> None:
    assert open_fal_500() is open_fal_500()
    assert OPEN_FAL_500 == "open-fal-500"


def test_the_file_is_read_from_top_to_bottom_as_the_tree_is() -> None:
    # Children follow their parent, so that a person can read the file.
    open_path: list[str] = []
    for row in file_rows():
        while open_path and open_path[-1] != row["parent"]:
            open_path.pop()
        assert open_path or not row["parent"], row["id"]
        open_path.append(row["id"])


def test_every_class_is_defined_in_one_line() -> None:
    for row in file_rows():
        assert row["definition"].endswith("."), row["id"]
        assert 10 <= len(row["definition"]) <= 130, row["id"]


def test_no_domain_outweighs_the_others() -> None:
    taxonomy = open_fal_500()
    domains = [node.id for node in taxonomy.nodes if node.parent is None]
    shares = {domain: len(leaves_below(taxonomy, domain)) / 500 for domain in domains}
    assert set(domains) >= DOMAINS_PROMISED
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares.values()) <= 0.15
    assert min(shares.values()) >= 0.02


def test_motion_scenes_and_objects_all_have_their_part() -> None:
    taxonomy = open_fal_500()
    leaves = [taxonomy.nodes[i] for i in taxonomy.leaves]
    kinds = Counter(leaf.kind for leaf in leaves)
    assert set(kinds) == {"motion", "scene", "object"}
    assert min(kinds.values()) >= 100
    assert max(kinds.values()) <= 225
    assert all(not node.kind and not node.confusable for node in taxonomy.nodes if node not in leaves)


@pytest.mark.parametrize(("group", "some"), MODERATION.items())
def test_moderation_has_its_branches(group: str, some: set[str]) -> None:
    taxonomy = open_fal_500()
    assert some <= leaves_below(taxonomy, group) <= leaves_below(taxonomy, "sensitive_content")


def test_directed_motion_has_its_mirror_image() -> None:
    taxonomy = open_fal_500()
    for one, other in [
        ("pushing_left_to_right", "pushing_right_to_left"),
        ("pulling_left_to_right", "pulling_right_to_left"),
        ("opening_a_door", "closing_a_door"),
        ("standing_up", "sitting_down"),
        ("plane_takeoff", "plane_landing"),
    ]:
        assert other in taxonomy.nodes[taxonomy.index(one)].confusable


def test_most_leaves_say_what_they_are_taken_for() -> None:
    taxonomy = open_fal_500()
    said = [taxonomy.nodes[i].confusable for i in taxonomy.leaves]
    assert sum(map(bool, said)) >= 450
    leaves = {taxonomy.nodes[i].id for i in taxonomy.leaves}
    assert {other for others in said for other in others} <= leaves
