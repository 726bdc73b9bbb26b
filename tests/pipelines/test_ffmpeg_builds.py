from __future__ import annotations

from pathlib import Path

import av
import pytest

from fal_model.spec import ClipSpec
from pipelines.ffmpeg_builds import FFmpegBuild, build_in_use, check_build, missing, parse_version, why_unsafe
from pipelines.isolation import IsolatedPreparer
from pipelines.limits import DecodeLimits
from pipelines.sniff import DECODERS, DEMUXERS
from tests.helpers.video import numbered_video


def test_the_build_in_use_is_told_and_safe() -> None:
    build = build_in_use()
    assert {"libavcodec", "libavformat", "libswscale"} <= set(build.libraries)
    assert parse_version(build.version) is not None
    assert why_unsafe(build.version) == ""
    check_build(build)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8.1.2", (8, 1, 2)),
        ("n8.1", (8, 1, 0)),
        ("7.1.5-1ubuntu2", (7, 1, 5)),
        ("N-118000-g0d0b9d2b1e", None),
        ("git-2026-01-01-abc", None),
    ],
)
def test_release_numbers_are_read(text: str, expected: tuple[int, int, int] | None) -> None:
    assert parse_version(text) == expected


@pytest.mark.parametrize("version", ["7.1.5", "7.1.9", "8.0.3", "8.1.2", "8.2", "9.0", "N-118000-g0d0b9d2b1e"])
def test_versions_with_the_fixes_may_decode(version: str) -> None:
    assert why_unsafe(version) == ""


@pytest.mark.parametrize("version", ["4.4.2-0ubuntu0.22.04.1", "6.1.1", "7.0.3", "7.1.4", "8.0.2", "8.1", "8.1.1"])
def test_versions_without_the_fixes_may_not(version: str) -> None:
    expected = f"FFmpeg {version} has known security holes; the first versions without them are 7.1.5, 8.0.3, 8.1.2"
    assert why_unsafe(version) == expected


def test_an_old_build_is_refused_unless_somebody_accepts_the_risk(monkeypatch: pytest.MonkeyPatch) -> None:
    old = FFmpegBuild("8.0.1", "17.0.0", {})
    with pytest.raises(RuntimeError, match=r"FFmpeg 8\.0\.1 has known .* or set FAL_ALLOW_OLD_FFMPEG=1 to accept"):
        check_build(old)
    monkeypatch.setenv("FAL_ALLOW_OLD_FFMPEG", "1")
    check_build(old)


def test_no_child_starts_with_an_old_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "ffmpeg_version_info", "8.0.1")  # what PyAV says of itself; there is one PyAV here
    path = numbered_video(tmp_path / "a.mp4", 10)
    spec = ClipSpec(num_frames=2, size_px=32, flow_size_px=8)
    with path.open("rb") as file, IsolatedPreparer(spec, DecodeLimits()) as preparer:
        with pytest.raises(RuntimeError, match=r"FFmpeg 8\.0\.1 has known security holes"):
            preparer.prepare(file)
        assert preparer.child_pid is None
        monkeypatch.setenv("FAL_ALLOW_OLD_FFMPEG", "1")
        assert preparer.prepare(file)[0].num_frames == 10


def test_what_a_build_lacks_is_named() -> None:
    assert missing(["mp4", "no_such_format"], "demuxer") == ["no_such_format"]
    assert missing(["h264", "no_such_codec", "libx264"], "decoder") == ["no_such_codec", "libx264"]
    assert missing(["libx264", "no_such_codec"], "encoder") == ["no_such_codec"]


def test_this_build_has_everything_that_is_allowed() -> None:
    assert missing(DEMUXERS.split(","), "demuxer") == []
    assert missing(DECODERS.split(","), "decoder") == []
