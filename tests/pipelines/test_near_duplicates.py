"""The search for like videos finds just what comparing each with each finds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import near_duplicates
from pipelines.near_duplicates import LikeVideos, like_videos

Corpus = list[list[int]]
BITS = 63


def packed(corpus: Corpus) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    owners = [number for number, video in enumerate(corpus) for _ in video]
    hashes = [picture for video in corpus for picture in video]
    return np.array(hashes, np.uint64), np.array(owners, np.int64)


def search(corpus: Corpus, max_distance: int = 6, min_share: float = 0.25) -> list[LikeVideos]:
    return like_videos(*packed(corpus), max_distance, min_share)


def by_comparing_all(corpus: Corpus, max_distance: int, min_share: float) -> list[tuple[int, int, int]]:
    found = []
    for second, theirs in enumerate(corpus):
        for first, ours in enumerate(corpus[:second]):
            like = [[(a ^ b).bit_count() <= max_distance for b in theirs] for a in ours]
            matches = min(sum(map(any, like)), sum(map(any, zip(*like, strict=True))))
            fewer = min(len(ours), len(theirs))
            if matches and matches >= min(2, fewer) and matches >= min_share * fewer:
                found.append((first, second, matches))
    return sorted(found)


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    """Draw videos whose pictures are a few scenes, each with some bits turned."""
    scenes = draw(st.lists(st.integers(0, 2**BITS - 1), min_size=1, max_size=4))
    picture = st.tuples(st.sampled_from(scenes), st.lists(st.integers(0, BITS - 1), max_size=5))
    videos = draw(st.lists(st.lists(picture, max_size=6), max_size=9))
    return [[scene ^ sum({1 << bit for bit in turned}) for scene, turned in video] for video in videos]


@given(corpora(), st.integers(0, 6), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
@settings(deadline=None, max_examples=60)
def test_it_finds_what_comparing_all_finds(corpus: Corpus, max_distance: int, min_share: float) -> None:
    found = [(pair.first, pair.second, pair.num_matches) for pair in search(corpus, max_distance, min_share)]
    assert found == by_comparing_all(corpus, max_distance, min_share)


@given(st.integers(0, 2**BITS - 1), st.sets(st.integers(0, BITS - 1), min_size=6, max_size=6))
@settings(deadline=None, max_examples=60)
def test_six_bits_anywhere_are_found_and_seven_are_not(value: int, turned: set[int]) -> None:
    other = value ^ sum(1 << bit for bit in turned)
    further = other ^ (1 << min(set(range(BITS)) - turned))
    assert search([[value], [other]]) == [LikeVideos(0, 1, 1, 6.0)]
    assert search([[value], [further]]) == []


def test_one_picture_in_common_is_not_enough_where_there_are_more() -> None:
    title, scenes = 0x123456789ABCDEF, [1 << 5, 0x7F << 40, 0x3FF << 20, 0x1FF << 50]
    assert search([[title, *scenes[:2]], [title, *scenes[2:]]]) == []
    assert search([[title], [title, *scenes]]) == [LikeVideos(0, 1, 1, 0.0)]
    assert search([[title, scenes[0]], [title, scenes[0], scenes[1]]]) == [LikeVideos(0, 1, 2, 0.0)]


def test_the_share_counts_in_the_video_that_has_fewer_pictures() -> None:
    pictures = [number * 0x0F1F2F3F4F5F6F7 % 2**BITS for number in range(1, 17)]
    full, part, other = pictures[:8], pictures[:3], [*pictures[:2], *pictures[8:14]]
    assert [(p.first, p.second, p.num_matches) for p in search([full, part, other], 0, 0.5)] == [(0, 1, 3), (1, 2, 2)]


def test_a_picture_that_very_many_videos_share_is_looked_at_in_turn() -> None:
    # All pairs of this many would be millions; each is compared with the next, which is enough to join them.
    count = 2_000
    pairs = search([[7, 7 << 30] for _ in range(count)])
    assert len(pairs) < 64 * 64 + count
    assert {(n, n + 1) for n in range(count - 1)} <= {(p.first, p.second) for p in pairs}


def test_more_than_fits_into_memory_at_a_time_is_searched_whole() -> None:
    # Twelve crowds that agree in three blocks each: more comparisons than one chunk holds.
    random, crowd, num_crowds = np.random.default_rng(3), 700, 12
    hashes = random.integers(0, 2**42, crowd * num_crowds, dtype=np.uint64) << np.uint64(21)
    hashes ^= np.repeat(np.arange(num_crowds, dtype=np.uint64), crowd) * np.uint64(0b1010101010101)
    hashes[::7] = hashes[3::7] ^ np.uint64(0b1011 << 30)
    assert num_crowds * crowd**2 / 2 > near_duplicates.CHUNK
    pairs = like_videos(hashes, np.arange(len(hashes)), 6, 0.25)
    assert [(p.first, p.second) for p in pairs] == [
        (first, first + 1 + int(later))
        for first, value in enumerate(hashes)
        for later in np.flatnonzero(np.bitwise_count(hashes[first + 1 :] ^ value) <= 6)
    ]
    assert {(n, n + 3) for n in range(0, len(hashes), 7)} <= {(p.first, p.second) for p in pairs}


def test_nothing_is_like_nothing() -> None:
    assert search([]) == []
    assert search([[], []]) == []


def test_a_distance_that_could_miss_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="got max_distance 7, must be 0 to 6"):
        search([[1], [2]], 7)
