"""Real videos through a real decoder process: batches, failures, and what happens when the decoder dies."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipelines import pixels, receipts
from pipelines.clip_batches import BatchMeta, ClipArrays
from pipelines.clips import Clip, prepare_clips
from pipelines.known import KnownFile
from pipelines.limits import DecodeLimits
from pipelines.prepare import BatchPreparer
from tests.helpers import faulty_worker
from tests.helpers.faulty_worker import fault_file
from tests.helpers.model import SPEC
from tests.helpers.video import numbered_video, read_number

LIMITS = DecodeLimits(max_bytes=10_000_000)
Batch = tuple[BatchMeta, ClipArrays, bool]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    numbered_video(folder / "one.mp4", 10)
    numbered_video(folder / "three.mp4", 60)
    # Longer than what the socket between the processes holds: whoever kills the decoder does it in the middle.
    numbered_video(folder / "long.mp4", 1000)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video, whatever its name says\n" * 100)
    (folder / "cut.mp4").write_bytes((folder / "three.mp4").read_bytes()[:1000])
    without_start(folder / "long.mp4", folder / "late.mp4", 20)
    return folder


def without_start(source: Path, target: Path, num_frames: int) -> None:
    """Copy a video and blank its first frames, so that they cannot be decoded."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.pos is not None and p.size]
    for position, size in packets[:num_frames]:
        data[position : position + size] = bytes(size)
    target.write_bytes(data)


@pytest.fixture(scope="module")
def preparer() -> Iterator[BatchPreparer]:
    with BatchPreparer(SPEC, LIMITS, batch_clips=2) as made:
        yield made


def rows_of(folder: Path, *names: str, **changes: Any) -> list[dict[str, Any]]:
    return [{"video_id": name, "uri": str(folder / name), "sha256": None} | changes for name in names]


def direct(path: Path) -> tuple[float, list[Clip]]:
    with path.open("rb") as file:
        info, clips = prepare_clips(file, SPEC, LIMITS)
        return info.duration_s, list(clips)


def places(batches: list[Batch]) -> list[tuple[str, int]]:
    return [(clip.video_id, clip.clip_index) for meta, _, _ in batches for clip in meta.clips]


def kinds(batches: list[Batch]) -> dict[str, str]:
    return {failure.video_id: failure.kind for meta, _, _ in batches for failure in meta.failures}


def labelled(batches: list[Batch]) -> list[str]:
    return [video.video_id for meta, _, _ in batches for video in meta.videos]


# ---- batches ------------------------------------------------------------------------------------------------------


def test_batches_are_full_and_in_order_and_the_last_is_marked(preparer: BatchPreparer, videos: Path) -> None:
    batches = list(preparer.batches(rows_of(videos, "three.mp4", "one.mp4", "cut.mp4", "one.mp4")))
    assert places(batches) == [("three.mp4", 0), ("three.mp4", 1), ("three.mp4", 2), ("one.mp4", 0), ("one.mp4", 0)]
    assert [len(arrays.frames_BTHWC) for _, arrays, _ in batches] == [2, 2, 1]
    assert [len(meta.clips) for meta, _, _ in batches] == [2, 2, 1]
    assert [is_last for _, _, is_last in batches] == [False, False, True]
    assert all(meta.busy_s > 0 for meta, _, _ in batches)


def test_clips_are_those_of_the_one_path_from_file_to_clip(preparer: BatchPreparer, videos: Path) -> None:
    duration_s, clips = direct(videos / "three.mp4")
    batches = list(preparer.batches(rows_of(videos, "three.mp4")))
    frames = np.concatenate([arrays.frames_BTHWC for _, arrays, _ in batches])
    np.testing.assert_array_equal(frames, [clip.frames_THWC for clip in clips])
    flow = np.concatenate([arrays.flow_q_BTHWC for _, arrays, _ in batches])
    np.testing.assert_array_equal(flow, [clip.flow_q_THWC for clip in clips])
    metas = [clip for meta, _, _ in batches for clip in meta.clips]
    for meta, clip in zip(metas, clips, strict=True):
        assert asdict(meta) == {
            "video_id": "three.mp4",
            "clip_index": clip.index,
            "start_s": clip.start_s,
            "end_s": clip.end_s,
            "covered_s": clip.covered_s,
            "num_substituted": 0,
            "input_sha256": receipts.input_digest(clip.frames_THWC, clip.flow_q_THWC, clip.flow_valid_T),
            "frame_times_s": list(clip.frame_times_s),
        }
        assert [read_number(f) for f in clip.frames_THWC] == [round(10 * t) for t in meta.frame_times_s]
    (video,) = [video for meta, _, _ in batches for video in meta.videos]
    assert (video.duration_s, video.num_clips, video.uri) == (duration_s, 3, str(videos / "three.mp4"))
    assert video.sha256 == hashlib.sha256((videos / "three.mp4").read_bytes()).hexdigest()


def test_clips_that_fill_the_last_batch_leave_an_empty_one_to_say_so(preparer: BatchPreparer, videos: Path) -> None:
    batches = list(preparer.batches(rows_of(videos, "one.mp4", "one.mp4")))
    assert [(len(arrays.frames_BTHWC), is_last) for _, arrays, is_last in batches] == [(2, False), (0, True)]
    assert labelled(batches) == ["one.mp4", "one.mp4"]


def test_no_videos_are_one_empty_batch(preparer: BatchPreparer) -> None:
    ((meta, arrays, is_last),) = preparer.batches([])
    assert (meta.clips, meta.videos, meta.failures, len(arrays.frames_BTHWC), is_last) == ([], [], [], 0, True)


def test_pictures_are_kept_of_the_videos_that_were_asked_for(preparer: BatchPreparer, videos: Path) -> None:
    batches = list(preparer.batches(rows_of(videos, "one.mp4", "three.mp4"), frozenset({"three.mp4", "other"})))
    pictures = {name: jpeg for meta, _, _ in batches for name, jpeg in meta.thumbnails.items()}
    assert set(pictures) == {"three.mp4"}
    strip_HWC = pixels.decode_jpeg(base64.b64decode(pictures["three.mp4"]))
    assert strip_HWC.shape == (32, 64, 3)  # every second of four frames
    times_s = next(c.frame_times_s for meta, _, _ in batches for c in meta.clips if c.video_id == "three.mp4")
    numbers = [read_number(strip_HWC[:, :32]), read_number(strip_HWC[:, 32:])]
    assert numbers == [round(10 * times_s[0]), round(10 * times_s[2])]


# ---- failures -----------------------------------------------------------------------------------------------------


def test_every_video_is_reported_exactly_once(preparer: BatchPreparer, videos: Path) -> None:
    names = ["missing.mp4", "one.mp4", "empty.mp4", "text.mp4", "three.mp4", "cut.mp4"]
    batches = list(preparer.batches([*rows_of(videos, *names), {"video_id": "folder", "uri": str(videos)}]))
    assert labelled(batches) == ["one.mp4", "three.mp4"]
    assert kinds(batches) == {
        "missing.mp4": "not_found",
        "empty.mp4": "empty_file",
        "text.mp4": "not_a_video",
        "cut.mp4": "corrupt",
        "folder": "not_a_file",
    }
    for meta, _, _ in batches:
        for failure in meta.failures:
            assert failure.attempts == 1
            assert failure.message
            assert failure.stage in {"open", "probe"}


def test_a_file_over_the_limit_is_not_read(videos: Path) -> None:
    with BatchPreparer(SPEC, DecodeLimits(max_bytes=500), batch_clips=2) as small:
        ((meta, _, _),) = small.batches(rows_of(videos, "one.mp4"))
        assert small._decoder.child_pid is None
    (failure,) = meta.failures
    assert (failure.kind, failure.stage) == ("limit_exceeded", "open")


def test_content_other_than_the_manifest_says_is_a_failure(preparer: BatchPreparer, videos: Path) -> None:
    digest = hashlib.sha256((videos / "one.mp4").read_bytes()).hexdigest()
    for right in (digest, digest.upper()):
        assert labelled(list(preparer.batches(rows_of(videos, "one.mp4", sha256=right)))) == ["one.mp4"]
    ((meta, _, _),) = preparer.batches(rows_of(videos, "one.mp4", sha256="0" * 64))
    (failure,) = meta.failures
    assert (failure.kind, failure.stage) == ("corrupt", "open")
    assert failure.message == f"the manifest says sha256 {'0' * 64}, the file has {digest}"


def test_a_video_whose_start_cannot_be_decoded_is_labelled_by_the_rest(preparer: BatchPreparer, videos: Path) -> None:
    batches = list(preparer.batches(rows_of(videos, "late.mp4")))
    assert places(batches) == [("late.mp4", i) for i in range(1, 50)]
    (video,) = [video for meta, _, _ in batches for video in meta.videos]
    assert video.num_clips == 49


# ---- a decoder that dies ------------------------------------------------------------------------------------------


def killing(preparer: BatchPreparer, rows: list[dict[str, Any]], num_kills: int) -> list[Batch]:
    """Take the batches, and kill the decoder after each of the first ones."""
    taken: list[Batch] = []
    for batch in preparer.batches(rows):
        taken.append(batch)
        if len(taken) <= num_kills:
            assert preparer._decoder.child_pid is not None
            os.kill(preparer._decoder.child_pid, signal.SIGKILL)
    return taken


@pytest.mark.parametrize("name", ["long.mp4", "late.mp4"])
def test_a_decoder_that_dies_once_changes_nothing(videos: Path, name: str) -> None:
    with BatchPreparer(SPEC, LIMITS, batch_clips=4) as made:
        undisturbed = list(made.batches(rows_of(videos, name, "one.mp4")))
        disturbed = killing(made, rows_of(videos, name, "one.mp4"), 1)
    assert places(disturbed) == places(undisturbed)
    assert labelled(disturbed) == [name, "one.mp4"]
    assert kinds(disturbed) == {}
    for mine, theirs in zip(undisturbed, disturbed, strict=True):
        np.testing.assert_array_equal(mine[1].frames_BTHWC, theirs[1].frames_BTHWC)


def test_a_decoder_that_always_dies_is_one_failure_and_the_next_video_is_taken(videos: Path) -> None:
    with BatchPreparer(SPEC, LIMITS, batch_clips=4, attempts=1) as made:
        batches = killing(made, rows_of(videos, "long.mp4", "one.mp4"), 1)
    (failure,) = [failure for meta, _, _ in batches for failure in meta.failures]
    assert (failure.video_id, failure.kind, failure.attempts) == ("long.mp4", "decoder_crash", 1)
    assert failure.message == "the decoding process died of SIGKILL"
    assert labelled(batches) == ["one.mp4"]


def test_attempts_are_counted(videos: Path) -> None:
    with BatchPreparer(SPEC, LIMITS, batch_clips=20, attempts=2) as made:
        batches = killing(made, rows_of(videos, "long.mp4"), 2)
    (failure,) = [failure for meta, _, _ in batches for failure in meta.failures]
    assert (failure.kind, failure.attempts) == ("decoder_crash", 2)
    assert labelled(batches) == []
    assert places(batches) == sorted(set(places(batches)))


@pytest.mark.parametrize(
    ("fault", "kind", "attempts", "message"),
    [
        ("no_clips", "no_frames", 1, "no frame could be decoded"),
        ("fickle", "decoder_crash", 2, "two attempts gave 3 clips in all, the last one 1"),
    ],
)
def test_a_decoder_that_breaks_its_promise_is_a_failure(
    videos: Path, tmp_path: Path, fault: str, kind: str, attempts: int, message: str
) -> None:
    rows = rows_of(videos, "one.mp4") + rows_of(fault_file(tmp_path / "fault", fault).parent, "fault")
    with BatchPreparer(SPEC, LIMITS, batch_clips=4, worker=faulty_worker.MODULE) as made:
        batches = list(made.batches(rows))
    (failure,) = [failure for meta, _, _ in batches for failure in meta.failures]
    assert (failure.video_id, failure.kind, failure.attempts) == ("fault", kind, attempts)
    assert failure.message == message
    assert labelled(batches) == ["one.mp4"]


def test_a_file_that_changes_between_two_attempts_is_a_failure(videos: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    path.write_bytes((videos / "long.mp4").read_bytes())
    with BatchPreparer(SPEC, LIMITS, batch_clips=4) as made:
        batches = made.batches(rows_of(tmp_path, "long.mp4"))
        taken = [next(batches)]
        path.write_bytes((videos / "three.mp4").read_bytes())
        assert made._decoder.child_pid is not None
        os.kill(made._decoder.child_pid, signal.SIGKILL)
        taken += batches
    (failure,) = [failure for meta, _, _ in taken for failure in meta.failures]
    assert (failure.kind, failure.stage, failure.attempts) == ("storage_error", "open", 2)
    assert failure.message == "the file was changed between two attempts to read it"
    assert labelled(taken) == []


def test_closing_ends_the_decoder(videos: Path) -> None:
    made = BatchPreparer(SPEC, LIMITS, batch_clips=4)
    list(made.batches(rows_of(videos, "one.mp4")))
    child = made._decoder.child_pid
    assert child is not None
    made.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_every_batch_says_what_decoded(preparer: BatchPreparer, videos: Path) -> None:
    batches = list(preparer.batches(rows_of(videos, "three.mp4")))
    assert all(meta.versions == receipts.decoding_versions() for meta, _, _ in batches)


def test_a_file_that_is_known_by_its_content_is_not_decoded(videos: Path) -> None:
    sha256, alive = hashlib.sha256((videos / "three.mp4").read_bytes()).hexdigest(), list[int]()
    known = {sha256: KnownFile(sha256, "part-a")}
    with BatchPreparer(SPEC, DecodeLimits(), 2, find_known=known.get, sign_of_life=lambda: alive.append(1)) as preparer:
        ((meta, arrays, is_last),) = preparer.batches(rows_of(videos, "three.mp4"))
        assert preparer._decoder.child_pid is None
    (video,) = meta.known
    assert (video.video_id, video.sha256, video.part) == ("three.mp4", sha256, "part-a")
    assert (meta.videos, meta.failures, meta.clips, is_last) == ([], [], [], True)
    assert len(arrays.frames_BTHWC) == 0
    assert alive == [1, 1]  # as it was read, and as it was known


def test_a_fault_of_ours_fails_one_video_and_not_the_others(videos: Path) -> None:
    def broken(sha256: str) -> KnownFile | None:
        if sha256 == hashlib.sha256((videos / "three.mp4").read_bytes()).hexdigest():
            raise KeyError(sha256[:4])
        return None

    with BatchPreparer(SPEC, DecodeLimits(), 100, find_known=broken) as preparer:
        ((meta, _, _),) = preparer.batches(rows_of(videos, "three.mp4", "one.mp4"))
    (failure,) = meta.failures
    assert (failure.video_id, failure.kind) == ("three.mp4", "internal_error")
    assert failure.message.startswith("KeyError: ")
    assert [video.video_id for video in meta.videos] == ["one.mp4"]
