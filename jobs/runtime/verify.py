"""Make rows of a labelling run again from the videos and the model, and say whether they are the same."""

from __future__ import annotations

import difflib
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from fal_model.errors import ConfigError
from jobs.runtime.cli import DONE, TOO_MANY_FAILED, Argument, Outcome
from jobs.runtime.config import FalConfig
from jobs.runtime.progress import progress
from pipelines import label_parts, relabelling, run_record, storage
from pipelines.predict import ClipPredictor
from pipelines.relabelling import StoredRun
from pipelines.verify_settings import VerifyConfig
from pipelines.verifying import Finding, StoredPart, Verdict, Verifier

ARGUMENTS = (
    Argument("input", "output folder of label_corpus or relabel, local or s3://"),
    Argument("model", "directory of the model that made it"),
    Argument("output", "folder for verify.jsonl and summary.json", is_required=False),
)
MOST_LINES = 40


def verify(options: dict[str, str], config: FalConfig) -> Outcome:
    """Verify rows of a run; exit code 3 if one is not the same.

    Raises:
        ConfigError: an input that is no finished labelling run, or a video that is not in it.
        FalError: the model or a table cannot be read, or the output cannot be written.
    """
    settings = config.verify
    if options["output"]:
        run_record.check_no_run(storage.absolute(options["output"]))
    stored = relabelling.open_run(storage.absolute(options["input"]), are_labels_read=True)
    chosen = _chosen(stored, settings)
    verifier = Verifier(stored, ClipPredictor.load(options["model"]))
    findings: list[Finding] = []
    try:
        with progress("verifying", len(chosen), "videos") as update:
            for finding in _findings(stored, chosen, verifier):
                findings.append(finding)
                update(len(findings), f"{sum(f.verdict is Verdict.DIFFERENT for f in findings)} different")
    finally:
        verifier.close()
    verdicts = Counter(finding.verdict.value for finding in findings)
    causes = Counter(cause.value for finding in findings for cause in finding.causes)
    num_bad = verdicts[Verdict.DIFFERENT] + settings.is_strict * verdicts[Verdict.CLOSE]
    summary = {
        "job": "verify",
        "seen": len(findings),
        **{verdict.value: verdicts[verdict.value] for verdict in Verdict},
        "causes": dict(sorted(causes.items())),
        "max_logit_difference": max((f.max_logit_difference for f in findings), default=0.0),
        "model_id": stored.run.key.model_id,
    }
    if options["output"]:
        rows = "".join(json.dumps(asdict(finding), ensure_ascii=False) + "\n" for finding in findings)
        storage.write_bytes(storage.join(storage.absolute(options["output"]), "verify.jsonl"), rows.encode())
    return Outcome(TOO_MANY_FAILED if num_bad else DONE, summary, _lines(findings, summary))


def _chosen(stored: StoredRun, settings: VerifyConfig) -> set[str]:
    """Choose the videos to verify: those that are named, else a sample."""
    unknown = sorted(set(settings.video_ids) - set(stored.video_ids))
    if unknown:
        close = difflib.get_close_matches(unknown[0], stored.video_ids, n=3)
        hint = f"; did you mean {', '.join(map(repr, close))}?" if close else ""
        raise ConfigError([f"verify.video_ids: no video {unknown[0]!r} in this run{hint}"])
    if settings.video_ids:
        return set(settings.video_ids)
    if not settings.sample or settings.sample >= len(stored.video_ids):
        return set(stored.video_ids)
    return set(random.Random(settings.seed).sample(sorted(stored.video_ids), settings.sample))


def _findings(stored: StoredRun, chosen: set[str], verifier: Verifier) -> Iterator[Finding]:
    for index, name in enumerate(stored.names):
        rows = [row for row in label_parts.read_part(stored.run.manifest, index) if row["video_id"] in chosen]
        if rows:
            part = StoredPart.read(stored.place, name)
            yield from (verifier.verify(row, part) for row in rows)


def _lines(findings: Sequence[Finding], summary: dict[str, Any]) -> list[str]:
    told = [f for f in findings if f.causes]
    lines = [f"{f.video_id}: {f.verdict}; {cause}: {text}" for f in told for cause, text in f.causes.items()]
    hidden = len(lines) - MOST_LINES
    shown = [*lines[:MOST_LINES], f"… and {hidden} more, see verify.jsonl (--output)"] if hidden > 0 else lines
    counts = ", ".join(f"{summary[verdict.value]} {verdict.value}" for verdict in Verdict)
    return [*shown, f"{summary['seen']} videos made again: {counts}"]
