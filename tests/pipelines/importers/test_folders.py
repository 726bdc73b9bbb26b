from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.importers import folders
from tests.helpers.importing import check_counts, index, rows, run, said

NAMES = st.lists(st.sampled_from(["a", "train", "val", "test", "b c", "é", " "]), max_size=3).map(
    lambda parts: "/".join([*parts, "x.mp4"])
)


def test_the_class_is_the_path_of_the_folder_and_its_parents_are_the_tree() -> None:
    names = ("ball/tennis/a.mp4", "ball/b.mp4", "news/Zoë's show/c.avi", "d.mp4", "notes.txt", "ball/list.csv")
    done = run(folders.parse(index(*names).videos), *names)
    assert rows(done) == [
        {"video_id": "ball/b.mp4", "labels": ["ball"]},
        {"video_id": "ball/tennis/a.mp4", "labels": ["ball/tennis"]},
        {"video_id": "news/Zoë's show/c.avi", "labels": ["news/Zoë's show"]},
    ]
    assert said(done.problems) == [
        ("d.mp4", "no_label", "lies in no folder whose name could be a class"),
        ("d.mp4", "unnamed_video", "no row of the annotations names this video"),
    ]
    taxonomy = done.taxonomy()
    assert taxonomy is not None
    assert [taxonomy.path(i) for i in taxonomy.leaves] == [["ball", "ball/tennis"], ["news", "news/Zoë's show"]]
    assert [n.name for n in taxonomy.nodes] == ["ball", "news", "tennis", "Zoë's show"]
    check_counts(done)


def test_folders_at_the_top_that_are_all_named_like_splits_are_splits() -> None:
    names = ("train/run/a.mp4", "Validation/run/b.mp4", "train/c.mp4")
    done = run(folders.parse(index(*names).videos), *names)
    assert rows(done) == [
        {"video_id": "Validation/run/b.mp4", "labels": ["run"], "split": "val"},
        {"video_id": "train/run/a.mp4", "labels": ["run"], "split": "train"},
    ]
    assert done.problems[0].place == "train/c.mp4"
    mixed = run(folders.parse(index("train/a.mp4", "plane/b.mp4").videos), "train/a.mp4", "plane/b.mp4")
    assert [r["labels"] for r in mixed.rows] == [["plane"], ["train"]]


@settings(deadline=None, max_examples=100)
@given(names=st.lists(NAMES, unique=True, max_size=6))
def test_any_folders_give_rows_that_add_up(names: list[str]) -> None:
    done = run(folders.parse(index(*names).videos), *names)
    check_counts(done)
    assert done.rows_merged == 0
    assert (done.taxonomy() is None) == (done.rows == [])
