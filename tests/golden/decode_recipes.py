"""How the small files of ``tests/golden/decode`` are made: one recipe for each kind of video, for the ffmpeg tool.

Only ``make_decode.py`` uses this. A recipe is a name, a sentence, and the arguments between input and output. The
input is always the same drawing: twelve cells whose colours tell the number of the frame, at 25 frames a second.
"""

from __future__ import annotations

from dataclasses import dataclass

X264 = ("-c:v", "libx264", "-preset", "fast", "-crf", "24")
X265 = ("-c:v", "libx265", "-preset", "fast", "-crf", "24", "-tag:v", "hvc1")
QUIET265 = "info=0:log-level=none:pools=none:frame-threads=1"
VP9 = ("-c:v", "libvpx-vp9", "-b:v", "200k", "-g", "8")
B_FRAMES = (*X264, "-g", "12", "-bf", "2", "-b_strategy", "0")
OPEN_GOP = "open-gop=1:keyint=8:min-keyint=8:bframes=3:b-adapt=0:scenecut=0"
Q4 = ("-q:v", "4", "-g", "8")
PTS_WRAP_S = 2**33 / 90_000
ONE = 1 << 16


NO_CLOCK = "the file has no times, and ffprobe gives none; the stated rate is 25"
SOME_TIMES = "the container gives a time to one packet in several, and ffprobe none to the last frame"
AVI_CLOCK = "AVI counts packets, not presentation; ffprobe repeats or leaves out times of B-frames"
TWO_CLOCKS = "ffprobe shows both clocks as they are; the second recording is to follow on the first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One file.

    Attributes:
        name: Its name.
        what: What is special about it.
        args: Arguments of ffmpeg after the input and before the output.
        count: Frames drawn.
        size_px: Width and height drawn.
        before: Arguments before the input.
        inputs: Further inputs: ``-f lavfi -i sine`` for a tone.
        steps: Further runs of ffmpeg over the file just made: arguments before and after the input.
        pipe: Whether ffmpeg writes to a pipe and cannot go back to fill in lengths.
        matrix: Display matrix to put into the file, first two rows, 65536 is one.
        parts: Instead of drawing: these made files, one after the other.
        pix_fmt: Pixel format; empty leaves it to the encoder.
        two_passes: Whether the encoder sees everything before it writes; VP8 and VP9 then hide frames for reference.
        clock: Why ffprobe's times cannot be used; then those of the drawing are expected, 25 frames a second.
    """

    name: str
    what: str
    args: tuple[str, ...] = ()
    count: int = 24
    size_px: tuple[int, int] = (96, 64)
    before: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    steps: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    pipe: bool = False
    matrix: tuple[int, int, int, int] | None = None
    parts: tuple[str, ...] = ()
    pix_fmt: str = "yuv420p"
    clock: str = ""
    two_passes: bool = False


AAC = ("-c:a", "aac", "-b:a", "16k")
TONE = ("-f", "lavfi", "-t", "0.4", "-i", "sine=sample_rate=8000")
BELOW_0 = ("-avoid_negative_ts", "disabled", "-output_ts_offset")
UNEVEN = ("-vf", "setpts='(N+floor(N*N/30)+3*gt(N,10))*0.04/TB'", "-vsync", "vfr", "-enc_time_base", "1/1000")

TIMES = (
    Recipe(name="constant.mp4", what="constant rate, no B-frames", args=(*X264, "-g", "8", "-bf", "0")),
    Recipe(name="ntsc.mp4", what="30000/1001 frames a second", args=(*B_FRAMES,), before=("-r", "30000/1001")),
    Recipe(name="variable.mp4", what="variable rate", args=(*UNEVEN, *B_FRAMES)),
    Recipe(name="variable.mkv", what="variable rate, milliseconds", args=(*UNEVEN, *B_FRAMES)),
    Recipe(
        name="variable.avi",
        what="variable rate where the container has only counts: empty packets between",
        args=("-vf", "setpts='(N+2*floor(N/6))*0.04/TB'", "-vsync", "vfr", "-c:v", "mpeg4", *Q4),
    ),
    Recipe(name="b_frames.mp4", what="two B-frames between references", args=B_FRAMES),
    Recipe(
        name="b_pyramid.mkv",
        what="B-frames that refer to B-frames",
        args=(*X264, "-g", "12", "-bf", "3", "-b_strategy", "0", "-x264-params", "b-pyramid=normal"),
    ),
    Recipe(
        name="open_gop_h264.mp4",
        what="keyframes that earlier pictures look beyond",
        args=(*X264, "-x264-params", OPEN_GOP),
    ),
    Recipe(
        name="open_gop_h264.ts",
        what="the same in a transport stream",
        args=(*X264, "-x264-params", OPEN_GOP),
    ),
    Recipe(
        name="open_gop_hevc.mp4",
        what="CRA keyframes with leading pictures",
        args=(*X265, "-x265-params", f"{OPEN_GOP}:{QUIET265}"),
    ),
    Recipe(
        name="open_gop_mpeg2.mpg",
        what="program stream; open groups as every DVD has them",
        args=("-c:v", "mpeg2video", "-bf", "2", *Q4),
    ),
    Recipe(
        name="trimmed.mp4",
        what="edit list: cut without encoding again, packets before the start are decoded and not shown",
        args=B_FRAMES,
        count=36,
        steps=((("-ss", "0.63"), ("-c", "copy")),),
    ),
    Recipe(
        name="delayed.mp4",
        what="edit list: the picture starts 1.5 s after the sound",
        args=(*B_FRAMES, "-map", "0:v", "-map", "1:a", *AAC),
        before=("-itsoffset", "1.5"),
        inputs=TONE,
    ),
    Recipe(
        name="no_edit_list.mp4",
        what="B-frames without edit list: the first picture is not at 0",
        args=(*B_FRAMES, "-use_editlist", "0"),
    ),
    Recipe(
        name="negative_offsets.mp4",
        what="negative composition offsets",
        args=(*B_FRAMES, "-movflags", "negative_cts_offsets"),
    ),
    Recipe(
        name="negative_start.ts",
        what="the clock starts below 0, which in 33 bits is close to its end",
        args=(*B_FRAMES, *BELOW_0, "-0.5", "-muxdelay", "0", "-muxpreload", "0"),
    ),
    Recipe(
        name="negative_start.mp4",
        what="the clock starts below 0: two thirds of a second are before the presentation",
        args=(*B_FRAMES, *BELOW_0, "-0.64"),
    ),
    Recipe(name="raw.h264", clock=NO_CLOCK, what="no container, no times", args=B_FRAMES),
    Recipe(
        name="raw.hevc",
        clock=NO_CLOCK,
        what="no container, no times",
        args=(*X265, "-bf", "2", "-x265-params", QUIET265),
    ),
    Recipe(name="raw.m4v", what="no container, no times", args=("-c:v", "mpeg4", *Q4)),
    Recipe(name="live.webm", what="written to a pipe: no duration, no index", args=("-c:v", "libvpx", *Q4), pipe=True),
    Recipe(name="live.mkv", what="written to a pipe: no duration, no index", args=B_FRAMES, pipe=True),
    Recipe(
        name="fragmented.mp4",
        what="fragments without a length in the header",
        args=(*B_FRAMES, "-movflags", "frag_keyframe+empty_moov+default_base_moof"),
        pipe=True,
    ),
    Recipe(name="one_frame.mp4", what="one frame", args=X264, count=1),
    Recipe(name="one_frame.webm", what="one frame", args=VP9, count=1),
    Recipe(name="one_frame.h264", clock=NO_CLOCK, what="one frame, no times", args=X264, count=1),
    Recipe(name="two_frames.mkv", what="two frames", args=B_FRAMES, count=2),
    Recipe(name="late.ts", what="the clock starts at 26 hours", args=(*B_FRAMES, "-output_ts_offset", "93600")),
    Recipe(
        name="wrap.ts",
        what="the 33-bit clock runs over in the middle",
        args=(*B_FRAMES, "-output_ts_offset", f"{PTS_WRAP_S - 1.9:.3f}"),
    ),
    Recipe(
        name="gap.ts",
        what="two recordings one after the other, the second 20 s later by its clock",
        parts=("part_0.ts", "part_20.ts"),
    ),
    Recipe(
        name="discontinuity.ts",
        clock=TWO_CLOCKS,
        what="two recordings one after the other, the clock of the second starts over",
        parts=("part_0.ts", "part_1.ts"),
    ),
    Recipe(
        name="size_change.ts", what="the picture becomes smaller in the middle", parts=("part_0.ts", "part_small.ts")
    ),
)

STREAMS = (
    Recipe(
        name="audio_only.m4a",
        pix_fmt="",
        what="sound alone",
        args=("-map", "1:a", *AAC),
        inputs=TONE,
    ),
    Recipe(
        name="cover_only.m4a",
        pix_fmt="yuvj420p",
        what="sound with an attached picture",
        args=("-map", "1:a", "-map", "0:v", *AAC, "-c:v", "mjpeg", "-disposition:v", "attached_pic"),
        inputs=TONE,
        count=1,
    ),
    Recipe(
        name="cover_beside.mp4",
        what="a video with an attached picture, which comes first and is larger",
        args=(
            *("-map", "1:v", "-map", "0:v", "-c:v:0", "mjpeg"),
            *("-disposition:v:0", "attached_pic", "-disposition:v:1", "0"),
            *("-c:v:1", "libx264", "-crf", "24", "-bf:v:1", "2"),
            *("-pix_fmt:v:0", "yuvj420p", "-pix_fmt:v:1", "yuv420p"),
        ),
        inputs=("-f", "lavfi", "-i", "color=c=green:s=160x120:r=25:d=0.04"),
        pix_fmt="",
    ),
    Recipe(
        name="two_videos.mkv",
        what="two video streams: a player shows the one marked as default, which is the second",
        args=(
            *("-map", "1:v", "-map", "0:v", "-c:v", "libx264", "-crf", "24"),
            *("-disposition:v:0", "0", "-disposition:v:1", "default"),
        ),
        inputs=("-f", "lavfi", "-i", "color=c=green:s=48x32:r=25:d=0.4"),
    ),
)

PARTS = (
    Recipe(name="part_0.ts", what="", args=B_FRAMES, count=13),
    Recipe(name="part_1.ts", what="", args=B_FRAMES, count=12),
    Recipe(name="part_20.ts", what="", args=(*B_FRAMES, "-output_ts_offset", "20"), count=12),
    Recipe(name="part_small.ts", what="", args=(*B_FRAMES, "-vf", "scale=64:48", "-output_ts_offset", "0.6"), count=12),
)
"""Made first, and not kept."""
