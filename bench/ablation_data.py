"""The data sets of ``bench/ablation.py``: made or found, then decoded by the jobs that a user would run.

The stand-in corpus with its classes of things that happen; the same with most labels one level up, as public data sets
often have them; recordings of surveillance cameras with and without a fight; and long videos in which one of six short
things happens once. Everything is kept below one folder and made once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from bench.real_videos import fight_rows, real_folder
from bench.sampling import recordings
from bench.sampling_scenes import EVENTS, MAX_VIDEO_S, WEB_ENCODERS, Scene, scenes, write_scene
from fal_model.spec import ClipSpec
from fal_model.taxonomy import Taxonomy
from pipelines.atomic_files import writing
from pipelines.standin import GENERATOR_VERSION

ROOT = Path(__file__).resolve().parents[1]
STANDIN, COARSE, FIGHTS, EVENT_SET = "stand-in", "coarse labels", "fights", "short events"
DATA_SETS = (STANDIN, COARSE, FIGHTS, EVENT_SET)
SPLITS = ("train", "val", "test")
SPLIT_OF = ("train", "train", "test", "train", "train", "val", "test")
"""Of seven videos of a kind of event, in order."""
NUM_PER_LEAF_LABEL = 4
"""With coarse labels, one of so many videos to train on still has the labels of its leaves."""
QUICK_ENCODERS = tuple(name for name in WEB_ENCODERS if name.startswith(("x264", "MPEG-4")))
"""Encoders of ``bench/sampling_scenes.py`` that take a second per video, not ten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSizes:
    """How much is made.

    Attributes:
        difficulty: Of the stand-in corpus; see ``docs/stand-in.md``.
        classes: Of the stand-in corpus.
        videos_per_class: Of the stand-in corpus, all splits together; a tenth each goes to val and to test.
        event_videos: Long videos of each kind of short event: four of seven to train, two to test, one to val.
    """

    difficulty: str = "crowded"
    classes: int = 16
    videos_per_class: int = 200
    event_videos: int = 70


@dataclass(frozen=True, slots=True)
class Source:
    """A manifest of all splits, and its label tree; without one, the labels are flat."""

    name: str
    manifest: Path
    taxonomy: Path | None = None

    @property
    def folder(self) -> Path:
        """Return where the videos and shards of this source are: its name says what decides them."""
        return self.manifest.parent


def source(work: Path, name: str, sizes: DataSizes) -> Source:
    """Make or find the videos of a data set, and write its manifest.

    Args:
        work: Where everything is kept.
        name: One of ``DATA_SETS``.
        sizes: How much to make.
    """
    match name:
        case "stand-in":
            return _standin(work, sizes)
        case "coarse labels":
            return _coarse(work, sizes)
        case "fights":
            return _fights(work)
        case _:
            return _events(work, sizes)


def clip_spec(name: str, spec: ClipSpec) -> ClipSpec:
    """Return the input contract for a data set: a video with one short event is one clip, however long it is."""
    window_s = MAX_VIDEO_S if name == EVENT_SET else spec.window_s
    return ClipSpec.from_dict(spec.to_dict() | {"window_s": window_s})


def shards(found: Source, spec: ClipSpec) -> Path:
    """Decode a data set with ``jobs/prepare_corpus.py``; return the folder with a folder of shards for each split."""
    folder = found.folder / f"shards-{spec.sampling.value}-{spec.pipeline_id}"
    if not _is_prepared(folder):
        arguments = ["--input", str(found.manifest), "--output", str(folder)]
        arguments += ["--taxonomy", str(found.taxonomy)] if found.taxonomy else []
        _job("prepare_corpus.py", *arguments, *(f"clip.{key}={value}" for key, value in spec.to_dict().items()))
    return folder


def _is_prepared(folder: Path) -> bool:
    summary = folder / "summary.json"
    return summary.exists() and json.loads(summary.read_bytes())["exit_code"] == 0


def _standin(work: Path, sizes: DataSizes) -> Source:
    asked = {"difficulty": sizes.difficulty, "classes": sizes.classes, "videos-per-class": sizes.videos_per_class}
    folder = work / "-".join(["standin", *map(str, asked.values()), f"generator{GENERATOR_VERSION}"])
    found = Source(STANDIN, folder / "all.jsonl", folder / "taxonomy.json")
    if not found.manifest.exists():
        options = [f"--{key}={value}" for key, value in asked.items()]
        _job("make_corpus.py", "--output", str(folder), *options, "corpus.has_broken=false")
        both = [(folder / name).read_bytes() for name in ("train.jsonl", "test.jsonl")]
        with writing(found.manifest) as file:
            file.write(b"".join(both))
    return found


def _coarse(work: Path, sizes: DataSizes) -> Source:
    fine = _standin(work, sizes)
    name = f"{fine.folder.name}-coarse{NUM_PER_LEAF_LABEL}"
    found = Source(COARSE, work / name / "all.jsonl", fine.taxonomy)
    if found.manifest.exists():
        return found
    taxonomy = Taxonomy.from_dict(json.loads((fine.folder / "taxonomy.json").read_bytes()))
    rows = map(json.loads, fine.manifest.read_bytes().splitlines())
    return _written(found, (coarse_row(row, taxonomy, fine.folder) for row in rows))


def coarse_row(row: dict[str, Any], taxonomy: Taxonomy, folder: Path) -> dict[str, Any]:
    """Put the parent of each label in its place, if the video is to train on and not among those that keep theirs.

    Args:
        row: Of the stand-in's manifest.
        taxonomy: Its label tree.
        folder: Where its videos are; the new row's address is absolute.
    """
    row = row | {"uri": str(folder / row["uri"])}
    if row["split"] != "train" or zlib.crc32(row["video_id"].encode()) % NUM_PER_LEAF_LABEL == 0:
        return row
    above = {node.id: node.parent or node.id for node in taxonomy.nodes}
    segments = [segment | {"label": above[segment["label"]]} for segment in row["segments"]]
    return row | {"labels": sorted({above[label] for label in row["labels"]}), "segments": segments}


def _fights(work: Path) -> Source:
    folder = real_folder() / "surveillance-fights"
    rows = [
        {"video_id": r["file"], "uri": str(folder / r["file"]), "labels": [r["label"]], "split": r["split"]}
        for r in fight_rows(folder)
    ]
    return _written(Source(FIGHTS, work / "fights" / "all.jsonl"), rows)


def _events(work: Path, sizes: DataSizes) -> Source:
    folder = work / f"events-{sizes.event_videos}"
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    found = Source(EVENT_SET, folder / "all.jsonl")
    if found.manifest.exists():
        return found
    chosen = event_scenes(sizes.event_videos, recordings())
    rows = []
    for number, (scene, split) in enumerate(chosen, 1):
        print(f"\rshort events: video {number}/{len(chosen)}", end="", file=sys.stderr, flush=True)
        rows.append(event_row(scene, write_scene(scene, folder / "videos"), split))
    print(file=sys.stderr)
    return _written(found, rows)


def event_scenes(per_event: int, backgrounds: list[Path]) -> list[tuple[Scene, str]]:
    """Return the scenes of all kinds of event, and the split of each; half are over recordings, where there are any."""
    nth = {event: count() for event in EVENTS}
    chosen = scenes(len(EVENTS) * per_event, QUICK_ENCODERS, backgrounds)
    return [(scene, SPLIT_OF[next(nth[scene.event]) % len(SPLIT_OF)]) for scene in chosen]


def event_row(scene: Scene, path: Path, split: str) -> dict[str, Any]:
    """Say what happens and, to learn from, when.

    Where times are known a clip has the labels of its frames only; a test asks of all videos, seen or missed.
    """
    label = scene.event.replace(" ", "_")
    start_s, end_s = scene.event_s
    row = {"video_id": f"scene-{scene.seed:05d}", "uri": str(path), "labels": [label], "split": split}
    return row | ({"segments": [{"label": label, "start_s": start_s, "end_s": end_s}]} if split == "train" else {})


def _written(found: Source, rows: Iterable[dict[str, Any]]) -> Source:
    with writing(found.manifest) as file:
        file.writelines(json.dumps(row).encode() + b"\n" for row in rows)
    return found


def _job(script: str, *arguments: str) -> None:
    subprocess.run([sys.executable, str(ROOT / "jobs" / script), *arguments], check=True)
