"""The whole path on a generated corpus: generate, prepare, train, label what was held out, score, report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa

from fal_model.errors import FalError
from jobs.runtime import evaluate, prepare, train
from jobs.runtime.cli import DONE, FAILED, Argument, Outcome, say
from jobs.runtime.config import FalConfig
from jobs.runtime.make_corpus import Corpus, generate, plan
from jobs.runtime.session import ray_session
from pipelines import storage, tables

ARGUMENTS = (Argument("output", "folder for everything the demo makes"),)
WANTED_TOP1 = 0.9


def demo(options: dict[str, str], config: FalConfig) -> Outcome:
    """Run every job once, in one Ray.

    Raises:
        FalError: a step failed.
    """
    output = storage.absolute(options["output"])
    spent: dict[str, float] = {}
    with ray_session(config.ray):
        with _step("1/4 generate a labelled corpus, some files broken on purpose", spent, "generate"):
            corpus, counts = generate(storage.join(output, "corpus"), plan({}, config.corpus), config)
        with _step("2/4 decode once into training shards", spent, "prepare"):
            shards = storage.join(output, "shards")
            asked = {"input": corpus.train_manifest, "output": shards, "taxonomy": corpus.taxonomy}
            _show(prepare.prepare_corpus(asked, config))
        with _step("3/4 train a small model", spent, "train"):
            places = {"train": f"{shards}/train", "val": f"{shards}/val", "output": f"{output}/train"}
            _show(train.train(places, config))
        with _step("4/4 label the held-out corpus and compare with the truth", spent, "label"):
            labelled = storage.join(output, "labels")
            asked = {"model": f"{output}/train/model", "input": corpus.test_manifest, "output": labelled}
            # The broken files are meant to fail; how many do is checked below, one by one.
            tolerant = replace(config, label=replace(config.label, max_failed_share=1.0))
            outcome = evaluate.evaluate(asked, tolerant)
            _show(outcome)
    report = storage.join(output, "report.html")
    storage.write_bytes(report, storage.read_bytes(storage.join(labelled, "report.html")))
    problems = check_failures(labelled, corpus)
    top1 = outcome.summary["metrics"].get("top1", 0.0)
    if top1 < WANTED_TOP1:
        problems.append(f"top-1 is {top1:.3f}, the demo wants at least {WANTED_TOP1}")
    summary: dict[str, Any] = {
        "job": "demo",
        "videos": counts,
        "seconds": spent,
        "problems": problems,
        "label": outcome.summary,
    }
    lines = [f"{name}: {seconds:.0f} s" for name, seconds in spent.items()]
    lines += [f"held-out top-1: {top1:.3f}", *[f"PROBLEM: {p}" for p in problems], f"report: {report}"]
    return Outcome(FAILED if problems else DONE, summary, lines)


def check_failures(labelled: str, corpus: Corpus) -> list[str]:
    """Compare the failures table with what was broken on purpose; say what differs."""
    table = tables.read_folder(storage.join(labelled, "failures"), ["video_id", "kind"])
    rows = (
        table
        if table is not None
        else pa.table({"video_id": pa.array([], pa.string()), "kind": pa.array([], pa.string())})
    )
    found = dict(zip(rows["video_id"].to_pylist(), rows["kind"].to_pylist(), strict=True))
    problems = [
        f"{name}: expected the failure {kind}, got {found.get(name, 'none')}"
        for name, kind in corpus.broken.items()
        if found.get(name) != kind
    ]
    return problems + [f"{name}: failed with {found[name]}" for name in sorted(set(found) - set(corpus.broken))]


@contextmanager
def _step(title: str, spent: dict[str, float], name: str) -> Iterator[None]:
    say()
    say(f"== {title}")
    start_s = time.monotonic()
    yield
    spent[name] = round(time.monotonic() - start_s, 1)
    say(f"   {spent[name]:.0f} s")


def _show(outcome: Outcome) -> None:
    for line in outcome.lines:
        say(f"   {line}")
    if outcome.code != DONE:
        raise FalError(f"the step ended with exit code {outcome.code}")
