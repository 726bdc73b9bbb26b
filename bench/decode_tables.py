"""From the measurements of bench/decode.py to its tables and to the answers to DESIGN §6. Arithmetic."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

OWN = "FAL"
NOT_PEERS_OF_GOALS = ("ray.data.read_videos",)
"""Measured where it ends in reasonable time, so it is no part of "the fastest peer"."""
SAME_FRAME_GRAY = 6.0
"""Cells of two pictures of one frame differ by less than this on average, whatever scaled them, gray levels."""


HEAD = (
    "| contestant | videos/s per core (CPU) | spread | rounds | by the wall | × fastest peer | decoded per used "
    "| peak MiB | same frames | failed |"
)


@dataclass(slots=True)
class Measured:
    """What one contestant did with one file.

    Attributes:
        cpu_s: User and system time of each round, seconds.
        wall_s: The same by the clock on the wall.
        decoded: Frames decoded, or None where nobody can tell.
        gray_error: Mean difference from the reference's frames, gray levels; None where they need not be the same.
        error: Why it delivered nothing.
    """

    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    decoded: int | None = None
    gray_error: float | None = None
    error: str | None = None


@dataclass(slots=True)
class FileSet:
    """Files measured together: title, files by name, measurements by contestant and file, peak memory."""

    title: str
    kind: str
    names: list[str]
    measured: dict[str, dict[str, Measured]] = field(default_factory=dict)
    peak_mib: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def done(self) -> list[str]:
        """Return the files that every contestant delivered, apart from those that failed at half of them."""
        able = [
            c for c, files in self.measured.items() if sum(m.error is None for m in files.values()) * 2 > len(files)
        ]
        return [n for n in self.names if all(self.measured[c][n].error is None for c in able)]

    def rates(self, contestant: str, names: Sequence[str], clock: str = "cpu") -> list[float]:
        """Return videos per second of each round over some files; empty if it failed at one of them."""
        found = [self.measured[contestant][name] for name in names]
        if not found or any(m.error is not None for m in found):
            return []
        times = [m.cpu_s if clock == "cpu" else m.wall_s for m in found]
        return [len(found) / max(sum(t[r] for t in times), 1e-9) for r in range(min(map(len, times)))]

    def rate(self, contestant: str, names: Sequence[str]) -> float:
        """Return the median of :meth:`rates`, 0 if there is none."""
        return statistics.median(self.rates(contestant, names) or [0.0])

    def fastest_peer(self, names: Sequence[str]) -> tuple[str, float]:
        """Return which peer did the files fastest, and its rate."""
        peers = [c for c in self.measured if not c.startswith(OWN) and c not in NOT_PEERS_OF_GOALS]
        best = max(peers, key=lambda c: self.rate(c, names), default="none")
        return best, self.rate(best, names) if peers else 0.0


def set_table(file_set: FileSet, num_frames: int) -> list[str]:
    """Write the table of one set, every contestant a row."""
    names = file_set.done()
    best, peer_rate = file_set.fastest_peer(names)
    lines = [
        "",
        f"### {file_set.title}: {len(file_set.names)} files, rates over {len(names)} of them; fastest peer: {best}",
        "",
        HEAD,
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for contestant, files in file_set.measured.items():
        rates = file_set.rates(contestant, names)
        failed = [m.error for m in files.values() if m.error is not None]
        note = f"{len(failed)}: {failed[0][:70].replace('|', ' ')}" if failed else "0"
        if not rates:
            lines.append(f"| {contestant} | – | – | – | – | – | – | – | – | {note} |")
            continue
        rate, walls = statistics.median(rates), file_set.rates(contestant, names, "wall")
        counts = [files[n].decoded for n in names]
        decoded = "–" if None in counts else f"{sum(c or 0 for c in counts) / num_frames / len(counts):.1f}"
        errors = [e for n in names if (e := files[n].gray_error) is not None]
        same = f"{sum(e <= SAME_FRAME_GRAY for e in errors)}/{len(errors)}" if errors else "–"
        lines.append(
            f"| {contestant} | {rate:.2f} | {min(rates):.2f}–{max(rates):.2f} | {len(rates)} "
            f"| {statistics.median(walls):.2f} | {rate / peer_rate if peer_rate else 0:.2f} | {decoded} "
            f"| {file_set.peak_mib.get(contestant, 0):.0f} | {same} | {note} |"
        )
    lines.extend(
        f"| {contestant} | – | – | – | – | – | – | – | – | not run: {why} |"
        for contestant, why in file_set.missing.items()
    )
    return lines


def file_table(file_sets: Iterable[FileSet]) -> list[str]:
    """Write one line per made file: rates of FAL, the fastest peer, how many times as fast FAL is."""
    lines: list[str] = []
    for file_set in file_sets:
        own = [c for c in file_set.measured if c.startswith(OWN)]
        if not lines:
            head = " | ".join(f"{c.removeprefix(OWN).strip()} ×" for c in own)
            lines = ["", f"| made file | fastest peer | its videos/s | {head} |", "|---|---|---|" + "---|" * len(own)]
        for name in file_set.names:
            best, peer_rate = file_set.fastest_peer([name])
            if peer_rate > 0:
                ratios = " | ".join(f"{file_set.rate(c, [name]) / peer_rate:.2f}" for c in own)
                lines.append(f"| {name} | {best} | {peer_rate:.2f} | {ratios} |")
    return lines


def goals(file_sets: Sequence[FileSet]) -> list[str]:
    """Answer the decode rows of DESIGN §6."""
    lines = ["", "| DESIGN §6 | must | reach | measured | met | reached |", "|---|---|---|---|---|---|"]
    web = [(s, [n]) for s in file_sets if s.kind == "web" for n in s.names]
    short = [(s, s.done()) for s in file_sets if s.kind == "short"]
    rows = (
        ("web-like, key moments + flow", web, "FAL key moments + flow", 5.0, 15.0),
        ("the same with `keyframes`", web, "FAL keyframes + flow", 5.0, 15.0),
        ("short real clips, key moments + flow", short, "FAL key moments + flow", 1.0, 1.5),
        ("the same with `keyframes`", short, "FAL keyframes + flow", 1.0, 1.5),
        ("web-like, uniform without flow", web, "FAL uniform", 1.0, 1.5),
        ("short real clips, uniform without flow", short, "FAL uniform", 1.0, 1.5),
    )
    for title, units, contestant, must, reach in rows:
        ratios = [
            s.rate(contestant, names) / peer
            for s, names in units
            if contestant in s.measured and (peer := s.fastest_peer(names)[1]) > 0
        ]
        if not ratios:
            lines.append(f"| {title} | ≥ {must:g} | {reach:g} | not measured | no | no |")
            continue
        mean = math.exp(statistics.fmean(math.log(max(r, 1e-9)) for r in ratios))
        spread = f" ({min(ratios):.2f}–{max(ratios):.2f} over {len(ratios)} files)" if len(ratios) > 1 else ""
        answers = " | ".join("yes" if mean >= goal else "no" for goal in (must, reach))
        lines.append(f"| {title} | ≥ {must:g}× | {reach:g}× | {mean:.2f}×{spread} | {answers} |")
    lines += ["", "Several files: geometric mean of each file's ratio to the peer that was fastest on that file."]
    return lines
