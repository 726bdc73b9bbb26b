import json

from hypothesis import given, settings

from fal_model.taxonomy import Taxonomy
from tests.helpers.trees import trees


@given(trees())
@settings(deadline=None, max_examples=50)
def test_any_tree_is_in_order(taxonomy: Taxonomy) -> None:
    assert list(taxonomy.levels) == sorted(taxonomy.levels)
    assert all(parent < i for i, parent in enumerate(taxonomy.parents))
    assert all(len(taxonomy.path(i)) == taxonomy.levels[i] + 1 for i in range(len(taxonomy)))
    assert Taxonomy.from_dict(json.loads(json.dumps(taxonomy.to_dict()))).nodes == taxonomy.nodes
