"""Speed of decoding, FAL against its peers: the same files in one run, one core, every contestant in its own process.

Contestants deliver 8 uniform frames (FAL also key moments, and flow) of 224 x 224 RGB. Sets: the real recordings that
FAL_REAL_VIDEOS names (default: ../shared/videos), and made ones over codec, size, keyframe interval and length.
Rates are by CPU time; rounds are interleaved. A contestant that needs more than SLOW times the fastest peer's time in
the first round of a set is not run again there. Peers come with the extra "peers"; those missing are listed as such.
Prints Markdown and writes it and the raw numbers into --output. Run it as: python bench/decode.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np

from bench.decode_peers import CONTESTANTS, NUM_FRAMES, centres
from bench.decode_tables import OWN, FileSet, Measured, file_table, goals, set_table
from bench.made_videos import WIDTHS_PX, Made, make_all

ROOT = Path(__file__).resolve().parents[1]

SLOW = 2.5
START_S = 120
ANSWER_S = 300
IN_ORDER = ("OpenCV in order", "PyAV in order")
REFERENCE = "PyAV in order"
RAY = "ray"


class Library:
    """The process of one library; started when first asked, and again after a crash.

    Args:
        name: One of decode_peers.LIBRARIES.
        core: The core it may use.
    """

    def __init__(self, name: str, core: int) -> None:
        self._name, self._core = name, core
        self._process: subprocess.Popen[str] | None = None
        self.versions = ""
        self.missing = ""

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer; a crash or a hang is an answer too."""
        if self._process is None:
            self._start()
        if self.missing:
            return {"error": self.missing}
        return self._talk(json.dumps(request) + "\n", ANSWER_S)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "bench" / "decode_peers.py"), self._name, str(self._core)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | threads | {"RAY_DEDUP_LOGS": "0", "RAY_USAGE_STATS_ENABLED": "0"},
        )
        hello = self._talk("", START_S)
        self.versions, self.missing = hello.get("versions", self.versions), hello.get("error", "")

    def _talk(self, line: str, patience_s: float) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return {"error": "no process"}
        try:
            process.stdin.write(line)
            process.stdin.flush()
        except BrokenPipeError:
            pass
        is_ready, _, _ = select.select([process.stdout], [], [], patience_s)
        answer = process.stdout.readline() if is_ready else ""
        if not answer:
            self.stop()
            return {"error": f"the process ended with {process.returncode}" if is_ready else f"{patience_s:g} s over"}
        parsed: dict[str, Any] = json.loads(answer)
        return parsed


def keyframe_starts(path: Path) -> list[int]:
    """Return for each presented frame the keyframe before it, both counted in order of presentation."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size > 0 and p.pts is not None]
    packets.sort(key=lambda p: p.pts or 0)
    starts, start = [], 0
    for index, packet in enumerate(packets):
        start = index if packet.is_keyframe else start
        starts.append(start)
    return starts


def decoded_by_peer(contestant: str, starts: Sequence[int]) -> int | None:
    """Work out how many frames a peer must decode for the 8 frames, from how it seeks."""
    wanted = [min(frame, len(starts) - 1) for frame in centres(len(starts))]
    if contestant.startswith(RAY):
        return len(starts)
    if contestant in IN_ORDER:
        return wanted[-1] + 1
    if contestant == "OpenCV seek":  # it seeks to 16 frames before the wanted one
        return sum(frame - starts[max(frame - 16, 0)] + 1 for frame in wanted)
    at, decoded = -1, 0
    for frame in wanted:  # reads on within a keyframe interval, seeks otherwise
        at = max(at, starts[frame] - 1)
        decoded += frame - at
        at = frame
    return decoded


def measure(file_set: FileSet, paths: dict[str, Path], libraries: dict[str, Library], rounds: int) -> None:
    """Run all contestants over one set, interleaved, and note what they did."""
    starts = {name: keyframe_starts(paths[name]) for name in file_set.names}
    reference: dict[str, Any] = {}
    contestants = [c for c in CONTESTANTS if not c.startswith(RAY) or file_set.kind in {"short", "ray"}]
    contestants.sort(key=lambda c: c != REFERENCE)
    dropped: set[str] = set()
    for turn in range(rounds):
        for contestant in contestants[turn % 3 :] + contestants[: turn % 3]:
            library = libraries[CONTESTANTS[contestant][0]]
            if contestant in dropped:
                continue
            if contestant.startswith(RAY):
                answers = _ask_for_all(file_set, contestant, paths, library, turn)
            else:
                answers = _ask_for_each(file_set, contestant, paths, library, turn)
            if library.missing:
                file_set.missing[contestant] = library.missing
                dropped.add(contestant)
                continue
            for name, answer in answers.items():
                found = _note(file_set, contestant, name, answer)
                if turn == 0 and found.error is None:
                    _compare(found, contestant, answer, reference, name, starts[name])
        if turn == 0:
            dropped |= _slow(file_set)


def _ask_for_each(
    file_set: FileSet, contestant: str, paths: dict[str, Path], library: Library, turn: int
) -> dict[str, dict[str, Any]]:
    before = file_set.measured.get(contestant, {})
    answers = {}
    for position, name in enumerate(file_set.names):
        request = {"variant": CONTESTANTS[contestant][1], "paths": [str(paths[name])], "count": turn == 0}
        if position == 0:  # what is loaded and built at the first use of anything is not the file's
            library.ask(request | {"count": False, "reset": True})
        if name not in before or before[name].error is None:
            answers[name] = library.ask(request)
    return answers


def _ask_for_all(
    file_set: FileSet, contestant: str, paths: dict[str, Path], library: Library, turn: int
) -> dict[str, dict[str, Any]]:
    """Measure a contestant that takes all files at once; each gets its share of the time."""
    request = {"variant": CONTESTANTS[contestant][1], "paths": [str(paths[n].resolve()) for n in file_set.names]}
    if turn == 0:
        library.ask(request | {"paths": request["paths"][:1], "count": False, "reset": True})
    answer = library.ask(request | {"count": turn == 0})
    each = {k: answer[k] / len(file_set.names) for k in ("cpu_s", "wall_s") if k in answer}
    return {
        name: answer | each | ({"thumbs": [answer["thumbs"][i]]} if "thumbs" in answer else {})
        for i, name in enumerate(file_set.names)
    }


def _note(file_set: FileSet, contestant: str, name: str, answer: dict[str, Any]) -> Measured:
    found = file_set.measured.setdefault(contestant, {}).setdefault(name, Measured())
    found.error = answer.get("error")
    if found.error is None:
        found.cpu_s.append(answer["cpu_s"])
        found.wall_s.append(answer["wall_s"])
        file_set.peak_mib[contestant] = max(file_set.peak_mib.get(contestant, 0.0), answer["peak_mib"])
    return found


def _compare(
    found: Measured,
    contestant: str,
    answer: dict[str, Any],
    reference: dict[str, Any],
    name: str,
    starts: Sequence[int],
) -> None:
    """Note frames decoded, and how far the frames are from those of the reference."""
    is_own = contestant.startswith(OWN)
    found.decoded = answer["decoded"] if is_own else decoded_by_peer(contestant, starts)
    thumbs = np.array(answer["thumbs"][0])
    if contestant == REFERENCE:
        reference[name] = thumbs
    if name in reference and "key moments" not in contestant:
        found.gray_error = float(np.abs(thumbs - reference[name]).mean(axis=1).max())


def _slow(file_set: FileSet) -> set[str]:
    names = file_set.done()
    _, peer_rate = file_set.fastest_peer(names)
    peers = [c for c in file_set.measured if not c.startswith(OWN)]
    return {c for c in peers if file_set.rate(c, names) < peer_rate / SLOW}


def real_sets(folder: Path, *, take_all: bool, quick: bool) -> list[tuple[FileSet, dict[str, Path]]]:
    """Find the recordings: all, or evenly chosen ones."""
    if not folder.is_dir():
        print(f"no recordings at {folder}; set FAL_REAL_VIDEOS", file=sys.stderr)
        return []
    chosen: list[tuple[FileSet, dict[str, Path]]] = []
    for title, kind, places, most in (
        ("Real: surveillance, about 2 s", "short", ("surveillance-fights",), 12 if quick else 60),
        ("Real: falls and activitynet", "real", ("falls", "activitynet"), 4 if quick else 16),
        ("Real: infrared, about 10 s", "real", ("infrared-aircraft",), 4 if quick else 16),
    ):
        files = sorted(file for place in places for file in (folder / place).rglob("*.mp4"))
        count = len(files) if take_all else min(most, len(files))
        paths = {str(f.relative_to(folder)): f for f in (files[i * len(files) // count] for i in range(count))}
        chosen.append((FileSet(title, kind, list(paths)), paths))
    return chosen


def made_sets(*, quick: bool) -> list[tuple[str, str, list[Made]]]:
    """Plan the made files: title, kind and files of each set."""
    heights_px = (360, 720) if quick else tuple(WIDTHS_PX)
    web_gops_s = (2.0,) if quick else (2.0, 5.0)
    sets = [(f"Web-like: H.264 {h}p, 60 s", "web", [Made("h264", h, g, 60) for g in web_gops_s]) for h in heights_px]
    if quick:
        return sets
    coarse = [(h, g) for h in (360, 720) for g in (0.5, 10.0)]
    return [
        *sets,
        ("Web-like: other codecs, 720p, 60 s", "web", [Made(c, 720, 5.0, 60) for c in ("hevc", "vp9", "av1")]),
        ("Web-like: H.264 360p, 600 s", "web", [Made("h264", 360, g, 600) for g in web_gops_s]),
        ("Made: H.264, 60 s, a keyframe every 0.5 or 10 s", "made", [Made("h264", h, g, 60) for h, g in coarse]),
        (
            "Made: H.264, 10 s",
            "made",
            [Made("h264", h, g, 10) for h, g in (*coarse, (360, 2.0), (720, 2.0), (1080, 2.0))],
        ),
        (
            "Made: H.264, 2 s",
            "made",
            [Made("h264", h, g, 2) for h, g in ((360, 0.5), (360, 2.0), (720, 2.0), (1080, 2.0))],
        ),
        ("Ray Data: one web-like file", "ray", [Made("h264", 360, 2.0, 60)]),
    ]


def collect(chosen: argparse.Namespace, output: Path) -> list[tuple[FileSet, dict[str, Path]]]:
    """Find the real files and make the others."""
    real = Path(os.environ.get("FAL_REAL_VIDEOS", ROOT.parent / "shared" / "videos"))
    sets = [
        (s, paths) for s, paths in real_sets(real, take_all=chosen.all, quick=chosen.quick) if chosen.only in s.title
    ]
    planned = [part for part in made_sets(quick=chosen.quick) if chosen.only in part[0]]
    made = make_all(output / "made", [m for _, _, group in planned for m in group], chosen.makers)
    for title, kind, group in planned:
        paths = {m.name: path for m in group if isinstance(path := made[m.name], Path)}
        for m in group:
            if m.name not in paths:
                print(f"not made: {m.name}: {made[m.name]}")
        if paths:
            sets.append((FileSet(title, kind, list(paths)), paths))
    return sets


def main() -> None:
    """Make, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="out/bench-decode", help="where made files and results go")
    parser.add_argument("--quick", action="store_true", help="a few files, no Ray, two rounds")
    parser.add_argument("--all", action="store_true", help="all real files instead of some")
    parser.add_argument("--rounds", type=int, default=None, help="rounds over each set (3; quick: 2)")
    parser.add_argument("--only", default="", help="only sets whose title has this text")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core to measure on")
    parser.add_argument("--makers", type=int, default=2, help="files to make at the same time")
    chosen = parser.parse_args()
    output = Path(chosen.output).absolute()
    sets = collect(chosen, output)
    libraries = {name: Library(name, chosen.core) for name in dict.fromkeys(lib for lib, _ in CONTESTANTS.values())}
    lines: list[str] = []
    try:
        for file_set, paths in sets:
            start_s = time.monotonic()
            measure(file_set, paths, libraries, chosen.rounds or (2 if chosen.quick else 3))
            print("\n".join(set_table(file_set, NUM_FRAMES)), flush=True)
            print(f"\n({time.monotonic() - start_s:.0f} s)", flush=True)
            lines += set_table(file_set, NUM_FRAMES)
    finally:
        for library in libraries.values():
            library.stop()
    done = [file_set for file_set, _ in sets]
    versions = "; ".join(lib.versions or f"{name}: {lib.missing or 'not run'}" for name, lib in libraries.items())
    head = f"{platform.machine()}, {os.cpu_count()} cores, one used; Python {platform.python_version()}; {versions}"
    end = [*file_table(s for s in done if s.kind in {"web", "made"}), *goals(done)]
    print("\n".join([*end, "", head]))
    (output / "decode.md").write_text("\n".join([head, *lines, *end, ""]), encoding="utf-8")
    (output / "decode.json").write_text(json.dumps({"machine": head, "sets": [asdict(s) for s in done]}), "utf-8")


if __name__ == "__main__":
    main()
