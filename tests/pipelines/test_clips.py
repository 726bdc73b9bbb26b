from __future__ import annotations

import io
import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from fal_model.errors import FailureKind, VideoError
from fal_model.flow_codec import decode_flow
from fal_model.spec import ClipSpec, Sampling
from pipelines.clips import Clip, Seen, VideoInfo, clips_of, prepare_clips
from pipelines.isolation import IsolatedPreparer
from pipelines.limits import DecodeLimits
from pipelines.pictures import PictureReader
from pipelines.video_writer import write_video
from tests.helpers.video import numbered_frame, numbered_video, panning_frames, read_number

LIMITS = DecodeLimits()
SPEC = ClipSpec(num_frames=4, size_px=64, flow_size_px=16, flow_step_s=0.1, window_s=2.0, sampling=Sampling.UNIFORM)


def prepared(path: Path, spec: ClipSpec = SPEC) -> tuple[VideoInfo, list[Clip]]:
    with path.open("rb") as file:
        info, clips = prepare_clips(file, spec, LIMITS)
        return info, list(clips)


def test_a_video_becomes_clips_with_the_frames_at_their_times(tmp_path: Path) -> None:
    info, clips = prepared(numbered_video(tmp_path / "a.mp4", 50))
    assert info == VideoInfo(
        duration_s=5.0,
        width_px=96,
        height_px=64,
        rotation_deg=0,
        codec="h264",
        container="mov,mp4,m4a,3gp,3g2,mj2",
        mean_fps=10.0,
        num_frames=50,
        num_clips=3,
        is_seekable=True,
    )
    assert [clip.index for clip in clips] == [0, 1, 2]
    assert [clip.start_s for clip in clips] == pytest.approx([0, 1.6, 3.2])  # keyframes that came out of step
    assert [clip.end_s for clip in clips] == pytest.approx([1.6, 3.2, 5])
    for clip in clips:
        assert clip.frames_THWC.shape == (4, 64, 64, 3)
        assert clip.frames_THWC.dtype == np.uint8
        assert clip.flow_q_THWC.shape == (4, 16, 16, 2)
        assert clip.flow_q_THWC.dtype == np.int8
        assert clip.flow_valid_T.shape == (4,)
        assert clip.camera_T23.shape == (4, 2, 3)
        assert clip.camera_T23.dtype == np.float32
        assert clip.covered_s == pytest.approx(clip.end_s - clip.start_s)
        assert clip.num_substituted == 0
        assert [read_number(frame) for frame in clip.frames_THWC] == [round(10 * t) for t in clip.frame_times_s]
        assert all(a < b for a, b in itertools.pairwise(clip.frame_times_s))


def test_the_same_video_gives_the_same_clips(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 30)
    for first, second in zip(prepared(path)[1], prepared(path)[1], strict=True):
        assert first.frame_times_s == second.frame_times_s
        assert np.array_equal(first.frames_THWC, second.frames_THWC)
        assert np.array_equal(first.flow_q_THWC, second.flow_q_THWC)


OVERLAPPING = replace(SPEC, window_overlap=0.5)


@pytest.mark.parametrize("suffix", ["mp4", "h264"])
def test_windows_that_overlap_show_the_right_frames(tmp_path: Path, suffix: str) -> None:
    # A raw stream has no times: it can only be read in order, and so nothing may be asked for again.
    path = numbered_video(tmp_path / f"a.{suffix}", 60)
    info, clips = prepared(path, OVERLAPPING)
    assert [clip.index for clip in clips] == list(range(info.num_clips))
    assert info.num_clips > len(prepared(path)[1])
    for clip in clips:
        assert clip.num_substituted == 0
        assert [read_number(frame) for frame in clip.frames_THWC] == [
            round(info.mean_fps * t) for t in clip.frame_times_s
        ]
    for before, after in itertools.pairwise(clips):
        assert before.start_s < after.start_s < before.end_s < after.end_s


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.75])
def test_time_that_windows_have_in_common_is_counted_once(tmp_path: Path, overlap: float) -> None:
    info, clips = prepared(numbered_video(tmp_path / "a.mp4", 50), replace(SPEC, window_overlap=overlap))
    assert sum(clip.covered_s for clip in clips) == pytest.approx(info.duration_s)
    assert all(0 <= clip.covered_s <= clip.end_s - clip.start_s + 1e-9 for clip in clips)


def test_what_was_seen_before_counts_nothing() -> None:
    seen = Seen()
    assert seen.add(0.0, [(0.0, 1.0), (2.0, 3.0)]) == 2.0
    assert seen.add(0.5, [(0.5, 1.5), (1.5, 2.5)]) == 1.0
    assert seen.add(2.0, [(2.0, 3.0)]) == 0.0
    assert seen.add(10.0, [(10.0, 11.0)]) == 1.0


def test_what_was_seen_is_remembered_where_a_window_begins_with_damage() -> None:
    seen = Seen()
    assert seen.add(4.0, [(4.0, 8.0)]) == 4.0
    assert seen.add(4.0, [(9.0, 10.0)]) == 1.0
    assert seen.add(4.0, [(4.0, 5.0)]) == 0.0


def test_frames_that_windows_have_in_common_are_decoded_once(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 60, keyframe_interval=100)
    with path.open("rb") as file, closing(PictureReader(file, LIMITS)) as reader:
        assert len(list(clips_of(reader, OVERLAPPING))) == 5
        assert reader.video.num_decoded <= 60 + 32  # one pass; a decoder may be asked for a few frames beyond


def test_nothing_is_decoded_for_windows_in_a_hole(tmp_path: Path) -> None:
    times_s = [number / 10 + (1000 if number >= 20 else 0) for number in range(40)]
    path = numbered_video(tmp_path / "a.mkv", 40, times_s=times_s, keyframe_interval=100)
    with path.open("rb") as file, closing(PictureReader(file, LIMITS)) as reader:
        assert [clip.index for clip in clips_of(reader, SPEC)] == [0, 1, 501]
        assert reader.video.num_decoded < 200  # of 502 windows


@pytest.mark.parametrize("sampling", list(Sampling))
def test_flow_is_the_motion_in_known_units(tmp_path: Path, sampling: Sampling) -> None:
    write_video(tmp_path / "a.mp4", panning_frames(20, 2, -1), fps=10, options={"crf": "10"})
    _, clips = prepared(tmp_path / "a.mp4", ClipSpec(**{**SPEC.to_dict(), "size_px": 128, "sampling": sampling}))
    for clip in clips:
        assert clip.flow_valid_T.all()
        flow_T2 = np.median(decode_flow(clip.flow_q_THWC), axis=(1, 2))
        assert flow_T2 == pytest.approx(np.array([[2, -1]] * 4), abs=0.3)
        assert clip.camera_T23[..., 2] == pytest.approx(np.array([[2, -1]] * 4), abs=0.3)
        assert clip.camera_T23[..., :2] == pytest.approx(0, abs=0.3)


def test_there_is_no_flow_from_or_to_a_damaged_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write_video(path, panning_frames(48, 2, -1), fps=25, options={"bf": "0"}, keyframe_interval=12)
    spec = ClipSpec(num_frames=24, size_px=64, flow_size_px=16, flow_step_s=0.04, sampling=Sampling.UNIFORM)
    packet = [bytes(p) for p in av.open(str(path)).demux(video=0) if p.size][14]
    noise = bytes((i * i * 73 + 11) & 255 for i in range(len(packet) // 3))
    data = path.read_bytes().replace(packet, packet[: len(noise)] + noise + packet[2 * len(noise) :])
    whole, damaged = (next(prepare_clips(io.BytesIO(d), spec, LIMITS)[1]) for d in (path.read_bytes(), data))
    assert whole.flow_valid_T.all()
    frames = [round(time_s * 25) for time_s in whole.frame_times_s]
    assert damaged.frame_times_s == whole.frame_times_s
    spoilt = [t for t, frame in enumerate(frames) if 13 <= frame < 24]  # damaged up to the keyframe, and the one before
    assert 13 in [frames[t] for t in spoilt]  # itself not damaged
    assert np.flatnonzero(~damaged.flow_valid_T).tolist() == spoilt
    assert not damaged.flow_q_THWC[spoilt].any()
    assert not damaged.camera_T23[spoilt].any()


def test_flow_can_be_left_out_and_the_frames_stay(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 30)
    with path.open("rb") as file:
        clips = list(prepare_clips(file, SPEC, LIMITS, with_flow=False)[1])
    for without, with_flow in zip(clips, prepared(path)[1], strict=True):
        assert without.frame_times_s == with_flow.frame_times_s
        assert np.array_equal(without.frames_THWC, with_flow.frames_THWC)
        assert with_flow.flow_valid_T.any()
        assert not without.flow_valid_T.any()
        assert not without.flow_q_THWC.any()
        assert not without.camera_T23.any()


@pytest.mark.parametrize(("rotation_deg", "turns"), [(0, 0), (90, 1), (180, 2), (270, 3)])
def test_rotation_is_applied(tmp_path: Path, rotation_deg: int, turns: int) -> None:
    info, clips = prepared(numbered_video(tmp_path / "a.mp4", 4, rotation_deg=rotation_deg))
    assert info.rotation_deg == rotation_deg
    assert (info.height_px, info.width_px) == ((96, 64) if turns % 2 else (64, 96))
    upright = np.rot90(clips[0].frames_THWC[0], turns)  # back as it was stored
    assert read_number(upright) == round(10 * clips[0].frame_times_s[0])


def test_frames_at_uneven_times(tmp_path: Path) -> None:
    times_s = [0.0, 0.1, 0.15, 0.2, 1.2, 1.8]
    pattern = 0b1100_1010_1000  # common to all of them: with nothing in common they would be different scenes
    frames = (numbered_frame(pattern + number) for number in range(6))
    write_video(tmp_path / "a.mkv", frames, fps=10, times_s=times_s)
    _, clips = prepared(tmp_path / "a.mkv")
    (clip,) = clips
    assert clip.frame_times_s == pytest.approx([0.2, 0.2, 1.2, 1.8], abs=2e-3)
    assert [read_number(frame) - pattern for frame in clip.frames_THWC] == [3, 3, 4, 5]
    assert clip.covered_s == pytest.approx(clip.end_s)  # frame 3 is on screen until 1.2 s
    assert clip.num_substituted == 0
    assert clip.flow_valid_T.tolist() == [True, True, False, False]
    assert not clip.camera_T23[2:].any()


def test_a_frame_that_stays_on_screen_fills_the_windows_it_is_seen_in(tmp_path: Path) -> None:
    _, clips = prepared(numbered_video(tmp_path / "a.mp4", 3, times_s=[0.0, 0.1, 8.0]))
    assert len(clips) == 5
    assert [read_number(frame) for clip in clips[1:4] for frame in clip.frames_THWC] == [1] * 12
    assert clips[2].frame_times_s == pytest.approx([0.1] * 4, abs=1e-4)


def test_a_frame_that_stays_on_screen_where_frames_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.h264"
    write_video(path, (numbered_frame(i) for i in range(10)), fps=25, options={"bf": "2"})
    _, clips = prepared(path, ClipSpec(**{**SPEC.to_dict(), "window_s": 0.1}))
    assert [read_number(frame) for clip in clips for frame in clip.frames_THWC] == [
        round(25 * t) for clip in clips for t in clip.frame_times_s
    ]


def test_a_hole_in_a_video_is_not_covered(tmp_path: Path) -> None:
    data = bytearray(numbered_video(tmp_path / "a.ts", 100, keyframe_interval=5).read_bytes())
    low, high = (len(data) * part // 4 // 188 * 188 for part in (1, 3))
    info, clips = prepare_clips(io.BytesIO(bytes(data[:low] + data[high:])), SPEC, LIMITS)
    covered_s = sum(clip.covered_s for clip in clips)
    assert info.duration_s == pytest.approx(10, abs=0.1)
    assert 0.4 < covered_s / info.duration_s < 0.75


def test_a_single_frame_is_a_clip_without_flow(tmp_path: Path) -> None:
    _, (clip,) = prepared(numbered_video(tmp_path / "a.mp4", 1))
    assert clip.frame_times_s == (0.0,) * 4
    assert not clip.flow_valid_T.any()
    assert not clip.flow_q_THWC.any()
    assert clip.covered_s == pytest.approx(0.1)


@pytest.mark.parametrize(("height_px", "width_px"), [(2, 2), (34, 18), (200, 66)])
def test_odd_sizes(tmp_path: Path, height_px: int, width_px: int) -> None:
    frames = [np.full((height_px, width_px, 3), 90, np.uint8)] * 4
    write_video(tmp_path / "a.mkv", frames, fps=10, codec="ffv1")
    info, (clip,) = prepared(tmp_path / "a.mkv")
    assert (info.height_px, info.width_px) == (height_px, width_px)
    assert np.abs(clip.frames_THWC.astype(int) - 90).max() <= 2


def test_interlaced_and_ten_bit_video(tmp_path: Path) -> None:
    frames = [numbered_frame(i) for i in range(20)]
    for name, options in (("a", {"flags": "+ilme+ildct"}), ("b", {"pix_fmt": "yuv420p10le"})):
        write_video(tmp_path / f"{name}.mp4", frames, fps=10, options=options)
        _, (clip,) = prepared(tmp_path / f"{name}.mp4")
        assert [read_number(frame) for frame in clip.frames_THWC] == [round(10 * t) for t in clip.frame_times_s]


def test_a_cover_picture_is_not_the_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1, width=320, height=240, pix_fmt="yuvj420p")
        cover.disposition = av.stream.Disposition.attached_pic
        stream = container.add_stream("mpeg4", rate=10, width=96, height=64)
        assert isinstance(cover, av.VideoStream)
        assert isinstance(stream, av.VideoStream)
        picture = av.VideoFrame.from_ndarray(np.zeros((240, 320, 3), np.uint8), format="rgb24")
        container.mux([*cover.encode(picture), *cover.encode(None)])
        for number in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")))
        container.mux(stream.encode(None))
    info, _ = prepared(path)
    assert (info.width_px, info.codec) == (96, "mpeg4")


def test_windows_of_which_nothing_decodes_are_left_out(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 80, codec="mpeg4", keyframe_interval=1)
    data = bytearray(path.read_bytes())
    first, last = data.index(b"mdat") + 8, data.rindex(b"moov")
    low, high = first + (last - first) // 4, first + (last - first) * 3 // 4
    data[low:high] = bytes(high - low)
    info, lazy = prepare_clips(io.BytesIO(bytes(data)), SPEC, LIMITS)
    clips = list(lazy)
    assert info.num_clips == 4
    assert {0, 3} <= {clip.index for clip in clips}
    assert sum(clip.covered_s for clip in clips) < 0.8 * info.duration_s
    for clip in clips:
        assert list(clip.frame_times_s) == sorted(clip.frame_times_s)


def test_a_truncated_video_gives_what_is_there(tmp_path: Path) -> None:
    data = numbered_video(tmp_path / "a.mkv", 60).read_bytes()
    info, clips = prepare_clips(io.BytesIO(data[: len(data) // 2]), SPEC, LIMITS)
    assert 1 < info.duration_s < 5
    assert read_number(next(clips).frames_THWC[0]) == 2


def test_nothing_that_decodes_is_one_reason(tmp_path: Path) -> None:
    data = bytearray(numbered_video(tmp_path / "a.mp4", 10).read_bytes())
    data[data.index(b"mdat") + 8 : data.rindex(b"moov") - 4] = bytes(data.rindex(b"moov") - 12 - data.index(b"mdat"))
    with pytest.raises(VideoError, match="corrupt: none of 10 packets could be decoded"):
        prepare_clips(io.BytesIO(bytes(data)), SPEC, LIMITS)


def test_clips_are_made_as_they_are_taken(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 600)
    with path.open("rb") as file, closing(PictureReader(file, LIMITS)) as reader:
        clips = clips_of(reader, SPEC)
        assert [next(clips).index for _ in range(2)] == [0, 1]
        assert 0 < reader.video.num_decoded < 120  # of thirty windows


def test_who_leaves_early_keeps_the_file_open(tmp_path: Path) -> None:
    with numbered_video(tmp_path / "a.mp4", 600).open("rb") as file:
        info, clips = prepare_clips(file, SPEC, LIMITS)
        assert info.num_clips == 30
        assert next(clips).index == 0
        clips.close()  # type: ignore[attr-defined]  # it is a generator: leaving early frees the decoder
        assert not file.closed


def test_hostile_bytes_give_clips_or_a_reason(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    originals = [
        numbered_video(tmp_path / f"a.{suffix}", 12, codec=codec).read_bytes()
        for suffix, codec in (("mp4", "libx264"), ("mkv", "libx264"), ("avi", "mpeg4"), ("ts", "libx264"))
    ]
    outcomes: Counter[str] = Counter()
    with IsolatedPreparer(SPEC, LIMITS) as preparer:
        for number in range(80):
            data = bytearray(originals[number % 4])
            for at in random.integers(0, len(data), random.integers(1, 40)):
                data[at] = random.integers(256)
            cut = random.integers(1, len(data)) if number % 5 == 0 else len(data)
            path = tmp_path / "hostile"
            path.write_bytes(data[:cut])
            outcomes[_outcome(preparer, path)] += 1
    assert outcomes["clips"] > 20
    assert outcomes["clips"] < 80
    assert outcomes[FailureKind.INTERNAL_ERROR] == 0


def _outcome(preparer: IsolatedPreparer, path: Path) -> str:
    with path.open("rb") as file:
        try:
            info, clips = preparer.prepare(file)
            for clip in clips:
                assert len(clip.frame_times_s) == SPEC.num_frames
                assert list(clip.frame_times_s) == sorted(clip.frame_times_s)
                assert 0 <= clip.covered_s <= (clip.end_s - clip.start_s) * 1.000001
                assert clip.end_s <= info.duration_s * 1.000001
        except VideoError as error:
            return error.kind
    return "clips"


@pytest.fixture(scope="module")
def preparer() -> Iterator[IsolatedPreparer]:
    with IsolatedPreparer(ClipSpec(), LIMITS) as made:
        yield made


def _row(preparer: IsolatedPreparer, path: Path) -> tuple[str, str]:
    try:
        with path.open("rb") as file:
            info, clips = preparer.prepare(file)
            coverage = sum(clip.covered_s for clip in clips) / info.duration_s
    except VideoError as error:
        return error.kind, error.message
    return "clips", f"{info.duration_s:.2f} s, {info.num_clips} clips, coverage {coverage:.2f}, {info.codec}"


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("folder", ["odd", "broken"])
def test_real_recordings(
    real_videos: Path, folder: str, preparer: IsolatedPreparer, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(path for path in (real_videos / folder).iterdir() if path.is_file())
    rows = {path.name: _row(preparer, path) for path in files}
    kinds = Counter(outcome for outcome, _ in rows.values())
    with capsys.disabled():
        sys.stdout.write(f"\n{folder}: {dict(kinds)}\n")
        sys.stdout.writelines(f"{name[:60]:60} {outcome:18} {detail}\n" for name, (outcome, detail) in rows.items())
    assert len(files) > 20
    assert kinds[FailureKind.INTERNAL_ERROR] == 0
    if folder == "odd":
        assert set(kinds) == {"clips"}
