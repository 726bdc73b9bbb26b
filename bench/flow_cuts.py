"""Cuts between real recordings, and neighbours within one: does FAL tell them apart? Part of ``bench/flow.py``."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fal_model.errors import VideoError
from pipelines import pixels, sampling
from pipelines.limits import DecodeLimits
from pipelines.optical_flow import is_cut
from pipelines.pictures import PictureReader

Bytes = npt.NDArray[np.uint8]
PicturePair = tuple[Bytes, Bytes]
NO_CUTS = np.zeros(0, np.int64)  # what packets tell of cuts is not used here
STEP_S = 1 / 15
PAIRS_PER_VIDEO = {"falls": 60, "activitynet": 120, "surveillance-fights": 8, "infrared-aircraft": 5}
THERMAL = "infrared-aircraft"
CUTS_IN_RECORDINGS_S = {"activitynet/women_long_jump.mp4": (5.05, 22.25)}
"""Seen by eye; pairs across them are left out."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Two neighbours of one recording; recordings of one scene have the same ``scene``."""

    folder: str
    scene: str
    from_HW: Bytes
    to_HW: Bytes


def read_samples(folder: Path, size_px: int, share: float) -> list[Sample]:
    """Decode neighbours from every recording, evenly spaced in time."""
    scenes = _scenes(folder)
    samples: list[Sample] = []
    for name, count in PAIRS_PER_VIDEO.items():
        for path in sorted((folder / name).rglob("*.mp4")):
            relative = path.relative_to(folder).as_posix()
            scene = scenes.get(relative, "falls" if name == "falls" else relative)
            avoid_s = CUTS_IN_RECORDINGS_S.get(relative, ())
            pairs = _neighbours(path, max(1, round(count * share)), size_px, avoid_s)
            samples.extend(Sample(name, scene, *pair) for pair in pairs)
        print(f"<!-- {len(samples)} pairs after {name} -->", flush=True)
    return samples


def _scenes(folder: Path) -> dict[str, str]:
    """Return which recordings come from the same source; all falls are filmed by one camera in a few rooms."""
    scenes: dict[str, str] = {}
    for name, column in (("surveillance-fights", "source"), (THERMAL, "group")):
        with (folder / name / "split.csv").open(encoding="utf-8") as file:
            scenes |= {f"{name}/{row['file']}": row[column] for row in csv.DictReader(file)}
    return scenes


def _neighbours(path: Path, count: int, size_px: int, avoid_s: Sequence[float]) -> Iterator[PicturePair]:
    with path.open("rb") as file:
        try:
            reader = PictureReader(file, DecodeLimits())
        except VideoError as error:
            print(f"<!-- {path.name}: {error.message} -->")
            return
        table = reader.table
        frames = sorted({int(n) for n in np.linspace(1, max(1, len(table) - 4), count) if n < len(table)})
        others = sampling.choose_neighbours(table, frames, (0.0, table.duration_s), STEP_S, 5 * STEP_S, NO_CUTS)
        found = reader.pictures(sorted({*frames, *(n for n in others if n is not None)}), size_px)
        reader.close()
    for frame, other in zip(frames, others, strict=True):
        first, second = found.get(frame), None if other is None else found.get(other)
        if first is None or second is None or any(first.time_s <= cut_s <= second.time_s for cut_s in avoid_s):
            continue
        yield pixels.gray(first.rgb_HWC), pixels.gray(second.rgb_HWC)


def was_cut_before(from_HW: Bytes, to_HW: Bytes, _flow_HWC: object) -> bool:
    """Apply the rule of version 0.1: correlation of 16 x 16 cells below 0.5, and histograms overlapping below 0.6."""
    first_N, second_N = (pixels.area_average(p.astype(np.float32), 16).ravel() for p in (from_HW, to_HW))
    if min(first_N.std(), second_N.std()) < 4:
        return False
    overlap = np.minimum(*(np.bincount(p.ravel() // 8, minlength=32) for p in (from_HW, to_HW))).sum() / from_HW.size
    return bool(np.corrcoef(first_N, second_N)[0, 1] < 0.5 and overlap < 0.6)


RULES: dict[str, Callable[[Bytes, Bytes, npt.NDArray[np.float32]], bool]] = {"before": was_cut_before, "now": is_cut}


def _lit(picture_HW: Bytes, gain: float, offset: float, gamma: float = 1.0) -> Bytes:
    light = 255 * (picture_HW / 255) ** gamma * gain + offset
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def _dissolve(cut: PicturePair) -> PicturePair:
    first, second = (picture.astype(np.float64) for picture in cut)
    steps = (np.rint(first * (1 - a) + second * a).astype(np.uint8) for a in (0.5, 0.5 + STEP_S))
    return next(steps), next(steps)


def sets_of(samples: Sequence[Sample], num_cuts: int) -> dict[str, list[PicturePair]]:
    """Sort the pairs into neighbours as they are, neighbours with the light changed, and cuts."""
    rng = np.random.default_rng(0)
    plain = [(s.from_HW, s.to_HW) for s in samples if s.folder != THERMAL]
    flow = pixels.DenseFlow()
    speed = np.array([np.linalg.norm(flow(*pair), axis=2).mean() for pair in plain])
    some = plain[::4]
    changes: dict[str, Callable[[Bytes], Bytes]] = {
        "half the light": lambda p: _lit(p, 0.5, 0),
        "a fifth of the light": lambda p: _lit(p, 0.2, 0),
        "1.6 times the light": lambda p: _lit(p, 1.6, 0),
        "flash: 60 % white over it": lambda p: _lit(p, 0.4, 153),
        "gamma 2": lambda p: _lit(p, 1, 0, 2),
        "noise, 12 gray levels": lambda p: np.clip(p + rng.normal(0, 12, p.shape), 0, 255).astype(np.uint8),
    }
    cuts = list(_cuts([s for s in samples if s.folder != THERMAL], num_cuts, rng))
    return {
        "no cut: neighbours": plain,
        "no cut: the fastest tenth of them": [plain[n] for n in np.flatnonzero(speed >= np.quantile(speed, 0.9))],
        "no cut: thermal neighbours": [(s.from_HW, s.to_HW) for s in samples if s.folder == THERMAL],
        **{f"no cut: {name}": [(first, change(second)) for first, second in some] for name, change in changes.items()},
        "no cut: a step of a dissolve of 1 s": [_dissolve(cut) for cut in cuts[::8]],
        "cut: different recordings": cuts,
        "cut: within surveillance": list(
            _cuts([s for s in samples if s.folder == "surveillance-fights"], num_cuts, rng)
        ),
        "cut: to half the light": [(first, _lit(second, 0.5, 0)) for first, second in cuts[::4]],
        "cut: different thermal recordings": list(
            _cuts([s for s in samples if s.folder == THERMAL], num_cuts // 4, rng)
        ),
    }


def _cuts(samples: Sequence[Sample], count: int, rng: np.random.Generator) -> Iterator[PicturePair]:
    """Draw pairs from different scenes."""
    while count > 0:
        first, second = (samples[int(n)] for n in rng.integers(len(samples), size=2))
        if first.scene != second.scene:
            count -= 1
            yield first.from_HW, second.to_HW


def cut_table(folder: Path, size_px: int, *, share: float) -> Iterator[str]:
    """Yield the lines of the table of what is called a cut, before and now."""
    samples = read_samples(folder, size_px, share)
    flow = pixels.DenseFlow()
    sets = sets_of(samples, round(2000 * share))
    called = {
        title: {name: sum(rule(a, b, flow(a, b)) for a, b in pairs) for name, rule in RULES.items()}
        for title, pairs in sets.items()
    }
    yield "| pairs | number | called a cut before | called a cut now |"
    yield "|---|---|---|---|"
    for title, counts in called.items():
        number = len(sets[title])
        yield f"| {title} | {number} | " + " | ".join(f"{counts[n] / number:.2%}" for n in RULES) + " |"
    yield ""
    yield "| | before | now |"
    yield "|---|---|---|"
    wrong, right = called["no cut: neighbours"], called["cut: different recordings"]
    number = len(sets["cut: different recordings"])
    yield "| recall | " + " | ".join(f"{right[n] / number:.1%}" for n in RULES) + " |"
    precise = [right[n] / max(1, right[n] + wrong[n]) for n in RULES]
    yield "| precision among neighbours and cuts as above | " + " | ".join(f"{p:.1%}" for p in precise) + " |"
