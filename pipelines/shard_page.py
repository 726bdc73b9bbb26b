"""The page that shows what is in shards: sizes, classes, and clips as training gets them. One file, without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from fal_model.flow_codec import decode_flow
from fal_model.spec import ClipSpec
from fal_model.taxonomy import Taxonomy
from pipelines import charts, page, pixels, storage
from pipelines.records import SCHEMA_VERSION
from pipelines.report import Tile
from pipelines.shard_survey import NO_LABEL, Row, Survey

NAME = "shards.html"
FLOW_PICTURE_PX = 144
FLOW_QUALITY = 85
SMALL_SHARE = 0.01
"""Columns smaller than this are told together."""
ARROWS = 7
"""Along each side."""
TOP_PERCENT = 98
"""Speed that gets the full colour: the share of a clip's places that are slower, percent."""
REST_PX = 2.0
"""Slowest speed, frame pixels per step, that gets the full colour: noise of a still clip stays pale."""

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFrame:
    """One frame of a clip: pictures as addresses, arrows as paths in cells of the flow grid."""

    time_s: float
    picture: str
    flow: str
    arrows: str
    camera: str
    camera_text: str
    labels: list[str]
    is_timed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownClip:
    """One clip of the sample."""

    split: str
    video_id: str
    clip_index: int
    start_s: float
    end_s: float
    paths: list[tuple[str, list[str]]]
    top_px_per_s: float
    jpeg_bytes: int
    frames: list[ShownFrame]


def write_page(
    output: str, title: str, surveys: Sequence[Survey], rows: Sequence[tuple[str, Row]], spec: ClipSpec, tree: Taxonomy
) -> str:
    """Write ``shards.html``.

    Args:
        output: Folder it goes into, local or ``s3://``.
        title: What was looked at.
        surveys: What each split holds.
        rows: The clips to show, each with the name of its split.
        spec: What a clip is.
        tree: The label tree.

    Returns:
        The address of the page.

    Raises:
        OutputError: it cannot be written.
    """
    text = page.render(
        "shards.html",
        ["report.css", "shards.css"],
        title=title,
        tiles=_tiles(surveys),
        splits=[_split_cells(s) for s in surveys],
        columns=_columns(surveys),
        facts=_facts(spec, tree),
        names=[s.name for s in surveys],
        classes=_classes(surveys, tree),
        num_classes=sum(1 for label in _all_labels(surveys) if label != NO_LABEL),
        num_leaves=len(tree.leaves),
        num_leaves_found=sum(_all_labels(surveys)[tree.nodes[i].id] > 0 for i in tree.leaves),
        clips=[shown(split, row, spec, tree) for split, row in rows],
        wheel=page.picture(pixels.encode_jpeg(_wheel(96), 92)),
        spec=spec,
    )
    target = storage.join(output, NAME)
    storage.write_bytes(target, text.encode("utf-8", "replace"))
    return target


def _tiles(surveys: Sequence[Survey]) -> list[Tile]:
    clips = sum(s.num_clips for s in surveys)
    videos, frames = sum(s.num_videos for s in surveys), sum(s.num_frames for s in surveys)
    stored = sum(s.file_bytes for s in surveys)
    timed, flows = sum(s.num_timed for s in surveys), sum(s.num_flows for s in surveys)
    return [
        Tile("Clips", page.count(clips), f"{page.time(sum(s.clips_s for s in surveys))} of video"),
        Tile("Videos", page.count(videos), f"{clips / max(1, videos):.2f} clips each"),
        Tile("Stored", page.amount(stored, "B"), f"in {page.count(sum(s.num_shards for s in surveys))} shards"),
        Tile("Per clip", page.amount(stored / max(1, clips), "B"), "as compressed"),
        Tile("Labels timed", f"{timed / max(1, clips):.0%}", "clips whose labels are known frame by frame"),
        Tile("Flow", f"{flows / max(1, frames):.0%}", "frames of which the motion is known"),
    ]


def _split_cells(survey: Survey) -> list[str]:
    per_clip = page.amount(survey.file_bytes / max(1, survey.num_clips), "B")
    counts = (survey.num_shards, survey.num_videos, survey.num_clips)
    return [survey.name, *map(page.count, counts), page.amount(survey.file_bytes, "B"), per_clip]


def _columns(surveys: Sequence[Survey]) -> list[tuple[str, str, str, Markup]]:
    """List the columns by size: name, bytes per clip, share, bar."""
    sizes = {n: sum(s.column_bytes[n] for s in surveys) for n in {n for s in surveys for n in s.column_bytes}}
    whole, clips = sum(sizes.values()) or 1, max(1, sum(s.num_clips for s in surveys))
    small = [name for name in sizes if sizes[name] < SMALL_SHARE * whole]
    shown = {name: size for name, size in sizes.items() if name not in small}
    shown |= {f"{len(small)} others": sum(sizes[name] for name in small)} if small else {}
    return [
        (n, page.amount(size / clips, "B"), f"{size / whole:.1%}", charts.bar(size / whole))
        for n, size in sorted(shown.items(), key=lambda item: (-item[1], item[0]))
    ]


def _facts(spec: ClipSpec, tree: Taxonomy) -> list[tuple[str, str]]:
    return [
        ("frames", f"{spec.num_frames} of {spec.size_px} × {spec.size_px} px"),
        ("window", f"{spec.window_s:g} s at most"),
        ("sampling", spec.sampling.value),
        ("flow grid", f"{spec.flow_size_px} × {spec.flow_size_px}"),
        ("flow step", f"{spec.flow_step_s:.4g} s"),
        ("taxonomy", f"{tree.taxonomy_id}: {len(tree.nodes)} classes, {len(tree.leaves)} of them leaves"),
        ("pipeline", spec.pipeline_id),
        ("schema", f"version {SCHEMA_VERSION}"),
    ]


def _all_labels(surveys: Sequence[Survey]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for survey in surveys:
        for label, number in survey.labels.items():
            counts[label] = counts.get(label, 0) + number
    return _Zero(counts)


class _Zero(dict[str, int]):
    """Counts that are 0 where nothing was counted."""

    def __missing__(self, key: str) -> int:
        return 0


def _classes(surveys: Sequence[Survey], tree: Taxonomy) -> list[dict[str, Any]]:
    """List the classes that clips carry, the most frequent first."""
    totals = _all_labels(surveys)
    most = max((n for label, n in totals.items() if label != NO_LABEL), default=1)
    return [
        {
            "path": " › ".join(_names(label, tree)) if label != NO_LABEL else "no label",
            "id": label,
            "counts": [survey.labels[label] for survey in surveys],
            "bar": charts.bar(totals[label] / most),
        }
        for label in sorted(totals, key=lambda label: (label == NO_LABEL, -totals[label], label))
    ]


def _names(label: str, tree: Taxonomy) -> list[str]:
    return [tree.nodes[i].name for i in tree.path_indices(tree.index(label))] if label in tree else [label]


def shown(split: str, row: Row, spec: ClipSpec, tree: Taxonomy) -> ShownClip:
    """Turn a row into what the page shows of it."""
    grid, num = spec.flow_size_px, len(row["frames_jpeg"])
    step_THWC = decode_flow(np.frombuffer(row["flow_q"], np.int8).reshape(num, grid, grid, 2))
    speed_THW = np.hypot(step_THWC[..., 0], step_THWC[..., 1])
    top = max(REST_PX, float(np.percentile(speed_THW, TOP_PERCENT)))
    camera_T23 = np.asarray(row["camera"], np.float32).reshape(num, 2, 3)
    frames = []
    for t, jpeg in enumerate(row["frames_jpeg"]):
        has_flow = row["flow_valid"][t]
        right, down = (float(v) for v in camera_T23[t, :, 2] / spec.flow_step_s)
        frames.append(
            ShownFrame(
                time_s=row["frame_times_s"][t],
                picture=page.picture(jpeg),
                flow=page.picture(_flow_jpeg(step_THWC[t], top)) if has_flow else "",
                arrows=arrows(step_THWC[t], top) if has_flow else "",
                camera=arrow(grid / 2, grid / 2, camera_T23[t, :, 2] * (grid / ARROWS / top)) if has_flow else "",
                camera_text=f"camera: content moves {right:+.0f} right, {down:+.0f} down, px/s" if has_flow else "",
                labels=[_names(x, tree)[-1] for x in row["frame_labels"][t]] if row["frame_labels"] else [],
                is_timed=row["frame_labels"] is not None,
            )
        )
    return ShownClip(
        split=split,
        video_id=row["video_id"],
        clip_index=row["clip_index"],
        start_s=row["start_s"],
        end_s=row["end_s"],
        paths=[(label, _names(label, tree)) for label in row["labels"]],
        top_px_per_s=top / spec.flow_step_s,
        jpeg_bytes=sum(map(len, row["frames_jpeg"])),
        frames=frames,
    )


def flow_colours(flow_HWC: Floats, top: float) -> npt.NDArray[np.uint8]:
    """Paint a flow field: the hue is the direction, still is white, ``top`` and faster the full colour."""
    angle_HW = np.arctan2(flow_HWC[..., 1], flow_HWC[..., 0])
    share_HW1 = np.clip(np.hypot(flow_HWC[..., 0], flow_HWC[..., 1]) / top, 0, 1)[..., None]
    hues_HWC = 0.5 + 0.5 * np.cos(angle_HW[..., None] - np.array([0, 2, 4]) * np.pi / 3)
    return np.rint(255 * (1 - share_HW1 + share_HW1 * hues_HWC)).astype(np.uint8)


def _flow_jpeg(flow_HWC: Floats, top: float) -> bytes:
    colours_HWC = flow_colours(flow_HWC, top)
    return pixels.encode_jpeg(pixels.resize(colours_HWC, FLOW_PICTURE_PX, FLOW_PICTURE_PX), FLOW_QUALITY)


def _wheel(size_px: int) -> npt.NDArray[np.uint8]:
    """Paint every direction at every speed: what a place of the picture shows moves away from the centre."""
    steps = np.linspace(-1, 1, size_px)
    flow_HWC = np.stack(np.meshgrid(steps, steps), axis=-1)
    colours_HWC = flow_colours(flow_HWC, 1.0)
    colours_HWC[np.hypot(flow_HWC[..., 0], flow_HWC[..., 1]) > 1] = 255
    return colours_HWC


def arrows(flow_HWC: Floats, top: float) -> str:
    """Write the mean motion of ``ARROWS`` by ``ARROWS`` parts of a field as one SVG path, in cells of its grid."""
    grid = flow_HWC.shape[0]
    edges = np.linspace(0, grid, min(ARROWS, grid) + 1).round().astype(int)
    paths = []
    for top_row, bottom in pairwise(edges):
        for left, right in pairwise(edges):
            mean = flow_HWC[top_row:bottom, left:right].mean(axis=(0, 1)) * (grid / ARROWS / top)
            paths.append(arrow((left + right) / 2, (top_row + bottom) / 2, mean))
    return "".join(paths)


def arrow(x: float, y: float, along: Floats) -> str:
    """Write an arrow from a place as an SVG path; nothing where it would be too short to see."""
    length = float(np.hypot(along[0], along[1]))
    if length < 1:
        return ""
    right, down = (float(v) * min(1.0, 2 * ARROWS / length) for v in along)
    head = [f"l{-0.35 * right + side * 0.2 * down:.1f} {-0.35 * down - side * 0.2 * right:.1f}" for side in (1, -1)]
    end = f"{x + right:.1f} {y + down:.1f}"
    return f"M{x:.1f} {y:.1f}L{end}{head[0]}M{end}{head[1]}"
