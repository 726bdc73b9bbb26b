"""The plan of the stand-in corpus: counts, balance, truth, formats, and splits that share nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import ConfigError
from pipelines import standin
from pipelines.standin import SPLITS, StandinCorpus, StandinVideo
from pipelines.standin_classes import choose_classes
from pipelines.standin_difficulty import SMALL, Difficulty, difficulty_numbers, picture_numbers

CORPORA = st.builds(
    StandinCorpus,
    classes=st.integers(2, 500),
    videos_per_class=st.integers(1, 40),
    seed=st.integers(0, 2**31),
    difficulty=st.sampled_from(("easy", "crowded", "standard", "hard")),
    picture=st.sampled_from(("tiny", "small", "medium")),
)
PLAIN = StandinCorpus(classes=16, videos_per_class=50)


def some(corpus: StandinCorpus, count: int, split: str = "train") -> list[StandinVideo]:
    return [corpus.video(split, index) for index in range(count)]


@pytest.mark.parametrize(
    ("videos_per_class", "counts"),
    [
        (1, (1, 0, 0)),
        (2, (1, 0, 1)),
        (3, (1, 1, 1)),
        (4, (2, 1, 1)),
        (10, (8, 1, 1)),
        (15, (11, 2, 2)),
        (50, (40, 5, 5)),
    ],
)
def test_every_class_has_its_share_of_every_split(videos_per_class: int, counts: tuple[int, int, int]) -> None:
    corpus = StandinCorpus(classes=7, videos_per_class=videos_per_class)

    assert tuple(corpus.count(split) for split in SPLITS) == tuple(7 * n for n in counts)
    assert [len(corpus.videos(split)) for split in SPLITS] == [corpus.count(split) for split in SPLITS]


@settings(deadline=None, max_examples=10)
@given(CORPORA, st.integers(1, 3))
def test_any_beginning_of_a_split_is_balanced(corpus: StandinCorpus, num_blocks: int) -> None:
    single = replace(corpus, difficulty="easy")  # its videos with one event show what they are made for
    count = single.classes * num_blocks - single.classes // 2
    made_for = Counter(v.labels[0] for v in some(single, count) if len(v.events) == 1)
    assert max(made_for.values()) <= num_blocks

    shown = {label for video in some(corpus, corpus.classes) for label in video.labels}
    assert shown == set(choose_classes(corpus.classes))


def test_all_events_together_are_nearly_balanced() -> None:
    counts = Counter(label for video in some(PLAIN, 640) for label in video.labels)

    assert set(counts) == set(choose_classes(16))
    assert min(counts.values()) >= 40
    assert max(counts.values()) <= 65


@settings(deadline=None, max_examples=30)
@given(CORPORA, st.sampled_from(SPLITS), st.integers(0, 10_000))
def test_truth_lies_inside_the_video(corpus: StandinCorpus, split: str, index: int) -> None:
    video = corpus.video(split, index)
    numbers, picture = difficulty_numbers(corpus.difficulty), picture_numbers(corpus.picture)

    assert 1 <= len(set(video.labels)) == len(video.labels) <= max(numbers.num_events)
    assert set(video.labels) <= set(choose_classes(corpus.classes))
    starts = [event.start_s for event in video.events]
    assert starts == sorted(starts)
    for event in video.events:
        assert 0 <= event.start_s < event.end_s <= video.duration_s
        assert event.end_s - event.start_s >= 0.3 * numbers.event_share[0] * video.duration_s
    assert video.duration_s >= 0.99 * picture.length_s[0]
    assert video.width_px % 2 == video.height_px % 2 == 0
    assert (video.width_px, video.height_px) in picture.sizes_px
    assert len(video.times_s) == video.num_frames
    gaps = np.diff([*video.times_s, video.duration_s]) * video.fps
    assert set(gaps.round(6)) <= ({1.0, 2.0} if video.is_variable_rate else {1.0})


def test_several_things_happen_one_after_the_other_or_at_once() -> None:
    def overlaps(difficulty: Difficulty) -> Counter[tuple[int, bool]]:
        corpus = replace(PLAIN, difficulty=difficulty)
        return Counter(
            (len(v.events), any(a.end_s > b.start_s for a, b in zip(v.events, v.events[1:], strict=False)))
            for v in some(corpus, 200)
        )

    assert overlaps("easy") == {(1, False): 175, (2, False): 25}
    crowded = overlaps("crowded")
    assert crowded[1, False] == 67
    assert crowded[2, True] >= 120
    standard = overlaps("standard")
    assert standard[1, False] == 150
    assert min(standard[2, False], standard[2, True]) >= 10
    hard = overlaps("hard")
    assert {num for num, _ in hard} == {1, 2, 3}
    assert hard[3, True] >= 10


def test_a_plan_follows_from_its_number_alone_and_a_larger_corpus_begins_with_the_smaller() -> None:
    first = some(PLAIN, 30)

    assert [PLAIN.video("train", index) for index in reversed(range(30))] == first[::-1]
    assert some(replace(PLAIN, videos_per_class=1000), 30) == first


def test_splits_and_corpora_share_no_video() -> None:
    others = [PLAIN, *(replace(PLAIN, **change) for change in (
        {"seed": 1}, {"classes": 17}, {"difficulty": "hard"}, {"picture": "tiny"}
    ))]  # fmt: skip
    plans = [some(corpus, 50, split) for corpus in others for split in SPLITS]

    assert len({video.seed for plan in plans for video in plan}) == 50 * len(plans)
    assert len({video.video_id for plan in plans for video in plan}) == 50 * len(plans)


def test_formats_vary() -> None:
    plan = some(PLAIN, 400)

    assert {(v.codec, v.suffix) for v in plan} == set(standin.ENCODINGS)
    assert {v.fps for v in plan} == set(SMALL.rates_fps)
    assert {(v.width_px, v.height_px) for v in plan} == set(SMALL.sizes_px)
    assert {v.keyframe_interval for v in plan} == set(standin.KEYFRAME_INTERVALS)
    assert Counter(v.codec for v in plan).most_common(1)[0][0] == "libx264"
    assert {v.codec for v in plan if v.is_variable_rate} == {standin.VARIABLE_RATE_CODEC}
    assert not any(v.is_variable_rate for v in some(replace(PLAIN, difficulty="easy"), 100))
    assert sum(standin.ENCODING_SHARES) == pytest.approx(1)


def test_a_corpus_lists_every_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        StandinCorpus(classes=1, videos_per_class=0, seed=-1, difficulty="brutal", picture="vast")  # type: ignore[arg-type]  # that is the test

    assert caught.value.problems == [
        "classes: got 1, must be 2 to 500",
        "videos_per_class: got 0, must be ≥ 1",
        "seed: got -1, must be ≥ 0",
        "difficulty: got 'brutal', must be one of easy, crowded, standard, hard",
        "picture: got 'vast', must be one of tiny, small, medium",
    ]


def test_a_generator_follows_from_its_key() -> None:
    first, again, other = (standin.rng_of(*key).random(4) for key in (("a", 1), ("a", 1), ("a", 2)))

    assert (first == again).all()
    assert (first != other).all()
