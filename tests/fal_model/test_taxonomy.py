import json
from typing import Any

import pytest

from fal_model.errors import TaxonomyError
from fal_model.taxonomy import Node, Taxonomy, csv_to_dict, parse_nodes, tree_problems
from tests.helpers.micro import small_tree


def test_parents_come_first_and_order_is_kept() -> None:
    taxonomy = Taxonomy([Node("b1", "b1", "b"), Node("b", "b"), Node("a1", "a1", "a"), Node("a", "a")])
    assert [n.id for n in taxonomy.nodes] == ["b", "a", "b1", "a1"]
    assert taxonomy.parents == (-1, -1, 0, 1)


def test_levels_leaves_and_paths() -> None:
    taxonomy = small_tree()
    assert taxonomy.levels == (0, 0, 1, 1, 2, 2, 2)
    assert [taxonomy.nodes[i].id for i in taxonomy.leaves] == ["news", "tennis", "golf", "diving"]
    assert taxonomy.path(taxonomy.index("golf")) == ["sport", "ball", "golf"]
    assert taxonomy.path_indices(1) == (1,)


def test_a_tree_may_be_deeper_than_the_stack() -> None:
    chain = [Node(str(i), str(i), str(i + 1) if i < 1999 else None) for i in range(2000)]
    assert Taxonomy(chain).levels[-1] == 1999


def test_membership_and_length() -> None:
    taxonomy = small_tree()
    assert "golf" in taxonomy
    assert "chess" not in taxonomy
    assert len(taxonomy) == 7
    with pytest.raises(TaxonomyError, match="label 'chess' is not in the taxonomy of 7 classes"):
        taxonomy.index("chess")


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([], "taxonomy: no classes"),
        ([Node("", "nothing")], "taxonomy: id '' is empty"),
        ([Node("a", "a"), Node("a", "b")], "taxonomy: id 'a' is used more than once"),
        ([Node("a", "a", "z")], "taxonomy: 'a' has the unknown parent 'z'"),
        ([Node("a", "a", "b"), Node("b", "b", "a")], "taxonomy: 'a' is its own ancestor"),
        ([Node("a", "a", "a")], "taxonomy: 'a' is its own ancestor"),
    ],
)
def test_what_is_no_tree(nodes: list[Node], message: str) -> None:
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy(nodes)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "taxonomy: expected a mapping with a list 'nodes'"),
        ({"nodes": "abc"}, "taxonomy: expected a mapping with a list 'nodes'"),
        ({"nodes": [1]}, r"taxonomy.nodes\[0\]: got 1, expected a mapping"),
        ({"nodes": [{"id": " "}]}, r"taxonomy.nodes\[0\].id: got ' ', must be a non-empty text"),
        ({"nodes": [{"id": "a", "colour": 1}]}, r"taxonomy.nodes\[0\].colour: unknown field; allowed: id, name"),
        ({"nodes": [{"id": "a", "parent": ["b"]}]}, r"nodes\[0\].parent: got \['b'\], must be one id \(several"),
        ({"nodes": [{"id": "a", "confusable": "b|c"}]}, r"\[0\].confusable: got 'b\|c', must be a list of ids"),
        ({"nodes": [{"id": "a", "confusable": ["b", 1]}]}, r"\[0\].confusable: got \['b', 1\], must be a list of ids"),
    ],
)
def test_what_is_no_taxonomy_file(data: Any, message: str) -> None:
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy.from_dict(data)


def test_all_problems_are_listed() -> None:
    with pytest.raises(TaxonomyError) as caught:
        Taxonomy.from_dict({"nodes": [{"id": "a", "x": 1}, {"name": "no id"}]})
    assert len(caught.value.problems) == 2


def test_json_that_is_none() -> None:
    with pytest.raises(TaxonomyError, match="taxonomy: not JSON: Expecting"):
        Taxonomy.from_json("{nodes")


def test_csv_and_json_give_the_same_tree() -> None:
    text = "id,name,parent,definition,kind,confusable\na,Alpha,,first,,\nb,,a,,motion,c|d\nc,,a,,scene,b\n"
    taxonomy = Taxonomy.from_csv(text)
    assert taxonomy.nodes == (
        Node("a", "Alpha", None, "first"),
        Node("b", "b", "a", kind="motion", confusable=("c", "d")),
        Node("c", "c", "a", kind="scene", confusable=("b",)),
    )
    assert Taxonomy.from_json(json.dumps(taxonomy.to_dict())).nodes == taxonomy.nodes


def test_what_is_not_said_is_not_written() -> None:
    # Trees written before there were kinds and confusable classes keep their bytes, and so does what holds them.
    assert Taxonomy([Node("a", "Alpha")]).to_dict() == {
        "nodes": [{"id": "a", "name": "Alpha", "parent": None, "definition": ""}]
    }
    assert list(Taxonomy([Node("a", "Alpha", kind="scene")]).to_dict()["nodes"][0])[4:] == ["kind"]


def test_problems_can_be_read_without_raising() -> None:
    problems, nodes = parse_nodes({"nodes": [{"id": "a", "parent": "z"}, 7, {"id": "a"}]})
    assert problems == ["taxonomy.nodes[1]: got 7, expected a mapping"]
    assert [node.id for node in nodes] == ["a", "a"]
    assert tree_problems(nodes) == [
        "taxonomy: id 'a' is used more than once",
        "taxonomy: 'a' has the unknown parent 'z'",
    ]
    assert tree_problems([Node("a", "a")]) == []


def test_csv_becomes_plain_data_as_it_is() -> None:
    assert csv_to_dict("id,colour,confusable\na,red,b|c\nb,,\n") == {
        "nodes": [
            {"id": "a", "colour": "red", "confusable": ["b", "c"]},
            {"id": "b", "colour": None, "confusable": None},
        ]
    }


def test_a_csv_without_ids_is_refused() -> None:
    with pytest.raises(TaxonomyError, match=r"nodes\[0\].id: got None"):
        Taxonomy.from_csv("name,parent\nAlpha,\n")


def test_the_id_follows_structure_and_not_wording() -> None:
    base = Taxonomy([Node("a", "a"), Node("b", "b")])
    assert base.taxonomy_id == Taxonomy([Node("a", "a", kind="scene", confusable=("b",)), Node("b", "b")]).taxonomy_id
    assert base.taxonomy_id == Taxonomy([Node("a", "Alpha", definition="x"), Node("b", "Beta")]).taxonomy_id
    assert base.taxonomy_id != Taxonomy([Node("b", "b"), Node("a", "a")]).taxonomy_id
    assert base.taxonomy_id != Taxonomy([Node("a", "a"), Node("b", "b", "a")]).taxonomy_id
