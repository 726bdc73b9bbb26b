"""The plan of the stand-in corpus: classes, balance, truth, scenes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.errors import ConfigError
from pipelines import standin
from pipelines.standin import leaf_labels, plan_corpus, sample_scene, standin_taxonomy, track

MOTIONS = {motion.id: motion for motion in standin.MOTIONS}
REVERSED = [("moves_left", "moves_right"), ("rises_then_falls", "falls_then_rises")]


def test_taxonomy_has_every_appearance_with_every_motion_below_it() -> None:
    taxonomy = standin_taxonomy()

    assert [taxonomy.nodes[i].id for i in taxonomy.leaves] == leaf_labels()
    assert len(leaf_labels()) == 16
    assert taxonomy.path(taxonomy.index("disc.moves_left")) == ["disc", "disc.moves_left"]
    assert Counter(taxonomy.levels) == {0: 4, 1: 16}
    assert len({node.definition for node in taxonomy.nodes}) == 20
    assert all(node.definition.endswith(".") for node in taxonomy.nodes)


@pytest.mark.parametrize(("first", "second"), REVERSED)
def test_paired_motions_pass_the_same_places_in_reversed_order(first: str, second: str) -> None:
    progress_T = np.linspace(0, 1, 101)

    there, back = track(MOTIONS[first], progress_T), track(MOTIONS[second], progress_T)

    np.testing.assert_allclose(there, back[::-1], atol=1e-12)
    assert np.abs(there - back).max() > 0.5


def test_track_has_constant_speed_and_rests_outside_the_event() -> None:
    places = track(MOTIONS["rises_then_falls"], np.array([-1.0, 0.0, 0.25, 0.5, 0.75, 1.0, 2.0]))

    np.testing.assert_allclose(places[:, 1], [0, 0, -0.5, 0, 0.5, 0, 0], atol=1e-12)
    np.testing.assert_array_equal(places[:, 0], 0)


def test_every_motion_belongs_to_a_reversed_pair() -> None:
    # A motion without its mirror in time could be told by a single picture.
    assert {name for pair in REVERSED for name in pair} == set(MOTIONS)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.integers(1, 6))
def test_first_events_are_balanced_in_every_block(seed: int, num_blocks: int) -> None:
    plan = plan_corpus(16 * num_blocks, seed, "train")

    assert Counter(video.labels[0] for video in plan) == dict.fromkeys(leaf_labels(), num_blocks)


def test_all_events_together_are_nearly_balanced() -> None:
    counts = Counter(label for video in plan_corpus(320, 0, "train") for label in video.labels)

    assert sum(counts.values()) == 400
    assert min(counts.values()) >= 20
    assert max(counts.values()) <= 30


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.integers(0, 40))
def test_truth_lies_inside_the_video(seed: int, num_videos: int) -> None:
    for video in plan_corpus(num_videos, seed, "val"):
        ends = [0.0, *(t for event in video.events for t in (event.start_s, event.end_s)), video.duration_s]
        assert ends == sorted(ends)
        assert len(set(video.labels)) == len(video.labels) == (1 if video.duration_s < 7 else 2)
        assert set(video.labels) <= set(leaf_labels())
        assert sum(event.end_s - event.start_s for event in video.events) >= 0.6 * video.duration_s
        assert video.width_px % 2 == video.height_px % 2 == 0


def test_every_fourth_video_is_long_with_two_events() -> None:
    plan = plan_corpus(40, 3, "train")

    assert [len(video.events) for video in plan] == [1, 1, 1, 2] * 10
    assert all(8 <= video.duration_s <= 16.1 for video in plan[3::4])
    assert all(1.9 <= video.duration_s <= 6.1 for video in plan if len(video.events) == 1)


def test_plan_is_reproducible_and_grows_at_its_end() -> None:
    assert plan_corpus(30, 5, "train") == plan_corpus(50, 5, "train")[:30]


def test_splits_and_corpora_share_no_video() -> None:
    plans = [plan_corpus(100, seed, split) for seed in (0, 1) for split in ("train", "val", "test")]

    assert len({video.seed for plan in plans for video in plan}) == 600
    assert len({video.video_id for plan in plans for video in plan}) == 600


def test_formats_vary() -> None:
    plan = plan_corpus(200, 0, "train")

    assert {(v.codec, v.suffix) for v in plan} == set(standin.ENCODINGS)
    assert {v.fps for v in plan} == set(standin.FRAME_RATES_FPS)
    assert {(v.width_px, v.height_px) for v in plan} == set(standin.SIZES_PX)
    assert {v.keyframe_interval for v in plan} == set(standin.KEYFRAME_INTERVALS)
    assert Counter(v.codec for v in plan).most_common(1)[0][0] == "libx264"


def test_plan_lists_every_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        plan_corpus(-1, 0, "a/b")

    assert caught.value.problems == [
        "num_videos: got -1, must be ≥ 0",
        "split: got 'a/b', must be letters, digits and underscores",
    ]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31))
def test_objects_are_large_go_far_and_stay_in_the_picture(seed: int) -> None:
    for video in plan_corpus(4, seed, "train"):
        scene = sample_scene(video)
        size_2 = np.array([video.width_px, video.height_px])
        for sprite, event in zip(scene.objects, video.events, strict=True):
            assert 2 * sprite.radius_px >= 0.2 * video.height_px
            travel_2 = np.ptp(sprite.xy_T2, axis=0) / size_2
            assert travel_2.max() >= 0.38  # sampled at frames, which may miss the turning point
            assert travel_2.min() == pytest.approx(0)
            assert sprite.shape == event.label.split(".")[0]
            seen_T2 = sprite.xy_T2 - scene.camera_xy_T2
            assert (seen_T2 - sprite.radius_px >= -0.01).all()
            assert (seen_T2 + sprite.radius_px <= size_2 + 0.01).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31))
def test_objects_are_seen_during_their_event_and_one_at_a_time(seed: int) -> None:
    for video in plan_corpus(4, seed, "train"):
        scene = sample_scene(video)
        times_T = np.arange(video.num_frames) / video.fps
        for sprite, event in zip(scene.objects, video.events, strict=True):
            during_T = (times_T >= event.start_s) & (times_T < event.end_s)
            assert sprite.is_visible_T[during_T].all()
            after_T2 = sprite.xy_T2[times_T >= event.end_s]
            assert (after_T2 == after_T2[-1:]).all()
        assert np.sum([sprite.is_visible_T for sprite in scene.objects], axis=0).max() == 1


def test_only_the_objects_of_the_classes_are_vivid() -> None:
    for video in plan_corpus(60, 0, "train"):
        scene = sample_scene(video)
        assert min(np.ptp(sprite.color) for sprite in scene.objects) > 30
        assert max(np.ptp(color) for color in (*scene.background, *(d.color for d in scene.distractors))) <= 51


def test_some_objects_rest_outside_their_event_and_some_are_absent() -> None:
    always = [sample_scene(v).objects[0].is_visible_T.all() for v in plan_corpus(60, 0, "train") if len(v.events) == 1]

    assert 0.5 < np.mean(always) < 0.9


def test_distractors_are_small_and_outside_the_taxonomy() -> None:
    for video in plan_corpus(20, 0, "train"):
        scene = sample_scene(video)
        assert 1 <= len(scene.distractors) <= 3
        for sprite in scene.distractors:
            assert sprite.shape in standin.DISTRACTOR_SHAPES
            assert sprite.radius_px <= 0.06 * video.height_px


def test_camera_drifts_slowly() -> None:
    for video in plan_corpus(20, 0, "train"):
        camera_T2 = sample_scene(video).camera_xy_T2
        assert np.abs(camera_T2).max() <= standin.DRIFT_SHARE * video.height_px
        assert 0 < np.abs(np.diff(camera_T2, axis=0)).max() * video.fps < 0.1 * video.height_px
