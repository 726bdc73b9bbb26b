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
Q4 = ("-q:v", "4", "-g", "8")
PTS_WRAP_S = 2**33 / 90_000
HALF = 1 << 15
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


TONE = ("-f", "lavfi", "-t", "0.4", "-i", "sine=sample_rate=8000")
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
        args=(*X264, "-x264-params", "open-gop=1:keyint=8:min-keyint=8:bframes=3:b-adapt=0:scenecut=0"),
    ),
    Recipe(
        name="open_gop_h264.ts",
        what="the same in a transport stream",
        args=(*X264, "-x264-params", "open-gop=1:keyint=8:min-keyint=8:bframes=3:b-adapt=0:scenecut=0"),
    ),
    Recipe(
        name="open_gop_hevc.mp4",
        what="CRA keyframes with leading pictures",
        args=(*X265, "-x265-params", f"open-gop=1:keyint=8:min-keyint=8:bframes=3:b-adapt=0:scenecut=0:{QUIET265}"),
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
        args=(*B_FRAMES, "-map", "0:v", "-map", "1:a", "-c:a", "aac", "-b:a", "16k"),
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
        args=(
            *B_FRAMES,
            "-output_ts_offset",
            "-0.5",
            "-avoid_negative_ts",
            "disabled",
            "-muxdelay",
            "0",
            "-muxpreload",
            "0",
        ),
    ),
    Recipe(
        name="negative_start.mp4",
        what="the clock starts below 0: two thirds of a second are before the presentation",
        args=(*B_FRAMES, "-output_ts_offset", "-0.64", "-avoid_negative_ts", "disabled"),
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
        args=("-map", "1:a", "-c:a", "aac", "-b:a", "16k"),
        inputs=TONE,
    ),
    Recipe(
        name="cover_only.m4a",
        pix_fmt="yuvj420p",
        what="sound with an attached picture",
        args=(
            "-map",
            "1:a",
            "-map",
            "0:v",
            "-c:a",
            "aac",
            "-b:a",
            "16k",
            "-c:v",
            "mjpeg",
            "-disposition:v",
            "attached_pic",
        ),
        inputs=TONE,
        count=1,
    ),
    Recipe(
        name="cover_beside.mp4",
        what="a video with an attached picture, which comes first and is larger",
        args=(
            *(
                "-map",
                "1:v",
                "-map",
                "0:v",
                "-c:v:0",
                "mjpeg",
                "-disposition:v:0",
                "attached_pic",
                "-disposition:v:1",
                "0",
            ),
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

PICTURES = (
    Recipe(
        name="interlaced_mpeg2.mpg",
        clock=SOME_TIMES,
        what="interlaced frames",
        before=("-r", "50"),
        args=("-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-vf", "tinterlace=interleave_top", "-bf", "2", *Q4),
        count=40,
    ),
    Recipe(
        name="interlaced_h264.mp4",
        what="interlaced macroblocks (MBAFF)",
        args=(*X264, "-vf", "tinterlace=interleave_top", "-flags", "+ilme+ildct", "-x264-params", "tff=1"),
        count=40,
    ),
    Recipe(name="ten_bit_h264.mp4", what="10 bits, H.264", args=B_FRAMES, pix_fmt="yuv420p10le"),
    Recipe(name="ten_bit_hevc.mp4", what="10 bits", args=(*X265, "-x265-params", QUIET265), pix_fmt="yuv420p10le"),
    Recipe(name="ten_bit_vp9.webm", what="10 bits, VP9", args=VP9, pix_fmt="yuv420p10le"),
    Recipe(
        name="hdr_pq.mp4",
        what="tagged as BT.2020 with the PQ transfer",
        args=(
            *(*X265, "-vf", "scale=out_color_matrix=bt2020", "-x265-params"),
            f"colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:{QUIET265}",
        ),
        pix_fmt="yuv420p10le",
    ),
    Recipe(
        name="hdr_hlg.mp4",
        what="tagged as BT.2020 with the HLG transfer",
        args=(
            *(*X265, "-vf", "scale=out_color_matrix=bt2020", "-x265-params"),
            f"colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc:{QUIET265}",
        ),
        pix_fmt="yuv420p10le",
    ),
    Recipe(
        name="bt709.mp4",
        what="tagged as BT.709",
        args=(
            *(*B_FRAMES, "-vf", "scale=out_color_matrix=bt709", "-colorspace", "bt709", "-color_primaries", "bt709"),
            *("-color_trc", "bt709"),
        ),
    ),
    Recipe(
        name="full_range.mp4",
        what="luma from 0 to 255",
        args=(*B_FRAMES, "-vf", "scale=out_range=full", "-color_range", "pc"),
        pix_fmt="yuv420p",
    ),
    Recipe(
        name="odd_size_444.mp4",
        what="101 x 57, chroma at full size",
        args=B_FRAMES,
        pix_fmt="yuv444p",
        size_px=(101, 57),
    ),
    Recipe(name="odd_size_vp9.webm", what="101 x 57, chroma at half size", args=VP9, size_px=(101, 57)),
    Recipe(
        name="odd_size_mjpeg.avi",
        what="101 x 57",
        args=("-c:v", "mjpeg", "-q:v", "9"),
        pix_fmt="yuvj422p",
        size_px=(101, 57),
        count=8,
    ),
    Recipe(name="tiny.mkv", what="one pixel", args=("-c:v", "ffv1"), size_px=(1, 1), pix_fmt=""),
    Recipe(
        name="alpha_vp9.webm",
        pix_fmt="",
        what="transparent",
        args=(*VP9, "-vf", "format=yuva420p,fade=in:0:20:alpha=1"),
    ),
    Recipe(
        name="alpha_prores.mov",
        pix_fmt="",
        what="transparent",
        args=("-c:v", "prores_ks", "-profile:v", "4", "-vf", "format=yuva444p10le,fade=in:0:6:alpha=1", "-q:v", "30"),
        count=5,
        size_px=(48, 32),
    ),
    Recipe(
        name="alpha_qtrle.mov",
        pix_fmt="",
        what="transparent",
        args=("-c:v", "qtrle", "-vf", "format=argb,fade=in:0:10:alpha=1"),
        count=8,
        size_px=(32, 24),
    ),
    *(
        Recipe(
            name=f"rotated_{degrees}.mp4",
            what=f"to be turned by {degrees} degrees clockwise",
            args=B_FRAMES,
            steps=(((), ("-c", "copy", "-metadata:s:v:0", f"rotate={degrees}")),),
            count=10,
        )
        for degrees in (90, 180, 270)
    ),
    *(
        Recipe(name=f"mirrored_{name}.mp4", what=f"mirrored: {name}", args=B_FRAMES, count=10, matrix=matrix)
        for name, matrix in {
            "left_right": (-ONE, 0, 0, ONE),
            "up_down": (ONE, 0, 0, -ONE),
            "diagonal": (0, ONE, ONE, 0),
            "other_diagonal": (0, -ONE, -ONE, 0),
        }.items()
    ),
    Recipe(name="anamorphic.mp4", what="pixels 4/3 as wide as high", args=(*B_FRAMES, "-vf", "setsar=4/3"), count=10),
)

STEADY = (
    "-f",
    "lavfi",
    "-i",
    "gradients=s=96x64:r=25:d=1.6:speed=0.04:c0=0x305040:c1=0xC0A080:n=2:seed=3",
)  # frames that resemble each other

CODECS = (
    Recipe(
        name="vp8.webm",
        what="VP8 with hidden references",
        args=("-map", "1:v", "-c:v", "libvpx", "-b:v", "60k", "-auto-alt-ref", "1", "-lag-in-frames", "16"),
        inputs=STEADY,
        two_passes=True,
    ),
    Recipe(
        name="vp9.webm",
        what="VP9 with hidden references, inside superframes",
        args=("-map", "1:v", "-c:v", "libvpx-vp9", "-b:v", "60k", "-auto-alt-ref", "1", "-lag-in-frames", "16"),
        inputs=STEADY,
        two_passes=True,
    ),
    Recipe(name="vp9.mp4", what="VP9 in MP4", args=VP9),
    Recipe(name="vp9.ivf", what="VP9 in IVF", args=VP9),
    Recipe(
        name="av1.mp4",
        what="AV1 with hidden references",
        args=("-c:v", "libaom-av1", "-cpu-used", "6", "-crf", "30", "-g", "8"),
    ),
    Recipe(name="av1.webm", what="AV1", args=("-c:v", "libaom-av1", "-cpu-used", "6", "-crf", "30", "-g", "12")),
    Recipe(
        name="av1.obu",
        what="AV1 without container",
        args=("-c:v", "libaom-av1", "-cpu-used", "6", "-crf", "30", "-g", "12"),
    ),
    Recipe(name="mpeg1.mpg", clock=SOME_TIMES, what="MPEG-1", args=("-c:v", "mpeg1video", "-bf", "2", *Q4)),
    Recipe(name="mpeg2.ts", what="MPEG-2", args=("-c:v", "mpeg2video", "-bf", "2", *Q4)),
    Recipe(name="mpeg4.mp4", what="MPEG-4", args=("-c:v", "mpeg4", "-bf", "2", *Q4)),
    Recipe(
        name="mpeg4.avi",
        clock=AVI_CLOCK,
        what="MPEG-4 with B-frames where the container counts packets",
        args=("-c:v", "mpeg4", "-bf", "2", *Q4),
    ),
    Recipe(name="h264.avi", clock=AVI_CLOCK, what="H.264 with B-frames in AVI", args=B_FRAMES),
    Recipe(name="msmpeg4.avi", what="MS-MPEG-4", args=("-c:v", "msmpeg4", *Q4)),
    Recipe(name="mjpeg.mov", what="Motion JPEG", args=("-c:v", "mjpeg", "-q:v", "9"), pix_fmt="yuvj422p", count=8),
    Recipe(name="theora.ogv", what="Theora", args=("-c:v", "libtheora", *Q4)),
    Recipe(name="h263.3gp", what="H.263", args=("-c:v", "h263", *Q4), size_px=(128, 96)),
    Recipe(name="flv1.flv", what="Sorenson H.263", args=("-c:v", "flv", *Q4)),
    Recipe(name="h264.flv", what="H.264 in FLV", args=B_FRAMES),
    Recipe(name="wmv2.wmv", what="Windows Media 8", args=("-c:v", "wmv2", *Q4)),
    Recipe(
        name="hevc.ts",
        what="HEVC in a transport stream",
        args=(*X265, "-bf", "2", "-x265-params", QUIET265, "-tag:v", "0"),
    ),
    Recipe(name="ffv1.mkv", what="FFV1", args=("-c:v", "ffv1"), count=8, pix_fmt=""),
    Recipe(
        name="prores.mov",
        what="ProRes",
        args=("-c:v", "prores_ks", "-profile:v", "0", "-q:v", "30"),
        count=5,
        size_px=(48, 32),
        pix_fmt="",
    ),
    Recipe(name="gif.gif", what="GIF", count=8, size_px=(48, 32), pix_fmt=""),
    Recipe(
        name="rawvideo.avi",
        what="no compression",
        args=("-c:v", "rawvideo"),
        pix_fmt="yuv420p",
        count=6,
        size_px=(32, 24),
    ),
)

PARTS = (
    Recipe(name="part_0.ts", what="", args=B_FRAMES, count=13),
    Recipe(name="part_1.ts", what="", args=B_FRAMES, count=12),
    Recipe(name="part_20.ts", what="", args=(*B_FRAMES, "-output_ts_offset", "20"), count=12),
    Recipe(name="part_small.ts", what="", args=(*B_FRAMES, "-vf", "scale=64:48", "-output_ts_offset", "0.6"), count=12),
)
"""Made first, and not kept."""

RECIPES = (*TIMES, *STREAMS, *PICTURES, *CODECS)
