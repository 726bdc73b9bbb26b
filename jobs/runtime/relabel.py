"""Label a corpus again from its predictions, without opening a video."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import Any

from fal_model.calibration import Calibration
from fal_model.errors import ConfigError
from fal_model.pretrained import locate, read_meta
from fal_model.taxonomy import Taxonomy
from jobs.runtime.cli import DONE, TOO_MANY_FAILED, Argument, Outcome, say
from jobs.runtime.config import FalConfig
from jobs.runtime.label import lines_of, shown_settings, summarise, track
from jobs.runtime.progress import progress
from jobs.runtime.tracking import tracked_run
from pipelines import head_files, manifest, part_pool, relabelling, run_lock, storage
from pipelines.labelling_record import LabellingRecord
from pipelines.regrouping import read_class_map
from pipelines.relabelling import RelabelPlan, StoredRun
from pipelines.report import write_report

ARGUMENTS = (
    Argument("input", "output folder of label_corpus or relabel, local or s3://"),
    Argument("output", "folder or s3:// prefix of the new labels; another one than the input"),
    Argument("model", "directory of a model with the same weights and another calibration or texts", is_required=False),
    Argument("calibration", "calibration.json for the model's classes, in place of its own", is_required=False),
    Argument("head", "head of fit_head: classes that the model was not trained for", is_required=False),
    Argument("taxonomy", "new label tree: .yaml, .json or .csv", is_required=False),
    Argument("class-map", "which classes are renamed or merged: .yaml or .json of old ids to new", is_required=False),
)


@dataclass(frozen=True, slots=True)
class RelabelTask:
    """What is to be labelled again, and how; read and checked, nothing is written yet."""

    stored: StoredRun
    plan: RelabelPlan


def relabel(options: dict[str, str], config: FalConfig) -> Outcome:
    """Label a corpus again; run again after any interruption, it goes on where it stopped.

    Raises:
        ConfigError: an input that is no finished labelling run, or classes and calibrations that do not fit it.
        FalError: the output cannot be written, or belongs to another corpus or job.
    """
    start_s = time.monotonic()
    task = open_task(options, config)
    output = task.plan.output
    with run_lock.exclusive(output) as check, tracked_run(config.tracking, output, "relabel") as tracker:
        summary = _label(task, config, check) | {"wall_s": round(time.monotonic() - start_s, 3)}
        taxonomy = task.plan.record.taxonomy
        report_uri = write_report(output, task.stored.place, summary, taxonomy, settings=shown_settings(config))
        track(tracker, config, summary, report_uri)
    code = TOO_MANY_FAILED if summary["is_over_failed_share"] else DONE
    return Outcome(code, summary, lines_of(summary, output, report_uri))


def open_task(options: dict[str, str], config: FalConfig) -> RelabelTask:
    """Read what is needed, and find whatever is wrong before anything is written.

    Raises:
        ConfigError: an input that is no finished labelling run, or classes and calibrations that do not fit it.
        FalError: the input is damaged, or the model cannot be read.
    """
    place, output = storage.absolute(options["input"]), storage.absolute(options["output"])
    if place == output:
        raise ConfigError([f"--output: got the input folder {output!r}; take another, or run label_corpus again"])
    _check_options(options)
    stored = relabelling.open_run(place)
    record = _record_of(stored, options)
    return RelabelTask(stored, relabelling.plan_relabelling(stored, output, record, config.label))


def _check_options(options: dict[str, str]) -> None:
    if options["model"] and options["calibration"]:
        raise ConfigError(["--calibration: a model has its own; give one of --model and --calibration"])
    for name in ("model", "calibration"):
        if options["head"] and options[name]:
            raise ConfigError([f"--head: it has classes and calibration of its own; give one of --head and --{name}"])


def _record_of(stored: StoredRun, options: dict[str, str]) -> LabellingRecord:
    """Put together how labels shall follow from predictions: as before, but for what is given."""
    record = stored.record
    if options["model"]:
        record = relabelling.with_model(stored, read_meta(locate(options["model"])))
    if options["head"]:
        record = relabelling.with_head(stored, head_files.read_head(storage.absolute(options["head"])))
    if options["calibration"]:
        record = relabelling.with_calibration(stored, read_calibration(options["calibration"], record.source))
    if options["taxonomy"]:
        record = replace(record, taxonomy=manifest.read_taxonomy(options["taxonomy"]), class_map={})
    if options["class_map"]:
        record = replace(record, class_map=read_class_map(manifest.read_tree(options["class_map"])))
    return record


def read_calibration(uri: str, taxonomy: Taxonomy) -> Calibration:
    """Read a ``calibration.json``.

    Raises:
        ConfigError: missing, no JSON object, or of other classes; all problems are listed.
    """
    try:
        data = json.loads(storage.read_bytes(uri))
    except FileNotFoundError:
        raise ConfigError([f"--calibration: no file at {uri!r}"]) from None
    except (OSError, ValueError) as error:
        raise ConfigError([f"--calibration: cannot read {uri!r}: {error}"]) from None
    if not isinstance(data, dict):
        raise ConfigError([f"--calibration: {uri!r} holds a {type(data).__name__}, must be a JSON object"])
    return Calibration.from_dict(data, taxonomy)


def _label(task: RelabelTask, config: FalConfig, check: run_lock.Check) -> dict[str, Any]:
    stored, plan = task.stored, task.plan
    done = relabelling.begin(plan, stored)
    todo = [name for name in stored.names if name not in done]
    _say_what_is_to_do(task, len(done))
    start_s = time.monotonic()
    with progress("labelling again", len(stored.names), "parts", len(done)) as update:
        for name, counts in part_pool.each_part(relabelling.relabel_part, plan, todo):
            check()
            done[name] = counts
            update(len(done), "")
    label_s = time.monotonic() - start_s
    check()
    num_left_over = relabelling.finish(plan, stored.names, stored.run.manifest)
    counts_now = [done[name] for name in todo]
    return summarise([done[name] for name in stored.names], plan.key, config.label.max_failed_share) | {
        "job": "relabel",
        "input": stored.place,
        "parts_done_now": len(todo),
        "parts_deleted": num_left_over,
        "classes": len(plan.record.taxonomy),
        "classes_of_the_model": len(plan.record.source),
        "videos_per_s": round(sum(c.labelled for c in counts_now) / label_s, 3) if label_s else 0.0,
    }


def _say_what_is_to_do(task: RelabelTask, num_done: int) -> None:
    stored, plan = task.stored, task.plan
    say(
        f"{len(stored.video_ids)} videos in {len(stored.names)} parts, {num_done} parts finished before, "
        f"model {plan.key.model_id}, taxonomy {plan.key.taxonomy_id}"
    )
    regrouping = plan.labeller.regrouping
    if regrouping is not None:
        used = {leaf for leaves in regrouping.leaves for leaf in leaves}
        left_out = [regrouping.source.nodes[leaf].id for leaf in regrouping.source.leaves if leaf not in used]
        say(f"{len(plan.record.source)} classes of the model become {len(plan.record.taxonomy)}")
        if left_out:
            more = ", …" if len(left_out) > len(left_out[:8]) else ""
            say(f"{len(left_out)} leaves of the model are left out: {', '.join(left_out[:8])}{more}")
    if num_done == len(stored.names):
        say("everything is labelled already: nothing to do")
