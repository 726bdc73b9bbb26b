import json
import subprocess
import sys
from pathlib import Path

import pytest

from fal_model.open_fal_500 import open_fal_500
from fal_model.taxonomy import Node, Taxonomy
from pipelines.taxonomy_lint import lint, main, summary

TEXTS = (
    "Water falls over rock.",
    "A bird flies.",
    "Two people shake hands.",
    "A tractor ploughs a field.",
    "Snow melts.",
)


def clean_tree() -> list[Node]:
    return [
        Node("a", "Alpha", None, TEXTS[0]),
        Node("b", "Beta", None, TEXTS[1]),
        Node("a1", "One", "a", TEXTS[2], "motion", ("a2",)),
        Node("a2", "Two", "a", TEXTS[3], "scene", ("a1",)),
        Node("b1", "One", "b", TEXTS[4], "object"),
        Node("b2", "Two", "b", "A lamp is lit.", "object"),
    ]


def changed(**nodes: Node) -> list[Node]:
    return [nodes.get(node.id, node) for node in clean_tree()]


def test_a_clean_tree_has_no_problems() -> None:
    assert lint(clean_tree()) == []


def test_the_shipped_tree_is_clean() -> None:
    assert lint(open_fal_500().nodes) == []


@pytest.mark.parametrize(
    ("nodes", "problem"),
    [
        ([], "taxonomy: no classes"),
        ([*clean_tree(), Node("a1", "Three", "b", "Ice.", "scene")], "taxonomy: id 'a1' is used more than once"),
        (changed(b1=Node("b1", "One", "z", TEXTS[4], "object")), "taxonomy: 'b1' has the unknown parent 'z'"),
        (
            changed(b=Node("b", "Beta", "b1", TEXTS[1]), b2=Node("b2", "Two", "a", "A lamp is lit.", "object")),
            "taxonomy: 'b' is its own ancestor",
        ),
        (
            changed(b1=Node("B 1", "One", "b", TEXTS[4], "object")),
            "id 'B 1': should be lower-case letters and digits, ",
        ),
        (
            changed(b2=Node("b2", " one", "b", "A lamp is lit.", "object")),
            "name 'one': is that of several siblings, ['b1'",
        ),
        (changed(b1=Node("b1", "One", "b", " ", "object")), "'b1': has no definition"),
        (
            changed(b1=Node("b1", "One", "b", "Two people - shake HANDS", "object")),
            "'a1' and 'b1': their definitions say nearly the same",
        ),
        (
            changed(b1=Node("b1", "One", "b", TEXTS[4], "smell")),
            "'b1': kind 'smell' is not one of motion, scene, object",
        ),
        (changed(b1=Node("b1", "One", "b", TEXTS[4])), "kind: given for some leaves, not for ['b1']"),
        (changed(b1=Node("b1", "One", "b", TEXTS[4], "object", ("zz",))), "'b1': names the unknown 'zz' as confusable"),
        (changed(b1=Node("b1", "One", "b", TEXTS[4], "object", ("b1",))), "'b1': names itself as confusable"),
        (
            changed(b1=Node("b1", "One", "b", TEXTS[4], "object", ("a1",))),
            "'b1': names 'a1' as confusable, but not the other way round",
        ),
        (
            changed(a1=Node("a1", "One", "a", TEXTS[2], "motion", ("a2", "a2"))),
            "'a1': names 'a2' as confusable 2 times",
        ),
        (
            changed(b2=Node("b2", "Two", "a", "A lamp is lit.", "object")),
            "group 'b': has one child, 'b1'; a group is for",
        ),
    ],
)
def test_what_is_wrong_is_said(nodes: list[Node], problem: str) -> None:
    assert [p for p in lint(nodes) if p.startswith(problem)], lint(nodes)


def test_levels_that_are_uneven_or_mixed() -> None:
    deep = [
        Node("b3", "Three", "b", "Rain on a roof."),
        Node("c", "Gamma", "b3", "A saw cuts wood.", "motion"),
        Node("d", "Delta", "b3", "Paint dries."),
        Node("e", "Epsilon", "d", "Bread rises.", "motion"),
        Node("f", "Phi", "d", "Wool is spun.", "motion"),
    ]
    assert lint([*clean_tree(), *deep]) == [
        "levels: leaves lie on level 1 to 3, at most 1 apart is even; on 1: ['a1', 'a2', 'b1', 'b2']",
        "group 'b': holds groups, ['b3'], beside leaves; levels should be clear",
        "group 'b3': holds groups, ['d'], beside leaves; levels should be clear",
    ]


def test_every_problem_is_listed_at_once() -> None:
    found = lint([Node("a", "A"), Node("a", "A"), Node("b", "B", "z")])
    assert len([p for p in found if p.startswith("taxonomy: ")]) == 2
    assert len([p for p in found if p.endswith("has no definition")]) == 3


def test_the_summary_counts() -> None:
    assert summary(Taxonomy(clean_tree())).startswith(
        "4 leaves (1 motion, 1 scene, 2 object), 2 groups, 2 levels, taxonomy_id "
    )
    assert summary(Taxonomy([Node("a", "A")])).startswith("1 leaves, 0 groups, 1 levels, ")


def test_the_command_says_that_nothing_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["open-fal-500"]) == 0
    assert capsys.readouterr().out.startswith("open-fal-500: nothing wrong; 500 leaves (")


def test_the_command_lists_what_no_loader_takes_and_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.json"
    path.write_text(
        json.dumps({"nodes": [{"id": "a", "colour": 1, "definition": "Rain."}, {"id": "b", "parent": "z"}]})
    )
    assert main([str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0] == "taxonomy.nodes[0].colour: unknown field; allowed: id, name, parent, definition, kind, confusable"
    )
    assert lines[1:] == [
        "taxonomy: 'b' has the unknown parent 'z'",
        "'b': has no definition",
        f"{path}: 3 problems",
    ]


def test_a_file_of_another_shape_has_one_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("- a\n- b\n")
    assert main([str(path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "taxonomy: expected a mapping with a list 'nodes'",
        f"{path}: 1 problem",
    ]


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipelines.taxonomy_lint", str(tmp_path / "t.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"taxonomy: no file at '{tmp_path / 't.csv'}'\n"
