"""What formats are told."""

from __future__ import annotations

from tests.helpers.exporting import about


def test_names_and_paths_of_classes() -> None:
    told = about()
    assert (told.name("run"), told.path("run")) == ("Running", ("sport", "run"))
    assert (told.name("gone"), told.path("gone")) == ("gone", ("gone",))
    assert [node.id for node in told.nodes] == ["sport", "news", "run", "jump", "studio"]


def test_without_a_tree_ids_are_all_there_is() -> None:
    told = about(None)
    assert (told.name("run"), told.path("run"), told.nodes) == ("run", ("run",), ())
