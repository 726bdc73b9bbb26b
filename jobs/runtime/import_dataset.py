"""Turn annotation files and a folder of videos into a manifest, a taxonomy and a list of problems."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from fal_model.errors import ConfigError
from jobs.runtime.cli import DONE, TOO_MANY_FAILED, Argument, Outcome, say
from jobs.runtime.config import FalConfig
from jobs.runtime.progress import progress
from pipelines import manifest, storage
from pipelines.importers import folders, formats, source, translate
from pipelines.importers.annotations import SPLIT_WORDS, Parsed, Problem
from pipelines.importers.assemble import Imported, assemble
from pipelines.importers.formats import Format
from pipelines.importers.matching import VideoIndex
from pipelines.listing import Listing

NATIVE, OPEN_FAL_500 = "native", "open-fal-500"
SPLITS = tuple(dict.fromkeys(SPLIT_WORDS.values()))
ARGUMENTS = (
    Argument("format", f"what the annotations are: {', '.join(formats.Format)}"),
    Argument("videos", "folder or s3:// prefix with the videos, at any depth"),
    Argument("output", "manifest to write (.jsonl, .csv, .parquet); the other files go beside it"),
    Argument("annotations", "annotation file, or the folder of the set's files", is_required=False),
    Argument("classes", f"{NATIVE} keeps the set's labels, {OPEN_FAL_500} translates them", False, NATIVE),
    Argument("split", f"keep only one split: {', '.join(SPLITS)}", is_required=False),
    Argument("columns", "which column is what, as uri=file,label=class (csv; see docs/importing.md)", False),
)
MAX_EXAMPLES = 3
MAX_LINES = 40
MAX_CHARS = 160


def import_dataset(options: dict[str, str], config: FalConfig) -> Outcome:
    """Write the manifest; every row of the annotations is in it, or counted with the reason why not.

    Raises:
        ConfigError: an option that cannot be used, or annotations of another format.
        FalError: the output cannot be written.
    """
    output = storage.absolute(options["output"])
    of = _checked(options)
    columns = formats.columns_named(options["columns"], of)
    to_nodes = None if options["classes"] == NATIVE else translate.nodes_of(of, config.importing.class_set)
    found = source.listed(storage.absolute(options["videos"]), "--videos")
    say(f"{len(found.files):,} files below {options['videos']}")
    parsed = _parse(of, options, columns, config, found)
    if not parsed.entries:
        raise ConfigError([f"--format {of.value}: there is not one row to import"])
    if to_nodes is not None:
        parsed = translate.translate(parsed, to_nodes)
    with progress("matching", len(parsed.entries), "rows") as update:
        done = assemble(parsed, VideoIndex(found.files), options["split"], lambda n: update(n, "looked up"))
    files = _write(output, done, has_taxonomy=to_nodes is None)
    too_many = done.left_out_share > config.importing.max_left_out_share or not done.rows
    summary = {"job": "import_dataset", "format": of.value, "classes": options["classes"], **_counts(done), **files}
    return Outcome(TOO_MANY_FAILED if too_many else DONE, summary, _lines(done, files, too_many=too_many))


def _checked(options: dict[str, str]) -> Format:
    problems: list[str] = []
    try:
        of = formats.format_named(options["format"])
    except ConfigError as error:
        problems += error.problems
    else:
        if (of is Format.FOLDERS) == bool(options["annotations"]):
            need = "is not read" if of is Format.FOLDERS else "is missing"
            problems.append(f"--annotations: {need} with --format {of.value}")
    if not options["output"].endswith(manifest.SUFFIXES):
        problems.append(f"--output: got {options['output']!r}; must be a manifest: {', '.join(manifest.SUFFIXES)}")
    if options["classes"] not in {NATIVE, OPEN_FAL_500}:
        problems.append(f"--classes: got {options['classes']!r}, allowed are {NATIVE}, {OPEN_FAL_500}")
    if options["split"] and options["split"] not in SPLITS:
        problems.append(f"--split: got {options['split']!r}, allowed are {', '.join(SPLITS)}")
    if problems:
        raise ConfigError(problems)
    return of


def _parse(of: Format, options: dict[str, str], columns: dict[str, str], config: FalConfig, found: Listing) -> Parsed:
    if of is Format.FOLDERS:
        return folders.parse(found.files)
    files, passed = source.load(storage.absolute(options["annotations"]), of, config.importing)
    say(f"reading {len(files)} annotation file{'s' if len(files) > 1 else ''}")
    parsed = formats.parse(of, files, columns, config.importing)
    parsed.problems += passed
    return parsed


def _write(output: str, done: Imported, *, has_taxonomy: bool) -> dict[str, str]:
    """Write manifest, problems and taxonomy; return where they are."""
    suffix = next(s for s in manifest.SUFFIXES if output.endswith(s))
    stem = output.removesuffix(suffix)
    files = {"manifest": output, "problems": f"{stem}.problems.jsonl"}
    lines = [json.dumps(p.to_dict(), ensure_ascii=False) for p in done.problems]
    storage.write_bytes(files["problems"], "".join(line + "\n" for line in lines).encode())
    taxonomy = done.taxonomy() if has_taxonomy else None
    if taxonomy is not None:
        files["taxonomy"] = f"{stem}.taxonomy.json"
        storage.write_bytes(files["taxonomy"], json.dumps(taxonomy.to_dict(), indent=1, ensure_ascii=False).encode())
    elif not has_taxonomy:
        files["taxonomy"] = OPEN_FAL_500
    manifest.write_manifest(output, done.rows)
    return files


def _counts(done: Imported) -> dict[str, Any]:
    by_kind: dict[str, int] = defaultdict(int)
    for problem in done.problems:
        by_kind[problem.kind.value] += 1
    return {
        "rows_read": done.rows_read,
        "rows_in_manifest": len(done.rows),
        "rows_merged": done.rows_merged,
        "rows_left_out": dict(sorted(done.rows_left_out.items())),
        "left_out_share": round(done.left_out_share, 6),
        "segments_read": done.segments_read,
        "segments_in_manifest": sum(len(row["segments"] or ()) for row in done.rows),
        "segments_merged": done.segments_merged,
        "segments_left_out": dict(sorted(done.segments_left_out.items())),
        "videos_on_disk": done.videos_on_disk,
        "videos_unnamed": done.videos_unnamed,
        "videos_without_truth": sum(row["labels"] is None for row in done.rows),
        "videos_by_split": _by_split(done.rows),
        "num_classes": len(done.nodes),
        "problems_by_kind": dict(sorted(by_kind.items())),
    }


def _by_split(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row["split"] or "none"] += 1
    return dict(sorted(counts.items()))


def _lines(done: Imported, files: dict[str, str], *, too_many: bool) -> list[str]:
    counts = _counts(done)
    lost, gone = counts["rows_left_out"], counts["segments_left_out"]
    splits = ", ".join(f"{name} {n:,}" for name, n in counts["videos_by_split"].items()) or "none"
    rows = f"in the manifest {len(done.rows):,} + merged into these {done.rows_merged:,}"
    segments = f"in the manifest {counts['segments_in_manifest']:,} + merged {done.segments_merged:,}"
    lines = [
        *_problem_lines(done.problems),
        f"rows read {done.rows_read:,} = {rows} + left out {sum(lost.values()):,}{_reasons(lost)}",
        f"segments read {done.segments_read:,} = {segments} + left out {sum(gone.values()):,}{_reasons(gone)}",
        f"videos found {done.videos_on_disk:,}, named by no row {done.videos_unnamed:,}",
        f"in the manifest without truth {counts['videos_without_truth']:,}; splits: {splits}",
        *(f"{name}: {place}" for name, place in files.items()),
    ]
    if too_many:
        share = f"{done.left_out_share:.1%} of the rows, more than importing.max_left_out_share allows"
        lines.append(f"left out: {share if done.rows else 'every row; the manifest is empty'}")
    return lines


def _reasons(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{kind} {n:,}' for kind, n in counts.items())})" if counts else ""


def _problem_lines(problems: Sequence[Problem]) -> list[str]:
    """Show each kind of problem with its count and the first few examples."""
    by_kind: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        by_kind[problem.kind.value].append(problem)
    lines: list[str] = []
    for kind, found in sorted(by_kind.items(), key=lambda item: (-len(item[1]), item[0])):
        lines.append(f"{kind} {len(found):,}")
        for problem in found[:MAX_EXAMPLES]:
            shown = problem.to_dict()
            line = f"  {shown['place']}: {shown['what']}"
            lines.append(line if len(line) <= MAX_CHARS else line[: MAX_CHARS - 1] + "…")
    return lines if len(lines) <= MAX_LINES else [*lines[:MAX_LINES], "… and more kinds: see the file of problems"]
