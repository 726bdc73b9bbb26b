"""Scores of other classes than a model has."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.calibration import Calibration, Scaling
from fal_model.errors import TaxonomyError
from fal_model.postprocess import path_scores
from fal_model.taxonomy import Node, Taxonomy
from pipelines.regrouping import Regrouping, read_class_map, regroup
from tests.helpers.model import TREE

# sport(ball(tennis), run), news(studio); indices 0 sport 1 news 2 ball 3 run 4 studio 5 tennis
SCORES = np.array([0.9, 0.8, 0.6, 0.5, 0.3, 0.4], np.float32)


def tree(*edges: tuple[str, str | None]) -> Taxonomy:
    return Taxonomy([Node(label, label, parent) for label, parent in edges])


def regrouped(taxonomy: Taxonomy, **class_map: str) -> Regrouping:
    found = regroup(TREE, taxonomy, class_map)
    assert found is not None
    return found


def scores_of(taxonomy: Taxonomy, **class_map: str) -> dict[str, float]:
    found = regrouped(taxonomy, **class_map).scores(SCORES)
    return {node.id: round(float(score), 4) for node, score in zip(taxonomy.nodes, found, strict=True)}


def test_other_texts_change_no_score() -> None:
    renamed = Taxonomy([Node(n.id, n.name.upper(), n.parent, "New words.") for n in TREE.nodes])
    assert regroup(TREE, renamed, {}) is None


def test_classes_are_known_by_their_ids_in_whatever_order() -> None:
    turned = Taxonomy([*TREE.nodes][::-1])
    assert scores_of(turned) == {node.id: pytest.approx(SCORES[TREE.index(node.id)]) for node in TREE.nodes}


def test_an_inner_class_of_our_own_is_as_likely_as_the_likeliest_below_it() -> None:
    found = scores_of(
        tree(("outdoor", None), ("talk", None), ("tennis", "outdoor"), ("run", "outdoor"), ("studio", "talk"))
    )
    assert found == {"outdoor": 0.5, "talk": 0.3, "tennis": 0.4, "run": 0.5, "studio": 0.3}


def test_an_inner_class_keeps_what_was_learned_of_it_if_nothing_was_moved_elsewhere() -> None:
    # Tennis is left out, which changes nothing of what a sport is.
    assert scores_of(tree(("sport", None), ("run", "sport"))) == {"sport": 0.9, "run": 0.5}
    # Running is no sport any more: what was learned of sport is not what is asked.
    moved = tree(("sport", None), ("other", None), ("tennis", "sport"), ("run", "other"))
    assert scores_of(moved) == {"sport": 0.4, "other": 0.5, "tennis": 0.4, "run": 0.5}


def test_a_class_is_at_least_as_likely_as_one_that_was_moved_below_it() -> None:
    grown = tree(("news", None), ("studio", "news"), ("sport", "news"), ("run", "sport"))
    assert scores_of(grown) == {"news": 0.9, "studio": 0.3, "sport": 0.9, "run": 0.5}


def test_a_tree_may_be_cut_so_that_inner_classes_become_leaves() -> None:
    assert scores_of(tree(("sport", None), ("ball", "sport"))) == {"sport": 0.9, "ball": 0.6}


def test_merged_and_renamed_classes_take_the_highest_score() -> None:
    merged = tree(("move", None), ("news", None))
    assert scores_of(merged, run="move", tennis="move") == {"move": 0.5, "news": 0.8}
    assert scores_of(tree(("laufen", None)), run="laufen") == {"laufen": 0.5}


def test_scores_of_many_clips_and_frames_are_taken_at_once() -> None:
    found = regrouped(tree(("move", None)), run="move", tennis="move")
    scores = np.stack([SCORES, SCORES / 2])[:, None].repeat(3, axis=1)
    assert found.scores(scores).shape == (2, 3, 1)
    assert found.scores(scores)[1, 2, 0] == 0.25


def test_the_likeliest_leaf_says_where_the_borders_are() -> None:
    found = regrouped(tree(("move", None), ("news", None)), run="move", tennis="move")
    logits = np.full((1, 2, 6), 9.0, np.float32)
    logits[0, 0, TREE.index("run")] = -9.0  # at the first frame it is tennis, at the second running
    logits[0, 1, TREE.index("tennis")] = -9.0
    offsets = np.zeros((1, 2, 3, 2), np.uint8)
    places = {TREE.nodes[leaf].id: place for place, leaf in enumerate(TREE.leaves)}
    offsets[0, :, places["run"]], offsets[0, :, places["tennis"]] = 10, 20
    scores, borders = found.frames(logits, offsets, (Scaling(),), np.array([0]))
    assert borders[0, :, 0].tolist() == [[20, 20], [10, 10]]
    whole = found.scores(path_scores(logits, TREE))
    assert np.array_equal(scores[..., 0], whole[..., 0])


# ---- thresholds ---------------------------------------------------------------------------------------------------


def fitted(**values: float) -> dict[str, float]:
    return {node.id: values.get(node.id, 0.9) for node in TREE.nodes}


def test_a_merged_class_is_listed_where_one_of_its_parts_was() -> None:
    found = regrouped(tree(("move", None)), run="move", tennis="move")
    calibration = Calibration(
        thresholds=fitted(run=0.3, tennis=0.2), frame_thresholds=fitted(run=0.6, tennis=0.7), abstain_below=0.25
    )
    new = found.calibrated(calibration)
    assert (new.thresholds, new.frame_thresholds) == ({"move": 0.2}, {"move": 0.6})
    assert (new.clip, new.abstain_below) == (calibration.clip, 0.25)


def test_an_inner_class_of_our_own_is_listed_where_a_class_below_it_is() -> None:
    found = regrouped(tree(("outdoor", None), ("tennis", "outdoor"), ("run", "outdoor")))
    new = found.calibrated(Calibration(thresholds=fitted(run=0.3, tennis=0.2)))
    assert new.thresholds == {"outdoor": 0.3, "tennis": 0.2, "run": 0.3}
    assert not new.frame_thresholds
    assert found.calibrated(Calibration()) == Calibration()


# ---- what cannot be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taxonomy", "class_map", "words"),
    [
        (tree(("run", None), ("swim", None), ("fly", None)), {}, ["nothing of 'swim'", "nothing of 'fly'"]),
        (tree(("run", None), ("jog", "run"), ("walk", "run")), {}, ["nothing of 'jog'", "nothing of 'walk'"]),
        (
            tree(("ball", None), ("other", None), ("tennis", "other")),
            {},
            ["for the model 'ball' holds 'tennis', now elsewhere: what is left is unknown"],
        ),
        (
            tree(("run", None)),
            {"rnu": "run", "tennis": "move"},
            [
                "class map: 'rnu' is no class of the model",
                "class map: 'move', to which 'tennis' is mapped, is not in the",
            ],
        ),
    ],
)
def test_all_that_does_not_follow_is_said_at_once(
    taxonomy: Taxonomy, class_map: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(TaxonomyError) as caught:
        regroup(TREE, taxonomy, class_map)
    assert len(caught.value.problems) == len(words)
    for problem, expected in zip(caught.value.problems, words, strict=True):
        assert expected in problem


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (["run"], "class map: got a list, must be a mapping of old ids to new ids"),
        ({"run": 3}, "class map.run: got 3, must be the id of a class"),
        ({7: "run"}, "class map.7: got 'run', must be the id of a class"),
        ({"run": ""}, "class map.run: got '', must be the id of a class"),
    ],
)
def test_a_map_of_another_shape_is_refused(data: object, words: str) -> None:
    with pytest.raises(TaxonomyError, match=re.escape(words)):
        read_class_map(data)


def test_a_map_is_read() -> None:
    assert read_class_map({"run": "move"}) == {"run": "move"}


# ---- invariants ---------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_no_child_is_likelier_than_its_parent_and_the_top_score_stays(data: Any) -> None:
    old = tree(*((f"c{i}", f"c{data.draw(st.integers(0, i - 1))}" if i > 2 else None) for i in range(12)))
    names = [node.id for node in old.nodes]
    leaves = [old.nodes[i].id for i in old.leaves]
    groups = [f"g{i}" for i in range(3)]
    kept = {leaf: data.draw(st.sampled_from(groups)) for leaf in leaves}
    new = tree(*((group, None) for group in groups if group in kept.values()), *kept.items())
    found = regroup(old, new, {})
    if found is None:  # as it was
        return
    dice = np.random.default_rng(data.draw(st.integers(0, 99)))
    scores = path_scores(dice.normal(size=(4, len(names))), old)
    changed = found.scores(scores)
    for index, parent in enumerate(new.parents):
        if parent >= 0:
            assert (changed[:, parent] >= changed[:, index]).all()
    assert np.array_equal(changed[:, list(new.leaves)].max(axis=1), scores[:, list(old.leaves)].max(axis=1))
