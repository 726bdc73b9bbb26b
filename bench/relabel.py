"""How long it takes to label a corpus again from its predictions, with other thresholds and with other classes.

Makes up a labelling run of 500 leaf classes and runs the job on it in processes of its own. Run it as:
python bench/relabel.py --videos 10000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.relabel_corpus import write_run
from bench.report_corpus import taxonomy
from fal_model.taxonomy import Node, Taxonomy

JOB = Path(__file__).resolve().parents[1] / "jobs" / "relabel.py"
MIB = 1 << 20


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--videos", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--keep", default="", help="folder to keep the runs in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for num_videos in options.videos:
            measure(Path(options.keep or scratch) / str(num_videos), num_videos)
    return 0


def measure(folder: Path, num_videos: int) -> None:
    """Make up a run, unless it is there, and label it again in several ways."""
    source, tree = folder / "run", taxonomy()
    if not (source / "_fal" / "run.json").exists():
        write_run(str(source), tree, num_videos)
    size = sum(path.stat().st_size for path in (source / "predictions").iterdir())
    print(f"{num_videos:,} videos, {3 * num_videos:,} clips, {len(tree)} classes: predictions of {size / MIB:,.0f} MiB")
    cut, regrouped = folder / "cut.json", folder / "regrouped.json"
    cut.write_text(json.dumps(without_leaves(tree).to_dict()), encoding="utf-8")
    regrouped.write_text(json.dumps(in_other_groups(tree).to_dict()), encoding="utf-8")
    for number, (name, more) in enumerate(
        {
            "other thresholds": ["label.threshold=0.3", "label.segment_threshold=0.4"],
            "nothing to do": ["label.threshold=0.3", "label.segment_threshold=0.4"],
            "other inner classes": ["--taxonomy", str(regrouped)],
            "tree without its leaves": ["--taxonomy", str(cut)],
        }.items()
    ):
        output = folder / ("other thresholds" if number == 1 else name)
        print(f"  {name:<26} {run(source, output, more)}")


def run(source: Path, output: Path, more: list[str]) -> str:
    """Run the job and say what it took."""
    command = [sys.executable, str(JOB), "--input", str(source), "--output", str(output), *more]
    start_s = time.perf_counter()
    with subprocess.Popen(
        [*command, "tracking.is_enabled=false"], stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}
    ) as job:
        _, status, used = os.wait4(job.pid, 0)
        job.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - start_s
    if job.returncode:
        return f"failed with exit code {job.returncode}"
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    return f"{wall_s:6.1f} s, labelling alone {labelling_s(summary):5.1f} s, {_facts(used)}"


def labelling_s(summary: dict[str, float]) -> float:
    """Return how long the labels took, without start and report."""
    return summary["labelled"] / summary["videos_per_s"] if summary["videos_per_s"] else 0.0


def _facts(used: resource.struct_rusage) -> str:
    return f"processor {used.ru_utime + used.ru_stime:5.1f} s, peak memory {used.ru_maxrss * 1024 / MIB:,.0f} MiB"


def without_leaves(tree: Taxonomy) -> Taxonomy:
    """Cut a tree one level shorter: the classes above the leaves become leaves."""
    leaves = {tree.nodes[leaf].id for leaf in tree.leaves}
    return Taxonomy([node for node in tree.nodes if node.id not in leaves])


def in_other_groups(tree: Taxonomy) -> Taxonomy:
    """Put the leaves of a tree into twenty classes of our own."""
    groups = [Node(f"own-{number}", f"Group {number}") for number in range(20)]
    leaves = [tree.nodes[leaf] for leaf in tree.leaves]
    return Taxonomy(
        [*groups, *(Node(n.id, n.name, groups[i % len(groups)].id, n.definition) for i, n in enumerate(leaves))]
    )


if __name__ == "__main__":
    sys.exit(main())
