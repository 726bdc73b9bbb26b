import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from fal_model.errors import TaxonomyError
from fal_model.taxonomy import Node, Taxonomy, numbered_taxonomy
from tests.helpers.micro import small_tree, trees


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


@given(trees())
@settings(deadline=None, max_examples=50)
def test_any_tree_is_in_order(taxonomy: Taxonomy) -> None:
    assert list(taxonomy.levels) == sorted(taxonomy.levels)
    assert all(parent < i for i, parent in enumerate(taxonomy.parents))
    assert all(len(taxonomy.path(i)) == taxonomy.levels[i] + 1 for i in range(len(taxonomy)))
    assert Taxonomy.from_dict(json.loads(json.dumps(taxonomy.to_dict()))).nodes == taxonomy.nodes


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


def test_csv_and_json_files_give_the_same_tree(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,name,parent,definition\na,Alpha,,first\nb,,a,\n", encoding="utf-8")
    taxonomy = Taxonomy.load(tmp_path / "t.csv")
    assert taxonomy.nodes == (Node("a", "Alpha", None, "first"), Node("b", "b", "a"))
    (tmp_path / "t.json").write_text(json.dumps(taxonomy.to_dict()), encoding="utf-8")
    assert Taxonomy.load(tmp_path / "t.json").nodes == taxonomy.nodes


def test_a_csv_without_ids_is_refused() -> None:
    with pytest.raises(TaxonomyError, match=r"nodes\[0\].id: got None"):
        Taxonomy.from_csv("name,parent\nAlpha,\n")


def test_the_id_follows_structure_and_not_wording() -> None:
    base = Taxonomy([Node("a", "a"), Node("b", "b")])
    assert base.taxonomy_id == Taxonomy([Node("a", "Alpha", definition="x"), Node("b", "Beta")]).taxonomy_id
    assert base.taxonomy_id != Taxonomy([Node("b", "b"), Node("a", "a")]).taxonomy_id
    assert base.taxonomy_id != Taxonomy([Node("a", "a"), Node("b", "b", "a")]).taxonomy_id


def test_numbered_classes_fill_three_levels() -> None:
    taxonomy = numbered_taxonomy(500)
    assert len(taxonomy) == 555
    assert len(taxonomy.leaves) == 500
    assert taxonomy.path(taxonomy.index("c0123")) == ["d01", "g012", "c0123"]
