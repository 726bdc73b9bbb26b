"""Recipes of the small videos for kinds of pictures and for codecs; see ``decode_recipes``."""

from __future__ import annotations

from tests.golden.decode_recipes import AVI_CLOCK, B_FRAMES, ONE, Q4, QUIET265, SOME_TIMES, VP9, X264, X265, Recipe

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

ALT_REF = ("-b:v", "60k", "-auto-alt-ref", "1", "-lag-in-frames", "16")
AV1 = ("-c:v", "libaom-av1", "-cpu-used", "6", "-crf", "30")

CODECS = (
    Recipe(
        name="vp8.webm",
        what="VP8 with hidden references",
        args=("-map", "1:v", "-c:v", "libvpx", *ALT_REF),
        inputs=STEADY,
        two_passes=True,
    ),
    Recipe(
        name="vp9.webm",
        what="VP9 with hidden references, inside superframes",
        args=("-map", "1:v", "-c:v", "libvpx-vp9", *ALT_REF),
        inputs=STEADY,
        two_passes=True,
    ),
    Recipe(name="vp9.mp4", what="VP9 in MP4", args=VP9),
    Recipe(name="vp9.ivf", what="VP9 in IVF", args=VP9),
    Recipe(name="av1.mp4", what="AV1 with hidden references", args=(*AV1, "-g", "8")),
    Recipe(name="av1.webm", what="AV1", args=(*AV1, "-g", "12")),
    Recipe(name="av1.obu", what="AV1 without container", args=(*AV1, "-g", "12")),
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
