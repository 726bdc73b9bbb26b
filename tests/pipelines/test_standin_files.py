"""Files of the stand-in corpus: complete, reproducible, readable, and the broken ones broken as promised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fal_model.errors import VideoError
from fal_model.spec import ClipSpec
from pipelines.clips import prepare_clips
from pipelines.limits import DecodeLimits
from pipelines.standin import ENCODINGS, StandinVideo, plan_corpus
from pipelines.standin_files import manifest_row, write_broken_files, write_corpus, write_video_file


def short_plan(num_videos: int, split: str = "train") -> list[StandinVideo]:
    """Plan videos and keep two seconds of each, which suffices for tests of files."""
    return [replace(v, num_frames=2 * v.fps, events=v.events[:1]) for v in plan_corpus(num_videos, 0, split)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(("codec", "suffix"), ENCODINGS)
def test_every_encoding_is_read_back_as_planned(tmp_path: Path, codec: str, suffix: str) -> None:
    video = replace(short_plan(1)[0], codec=codec, suffix=suffix, keyframe_interval=8)

    path = write_video_file(video, tmp_path)

    with path.open("rb") as source:
        info, clips = prepare_clips(source, ClipSpec(size_px=32, flow_size_px=8), DecodeLimits())
        clip = next(clips)
    assert (info.width_px, info.height_px, info.num_frames) == (video.width_px, video.height_px, video.num_frames)
    assert info.mean_fps == pytest.approx(video.fps, rel=0.01)
    assert info.duration_s == pytest.approx(video.duration_s, abs=0.01)
    assert clip.num_substituted == 0


def test_same_seed_gives_the_same_bytes_and_another_split_others(tmp_path: Path) -> None:
    for name, split in (("a", "train"), ("b", "train"), ("c", "val")):
        write_corpus(tmp_path / name, short_plan(6, split))

    first, again, other = (contents(tmp_path / name) for name in "abc")
    assert first == again
    assert not set(first) & set(other)
    assert not set(first.values()) & set(other.values())


def test_corpus_comes_with_its_truth(tmp_path: Path) -> None:
    plan = plan_corpus(4, 0, "train")
    shown: list[str] = []

    rows = write_corpus(tmp_path / "new" / "corpus", plan, on_video=lambda video: shown.append(video.video_id))

    assert [row["video_id"] for row in rows] == shown == [video.video_id for video in plan]
    assert set(contents(tmp_path / "new" / "corpus")) == {row["uri"] for row in rows}
    row, video = rows[3], plan[3]
    assert row["labels"] == [segment["label"] for segment in row["segments"]] == list(video.labels)
    assert row["segments"][1] == {
        "label": video.events[1].label,
        "start_s": video.events[1].start_s,
        "end_s": video.events[1].end_s,
    }
    assert (row["split"], row["duration_s"]) == ("train", video.duration_s)
    assert row == manifest_row(video)


def test_an_interrupted_corpus_is_completed(tmp_path: Path) -> None:
    plan = short_plan(3)
    write_corpus(tmp_path / "whole", plan)
    interrupted = tmp_path / "interrupted"
    interrupted.mkdir()
    kept = write_video_file(plan[0], interrupted)
    changed_ns = kept.stat().st_mtime_ns
    (interrupted / f".part-{plan[1].filename}").write_bytes(b"half a video")

    write_corpus(interrupted, plan)

    assert kept.stat().st_mtime_ns == changed_ns
    assert contents(interrupted) == contents(tmp_path / "whole")


def test_broken_files_fail_as_promised(tmp_path: Path) -> None:
    expected = write_broken_files(tmp_path / "broken")

    found = {}
    for name in expected:
        with (tmp_path / "broken" / name).open("rb") as source, pytest.raises(VideoError) as caught:
            list(prepare_clips(source, ClipSpec(size_px=32, flow_size_px=8), DecodeLimits())[1])
        found[name] = caught.value.kind
    assert found == expected
    assert set(contents(tmp_path / "broken")) == set(expected)
    assert len(set(expected.values())) >= 6


def test_broken_files_are_reproducible_and_those_that_are_there_are_kept(tmp_path: Path) -> None:
    for name in "ab":
        write_broken_files(tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")

    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    (tmp_path / "a" / "empty.mp4").unlink()
    write_broken_files(tmp_path / "a")
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    assert {name for name in before if after[name] != before[name]} <= {"empty.mp4"}
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
