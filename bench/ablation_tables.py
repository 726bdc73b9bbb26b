"""Tables and a picture of what ``bench/ablation.py`` found: mean and spread over seeds, differences seed by seed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from bench.ablation_rows import FULL, TOKENS
from bench.model_layouts import AS_LARGE

Result = Mapping[str, Any]
Table = dict[str, dict[int, Result]]
"""Results of a data set by row and seed, rows in order."""

COLUMNS = (
    ("top1", "top-1"),
    ("top5", "top-5"),
    ("map", "mAP"),
    ("f1_micro", "F1, all levels"),
    ("f1_level_1", "F1, groups"),
    ("frame_map", "frame mAP"),
    ("ece", "ECE"),
    ("recall_at_1", "recall@1, embedding"),
    ("recall_at_1_raw", "recall@1, encoder's mean"),
    ("appearance", "appearance"),
    ("pair", "pair of programmes"),
    ("direction", "direction"),
    ("binding", "which does what"),
)
COMPARED = ("top1", "map", "f1_micro")
"""Columns that are followed by the difference to the full model."""

ROW_PX, LABEL_PX, PLOT_PX, HEAD_PX, FOOT_PX = 24, 230, 420, 34, 30


def grouped(results: Sequence[Result]) -> dict[str, Table]:
    """Arrange results by data set, row and seed; the order of their first appearance is kept."""
    tables: dict[str, Table] = {}
    for result in results:
        tables.setdefault(result["data"], {}).setdefault(result["row"], {})[result["seed"]] = result
    return tables


def spread(values: Sequence[float], *, is_signed: bool = False) -> str:
    """Write mean ± standard deviation over seeds; of one value, the value alone; of none, a dash."""
    if not values:
        return "–"
    sign = "+" if is_signed else ""
    mean = f"{statistics.mean(values):{sign}.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def values_of(by_seed: Mapping[int, Result], metric: str) -> list[float]:
    """Return the metric of each seed that has it, by rising seed."""
    return [by_seed[seed]["metrics"][metric] for seed in sorted(by_seed) if metric in by_seed[seed]["metrics"]]


def differences(by_seed: Mapping[int, Result], full: Mapping[int, Result], metric: str) -> list[float]:
    """Return the metric minus that of the full model with the same seed, for each seed that both have."""
    return [
        by_seed[seed]["metrics"][metric] - full[seed]["metrics"][metric]
        for seed in sorted(set(by_seed) & set(full))
        if metric in by_seed[seed]["metrics"] and metric in full[seed]["metrics"]
    ]


def markdown(results: Sequence[Result]) -> str:
    """Write one table per data set."""
    return "\n".join(line for name, table in grouped(results).items() for line in _table(name, table))


def _table(name: str, table: Table) -> list[str]:
    everyone = [result for by_seed in table.values() for result in by_seed.values()]
    metrics = [(key, title) for key, title in COLUMNS if any(key in result["metrics"] for result in everyone)]
    titles = ["row", "seeds", "GFLOP per clip", "parameters, M"]
    for key, title in metrics:
        titles += [title, f"{title} − full"] if key in COMPARED else [title]
    titles.append("training, s")
    first = everyone[0]
    clips = f"{first['train_clips']} clips to train, {first['test_clips']} to test"
    train = first["run"]["train"]
    steps = f"{train['total_steps']} steps of {first['run']['batch_clips']}, learning rate {train['learning_rate']:g}"
    lines = [
        f"### {name}: {clips}, {steps}",
        "",
        f"| {' | '.join(titles)} |",
        "|" + "---|" * len(titles),
    ]
    for row, by_seed in table.items():
        lines.append(_line(row, by_seed, table.get(_compared_with(row), {}), [key for key, _ in metrics]))
    return [*lines, ""]


def _compared_with(row: str) -> str:
    """Name the row that another is compared with: layouts of tokens have more blocks than the full model."""
    return f"{TOKENS}{AS_LARGE}" if row.startswith(TOKENS) else FULL


def _line(row: str, by_seed: Mapping[int, Result], full: Mapping[int, Result], metrics: Sequence[str]) -> str:
    some = next(iter(by_seed.values()))
    cells = [row, str(len(by_seed)), f"{some['gflop']:.3f}", f"{some['parameters'] / 1e6:.2f}"]
    for key in metrics:
        cells.append(spread(values_of(by_seed, key)))
        if key in COMPARED:
            cells.append("" if row == _compared_with(row) else spread(differences(by_seed, full, key), is_signed=True))
    # On a machine that others use too, CPU time says more than the clock; a GPU's time is the clock's.
    clock = "train_s" if some["device"] != "cpu" else "train_cpu_s"
    cells.append(f"{statistics.mean(result[clock] for result in by_seed.values()):.0f}")
    return f"| {' | '.join(cells)} |"


def picture(results: Sequence[Result], metric: str = "top1", title: str = "top-1") -> str:
    """Draw a dot per seed and a stroke at the mean of each row, one panel per data set; a page of SVG."""
    panels: list[Markup] = []
    top = 0
    for name, table in grouped(results).items():
        panels.append(_panel(name, table, metric, title, top))
        top += HEAD_PX + ROW_PX * len(table) + FOOT_PX
    width = LABEL_PX + PLOT_PX + 30
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" font-family="sans-serif" font-size="12">'
            '<rect width="100%" height="100%" fill="#fff"/>{}</svg>\n'
        ).format(width, top, Markup("").join(panels))
    )


def _panel(name: str, table: Table, metric: str, title: str, top: int) -> Markup:
    bottom = top + HEAD_PX + ROW_PX * len(table)
    parts = [Markup('<text x="10" y="{}" font-weight="bold">{}: {}</text>').format(top + 20, name, title)]
    grid = Markup(
        '<line x1="{x}" x2="{x}" y1="{}" y2="{}" stroke="#ddd"/>'
        '<text x="{x}" y="{}" text-anchor="middle" fill="#555">{}</text>'
    )
    parts += [grid.format(top + HEAD_PX, bottom, bottom + 16, f"{s:g}", x=_x(s)) for s in (0, 0.25, 0.5, 0.75, 1)]
    full = values_of(table.get(FULL, {}), metric)
    if full:
        parts.append(
            Markup('<line x1="{x:.1f}" x2="{x:.1f}" y1="{}" y2="{}" stroke="#c33" stroke-dasharray="4 3"/>').format(
                top + HEAD_PX, bottom, x=_x(statistics.mean(full))
            )
        )
    for number, (row, by_seed) in enumerate(table.items()):
        y = top + HEAD_PX + ROW_PX * number + ROW_PX // 2
        parts.append(Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(LABEL_PX - 10, y + 4, row))
        parts.append(_dots(values_of(by_seed, metric), y))
    return Markup("").join(parts)


def _dots(values: Sequence[float], y: int) -> Markup:
    dots = [Markup('<circle cx="{:.1f}" cy="{}" r="4" fill="#2468a4" opacity="0.7"/>').format(_x(v), y) for v in values]
    if values:
        stroke = Markup('<line x1="{x:.1f}" x2="{x:.1f}" y1="{}" y2="{}" stroke="#123" stroke-width="2"/>')
        dots.append(stroke.format(y - 8, y + 8, x=_x(statistics.mean(values))))
    return Markup("").join(dots)


def _x(share: float) -> float:
    return LABEL_PX + PLOT_PX * share
