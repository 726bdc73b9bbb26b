"""Generate the stand-in corpus: real encoded files, labelled exactly, with a few broken ones among them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fal_model.errors import ConfigError
from jobs.runtime.cli import DONE, Argument, Outcome
from jobs.runtime.config import FalConfig
from jobs.runtime.progress import progress
from jobs.runtime.session import ray_session
from pipelines import manifest, standin, standin_files, storage

ARGUMENTS = (Argument("output", "folder for videos, manifests and taxonomy"),)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Where the parts of a generated corpus are."""

    train_manifest: str
    test_manifest: str
    taxonomy: str
    broken: dict[str, str]


def make_corpus(options: dict[str, str], config: FalConfig) -> Outcome:
    """Generate a corpus; files that exist already are kept, so an interrupted run goes on.

    Raises:
        ConfigError: the output is not a local folder.
        FalError: it cannot be written.
    """
    corpus, counts = generate(options["output"], config)
    summary: dict[str, Any] = {"job": "make_corpus", **counts, "broken": corpus.broken}
    lines = [
        f"videos: {', '.join(f'{name} {n}' for name, n in counts.items())}, broken {len(corpus.broken)}",
        f"training: {corpus.train_manifest}",
        f"held out: {corpus.test_manifest}",
    ]
    return Outcome(DONE, summary, lines)


def generate(output: str, config: FalConfig) -> tuple[Corpus, dict[str, int]]:
    """Write videos, broken files, two manifests (train with val; test with the broken files) and the taxonomy."""
    folder = storage.absolute(output)
    if storage.is_remote(folder):
        raise ConfigError([f"--output: got {output!r}; the stand-in corpus is written to a folder"])
    storage.check_writable(folder)
    section = config.corpus
    counts = {"train": section.train_videos, "val": section.val_videos, "test": section.test_videos}
    planned = {name: standin.plan_corpus(n, section.seed, name) for name, n in counts.items()}
    with ray_session(config.ray):
        rows = {name: _write(folder, name, videos) for name, videos in planned.items()}
    broken = _write_broken(folder) if section.has_broken else {}
    corpus = Corpus(
        train_manifest=storage.join(folder, "train.jsonl"),
        test_manifest=storage.join(folder, "test.jsonl"),
        taxonomy=storage.join(folder, "taxonomy.json"),
        broken=broken,
    )
    manifest.write_manifest(corpus.train_manifest, rows["train"] + rows["val"])
    broken_rows = [{"video_id": name, "uri": name} for name in sorted(broken)]
    manifest.write_manifest(corpus.test_manifest, rows["test"] + broken_rows)
    text = json.dumps(standin.standin_taxonomy().to_dict(), indent=1)
    storage.write_bytes(corpus.taxonomy, text.encode())
    return corpus, counts


def _write(folder: str, split: str, videos: list[standin.StandinVideo]) -> list[dict[str, Any]]:
    from pipelines import graph

    with progress(f"generating {split}", len(videos), "videos") as update:
        rows = graph.write_standin(videos, str(Path(folder, split)), lambda done: update(done, "complete"))
    return [row | {"uri": f"{split}/{row['uri']}"} for row in rows]


def _write_broken(folder: str) -> dict[str, str]:
    kinds = standin_files.write_broken_files(Path(folder, "broken"))
    return {f"broken/{name}": kind for name, kind in kinds.items()}
