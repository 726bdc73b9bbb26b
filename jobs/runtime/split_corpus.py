"""Divide a manifest into splits and say how evenly that went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fal_model.errors import ConfigError
from jobs.runtime.cli import DONE, Argument, Outcome, say
from jobs.runtime.config import FalConfig
from pipelines import manifest, storage
from pipelines.splits import NO_LABEL, Gap, SplitPlan, assign_splits

ARGUMENTS = (
    Argument("input", "manifest (.parquet, .csv, .jsonl)"),
    Argument("output", "manifest to write (.parquet, .csv, .jsonl); may be the same"),
)
MAX_CLASSES = 12
MAX_GAPS = 5


def split_corpus(options: dict[str, str], config: FalConfig) -> Outcome:
    """Give every video of a manifest a split; run on its own output with more videos, it keeps the old splits.

    Raises:
        ConfigError: no manifest, one without videos, or given splits that divide what belongs together.
        FalError: the output cannot be written.
    """
    output = storage.absolute(options["output"])
    problems = [
        f"--{name}: got {options[name]!r}; must be a manifest: {', '.join(manifest.SUFFIXES)}"
        for name in ("input", "output")
        if not options[name].endswith(manifest.SUFFIXES)
    ]
    if problems:
        raise ConfigError(problems)
    rows = manifest.load_input(options["input"])[0].to_pylist()
    if not rows:
        raise ConfigError([f"--input: {options['input']!r} holds no videos"])
    say(f"dividing {len(rows):,} videos")
    plan = assign_splits(rows, config.split)
    manifest.write_manifest(output, [row | {"split": plan.split_of[row["video_id"]]} for row in rows])
    shares = config.split.shares
    return Outcome(DONE, _summary(plan, shares, output), _lines(plan, shares, output))


def _summary(plan: SplitPlan, shares: dict[str, float], output: str) -> dict[str, Any]:
    return {
        "job": "split_corpus",
        "videos": len(plan.split_of),
        "units": plan.num_units,
        "largest_unit": plan.largest_unit,
        "given": plan.num_given,
        "forced_units": plan.num_forced,
        "shares": shares,
        "videos_by_split": plan.sizes(),
        "videos_by_class_and_split": plan.counts,
        "classes_not_in_every_split": [asdict(gap) for gap in plan.gaps],
        "output": output,
    }


def _lines(plan: SplitPlan, shares: dict[str, float], output: str) -> list[str]:
    names = [*shares, *(name for name in plan.sizes() if name not in shares)]
    units = f"{plan.num_units:,} units, the largest of {plan.largest_unit:,} videos"
    return [
        f"{len(plan.split_of):,} videos in {units}; {plan.num_given:,} videos had a split already",
        *class_table(plan, shares, names),
        *_gap_lines(plan.gaps, sum(label != NO_LABEL for label in plan.counts)),
        f"output: {output}",
    ]


def class_table(plan: SplitPlan, shares: dict[str, float], names: Sequence[str]) -> list[str]:
    """Write videos by class and split as lines: all videos, then the classes farthest from the shares first."""

    def off(label: str) -> float:
        found = plan.counts[label]
        total = sum(found.get(name, 0) for name in shares)
        return max(abs(found.get(name, 0) - share * total) for name, share in shares.items())

    chosen = sorted(plan.counts, key=lambda label: (-off(label), label))
    width = max(map(len, ["all videos", "(no label)", *chosen[:MAX_CLASSES]]))
    columns = [max(len(name), 14) for name in names]

    def line(title: str, found: dict[str, int]) -> str:
        total = sum(found.values())
        cells = [f"{found.get(name, 0):,} ({found.get(name, 0) / total:.1%})" for name in names]
        return "  ".join([f"{title:<{width}}", *(f"{c:>{w}}" for c, w in zip(cells, columns, strict=True))])

    wanted = [f"{shares[name]:.1%}" if name in shares else "given" for name in names]
    lines = [
        "  ".join([" " * width, *(f"{name:>{w}}" for name, w in zip(names, columns, strict=True))]),
        "  ".join([f"{'share':<{width}}", *(f"{text:>{w}}" for text, w in zip(wanted, columns, strict=True))]),
        line("all videos", plan.sizes()),
        *(line(label or "(no label)", plan.counts[label]) for label in chosen[:MAX_CLASSES]),
    ]
    more = len(chosen) - MAX_CLASSES
    return lines + ([f"… and {more:,} more classes, nearer to the shares"] if more > 0 else [])


def _gap_lines(gaps: Sequence[Gap], num_classes: int) -> list[str]:
    if not gaps:
        return [f"all {num_classes:,} classes are in every split"]
    shown = [f"  {gap.label}: not in {', '.join(gap.missing)}: {gap.reason}" for gap in gaps[:MAX_GAPS]]
    more = [f"  … and {len(gaps) - MAX_GAPS:,} more, in summary.json"] if len(gaps) > MAX_GAPS else []
    return [f"{len(gaps):,} of {num_classes:,} classes are not in every split:", *shown, *more]
