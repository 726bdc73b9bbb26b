"""What belongs together becomes one group, whatever the reason."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.near_duplicates import LikeVideos
from pipelines.scan_groups import find_alike, first_with


def near(*pairs: tuple[int, int]) -> list[LikeVideos]:
    return [LikeVideos(first, second, 3, 1.0) for first, second in pairs]


def test_bytes_pictures_and_given_groups_are_joined() -> None:
    alike = find_alike("abcdefg", "xyxzuvw", near((1, 3)), [None, "two", None, None, "one", "two", None])
    assert alike.first_same.tolist() == [0, 1, 0, 3, 4, 5, 6]
    assert alike.clusters.tolist() == [0, 1, 0, 1, 4, 5, 6]
    assert alike.groups == ["like:a", "two", "like:a", "two", "one", "two", None]
    assert alike.num_joined == 0


def test_groups_that_share_videos_become_one_and_take_the_first_name() -> None:
    alike = find_alike("abcd", "wxyz", near((0, 1), (1, 2)), ["street", None, "park", "park"])
    assert alike.groups == ["park"] * 4
    assert alike.num_joined == 1
    assert alike.clusters.tolist() == [0, 0, 0, 3]


def test_a_group_of_one_keeps_its_name_and_a_video_alone_has_none() -> None:
    assert find_alike("ab", "xy", [], ["alone", None]).groups == ["alone", None]
    assert find_alike("", "", [], []).groups == []


def test_the_first_of_each_value() -> None:
    assert first_with("abacb").tolist() == [0, 1, 0, 3, 1]


@given(st.data(), st.integers(1, 14))
@settings(deadline=None, max_examples=60)
def test_videos_share_a_group_exactly_if_a_chain_joins_them(data: st.DataObject, count: int) -> None:
    number = st.integers(0, count - 1)
    links = data.draw(st.lists(st.tuples(number, number).filter(lambda p: p[0] < p[1]), max_size=10))
    given_groups = data.draw(st.lists(st.sampled_from([None, "p", "q", "r"]), min_size=count, max_size=count))
    sha256 = data.draw(st.lists(st.sampled_from("abcdefghijkl"), min_size=count, max_size=count))
    ids = [f"{i:02d}" for i in range(count)]
    groups = find_alike(ids, sha256, near(*links), given_groups).groups

    joined = {i: {i} for i in range(count)}
    same = [(i, j) for i in range(count) for j in range(i) if sha256[i] == sha256[j]]
    same += [(i, j) for i in range(count) for j in range(i) if given_groups[i] and given_groups[i] == given_groups[j]]
    for one, other in [*links, *same]:
        merged = joined[one] | joined[other]
        for member in merged:
            joined[member] = merged
    for i in range(count):
        for j in range(i):
            assert (groups[i] is not None and groups[i] == groups[j]) == (j in joined[i])
