"""What calibration gains on clips it was not fitted on, and how many clips it takes.

Takes a trained model and shards that it has not seen, runs the model once, and then, many times over, splits the clips
at random: some to fit on, the rest to test on. Compared in the same splits: what becomes of logits (nothing; one
scaling; one for each level, on its own or drawn to that one; the better of these; one for each class), where thresholds
lie (0.5; one for all; one for each class, on its own or drawn to that one), and what is abstained from for an accuracy
that is asked for. In bold: what is used. --logit-slopes and --logit-biases stretch and shift what the model says, one
number per level, as a loss that does not aim at probabilities would. --work keeps what the model said, so that the
tables can be made again without the model. Seconds to a minute.
Run it as: python bench/calibration.py --work FOLDER --model MODEL --shards SHARDS SHARDS
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fal_model import metrics, training
from fal_model.abstention import fit_abstention, kept
from fal_model.calibration import Calibration, Scaling
from fal_model.evaluation import Collected, best_answers, classification_metrics, known_classes
from fal_model.model import FALModel
from fal_model.postprocess import counted, path_scores
from fal_model.scaling import fit_levels, fit_scaling
from fal_model.taxonomy import Taxonomy
from fal_model.thresholds import best_f1, fit_thresholds, listed
from jobs.runtime.ray_train import validation_batches
from pipelines.atomic_files import writing
from pipelines.shards import ShardSet

Floats = npt.NDArray[np.floating]
BATCH_CLIPS = 16
SAID, TREE = "said.npz", "taxonomy.json"
LONGEST_SHARE = 0.6
"""Of all clips that are fitted on: enough must be left to test on."""


@dataclass(frozen=True, slots=True)
class Split:
    """Clips to fit on and clips to test on: logits and truth."""

    taxonomy: Taxonomy
    logits_NK: Floats
    labels_NK: Floats
    test_logits_NK: Floats
    test_labels_NK: Floats


Row = dict[str, float]


def main() -> int:
    """Run the model unless that is done, and print the tables."""
    options = _options()
    torch.set_num_threads(1)
    taxonomy, logits_NK, labels_NK = _said(options)
    print(f"{len(logits_NK)} clips, {len(taxonomy)} classes, {options.draws} random splits for each number of clips")
    level_K = np.array(taxonomy.levels)
    logits_NK = logits_NK * _of_class(options.logit_slopes, level_K) + _of_class(options.logit_biases, level_K)
    sizes = [n for n in options.clips if n <= LONGEST_SHARE * len(logits_NK)]
    tables = (("scaling", _scalings), ("threshold", _thresholds), ("abstain for top-1 of", _abstentions(options.ask)))
    for title, measure in tables:
        for size in sizes:
            rows = [measure(split) for split in _splits(taxonomy, logits_NK, labels_NK, size, options.draws)]
            _print_table(f"{title}, {size} clips", rows)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="folder for what the model said; kept")
    parser.add_argument("--model", help="directory of a trained model; not needed again")
    parser.add_argument("--shards", nargs="+", default=[], help="folders of shards it was not trained on")
    parser.add_argument("--clips", type=int, nargs="+", default=[20, 80, 160, 330], help="clips to fit on")
    parser.add_argument("--draws", type=int, default=20, help="random splits for each number of clips")
    parser.add_argument("--logit-slopes", type=float, nargs="+", default=[1.0], help="level 0 first; the last goes on")
    parser.add_argument("--logit-biases", type=float, nargs="+", default=[0.0], help="the same")
    parser.add_argument("--ask", type=float, nargs="+", default=[0.5, 0.7, 0.9], help="accuracies of what is kept")
    return parser.parse_args()


def _of_class(of_level: Sequence[float], level_K: npt.NDArray[np.intp]) -> Floats:
    return np.array([of_level[min(level, len(of_level) - 1)] for level in level_K])


def _said(options: argparse.Namespace) -> tuple[Taxonomy, Floats, Floats]:
    """Read what the model says of the clips, or run it."""
    work = Path(options.work)
    if not (work / SAID).exists():
        model = FALModel.from_pretrained(options.model)
        found = [_collect(model, place) for place in options.shards]
        work.mkdir(parents=True, exist_ok=True)
        (work / TREE).write_text(json.dumps(model.taxonomy.to_dict()), encoding="utf-8")
        with writing(work / SAID) as path:
            np.savez(
                path,
                logits=np.concatenate([c.logits_NK for c in found]),
                labels=np.concatenate([c.labels_NK for c in found]),
            )
    with np.load(work / SAID) as data:
        logits_NK, labels_NK = data["logits"], data["labels"]
    return Taxonomy.from_json((work / TREE).read_text(encoding="utf-8")), logits_NK, labels_NK


def _collect(model: FALModel, place: str) -> Collected:
    return training.collect(model, validation_batches(ShardSet.open(place), BATCH_CLIPS, torch.device("cpu")))


def _splits(taxonomy: Taxonomy, logits_NK: Floats, labels_NK: Floats, size: int, draws: int) -> list[Split]:
    splits = []
    for seed in range(draws):
        order_N = np.random.default_rng(seed).permutation(len(logits_NK))
        fit, test = order_N[:size], order_N[size:]
        splits.append(Split(taxonomy, logits_NK[fit], labels_NK[fit], logits_NK[test], labels_NK[test]))
    return splits


# ---- scaling ------------------------------------------------------------------------------------------------------


def _scalings(split: Split) -> dict[str, Row]:
    logits_NK, labels_NK, taxonomy = split.logits_NK, split.labels_NK, split.taxonomy
    weights_NK = counted(labels_NK, taxonomy)
    shared = fit_scaling(logits_NK, labels_NK, weights_NK)
    chosen = fit_levels(logits_NK, labels_NK, weights_NK, taxonomy.levels)
    columns = range(len(taxonomy))

    def alone(classes: Sequence[int], prior: Scaling | None) -> Scaling:
        at = list(classes)
        return fit_scaling(logits_NK[:, at], labels_NK[:, at], weights_NK[:, at], prior)

    of_level = [[k for k in columns if taxonomy.levels[k] == level] for level in range(len(chosen))]
    by_level, drawn = ([alone(classes, prior) for classes in of_level] for prior in (None, shared))
    ways = {
        "nothing": [Scaling()] * len(taxonomy),
        "one for all": [shared] * len(taxonomy),
        "each level, on its own": [by_level[level] for level in taxonomy.levels],
        "each level, drawn to one for all": [drawn[level] for level in taxonomy.levels],
        "**one for all, or that, by cross-validation**": [chosen[level] for level in taxonomy.levels],
        "each class, drawn to its level": [alone([k], drawn[taxonomy.levels[k]]) for k in columns],
    }
    return {name: _test_scaling(split, scalings) for name, scalings in ways.items()}


def _test_scaling(split: Split, scalings: Sequence[Scaling]) -> Row:
    """Measure one scaling per class."""
    slopes_K = np.array([1 / s.temperature for s in scalings])
    logits_NK = split.test_logits_NK * slopes_K + np.array([s.bias for s in scalings])
    scores_NK = path_scores(logits_NK, split.taxonomy)
    found = classification_metrics(scores_NK, split.test_labels_NK, split.taxonomy, Calibration())
    names = ["ece", *sorted(name for name in found if name.startswith("ece_level_"))]
    leaves = np.array(split.taxonomy.leaves)
    every_leaf = metrics.expected_calibration_error(
        scores_NK[:, leaves].ravel(), split.test_labels_NK[:, leaves].ravel()
    )
    return {name: found[name] for name in names} | {
        "ece of every leaf": every_leaf,
        "log loss": _log_loss(logits_NK, split.test_labels_NK, split.taxonomy),
        "top1": found["top1"],
    }


def _log_loss(logits_NK: Floats, labels_NK: Floats, taxonomy: Taxonomy) -> float:
    """Return the mean negative log-likelihood of a clip's labels, nats."""
    losses_NK = counted(labels_NK, taxonomy) * (np.logaddexp(0, logits_NK) - labels_NK * logits_NK)
    return float(losses_NK.sum(axis=1).mean())


# ---- thresholds ---------------------------------------------------------------------------------------------------


def _thresholds(split: Split) -> dict[str, Row]:
    taxonomy, labels_NK = split.taxonomy, split.labels_NK
    scores_NK, test_NK = _calibrated(split)
    known_NK = known_classes(labels_NK, taxonomy)
    overall = best_f1(scores_NK[known_NK], labels_NK[known_NK])
    alone_K = np.array([best_f1(scores_NK[:, k], labels_NK[:, k]) for k in range(len(taxonomy))])
    ways = {
        "0.5": np.full(len(taxonomy), 0.5),
        "one for all": np.full(len(taxonomy), overall / 2),
        "each class, on its own": np.where(np.isnan(alone_K), overall, alone_K) / 2,
        "each class, where its F1 was best": np.array(
            [_best_place(scores_NK[:, k], labels_NK[:, k], overall / 2) for k in range(len(taxonomy))]
        ),
        "**each class, drawn to one for all**": fit_thresholds(scores_NK, labels_NK, known_NK),
    }
    return {name: _test_thresholds(test_NK, split.test_labels_NK, values, taxonomy) for name, values in ways.items()}


def _test_thresholds(scores_NK: Floats, labels_NK: Floats, thresholds_K: Floats, taxonomy: Taxonomy) -> Row:
    said_NK = listed(scores_NK, thresholds_K, taxonomy).astype(np.float32)
    found = metrics.f1(said_NK, labels_NK)
    return {"micro F1": found.micro, "macro F1": found.macro}


def _best_place(scores_N: Floats, labels_N: Floats, otherwise: float) -> float:
    """Return the threshold with the best F1 on the clips at hand, half-way to the next score below."""
    if not labels_N.any():
        return otherwise
    tried = np.unique(scores_N)
    middles = np.concatenate(([tried[0] / 2], (tried[1:] + tried[:-1]) / 2))
    f1 = [2 * labels_N[scores_N >= t].sum() / ((scores_N >= t).sum() + labels_N.sum()) for t in middles]
    return float(middles[int(np.argmax(f1))])


def _calibrated(split: Split) -> tuple[Floats, Floats]:
    """Return calibrated scores of the clips to fit on and to test on."""
    weights_NK = counted(split.labels_NK, split.taxonomy)
    scalings = fit_levels(split.logits_NK, split.labels_NK, weights_NK, split.taxonomy.levels)
    return path_scores(split.logits_NK, split.taxonomy, scalings), path_scores(
        split.test_logits_NK, split.taxonomy, scalings
    )


# ---- abstention ---------------------------------------------------------------------------------------------------


def _abstentions(wanted: Sequence[float]) -> Callable[[Split], dict[str, Row]]:
    def measure(split: Split) -> dict[str, Row]:
        scores_NK, test_NK = _calibrated(split)
        leaves, taxonomy = split.taxonomy.leaves, split.taxonomy
        fit = best_answers(scores_NK, split.labels_NK, known_classes(split.labels_NK, taxonomy), leaves)
        test = best_answers(test_NK, split.test_labels_NK, known_classes(split.test_labels_NK, taxonomy), leaves)
        rows: dict[str, Row] = {"nothing (keeps everything)": {"kept": 1.0, "top1 of these": float(test.hits_N.mean())}}
        for accuracy in wanted:
            found = fit_abstention(fit.scores_N, fit.hits_N, accuracy)
            share, top1 = kept(test.scores_N, test.hits_N, found.below)
            rows[f"{accuracy:g}"] = {
                "kept": share,
                "top1 of these": top1,
                "shown to be reached": float(found.is_reached),
            }
        return rows

    return measure


def _print_table(title: str, tables: Sequence[dict[str, Row]]) -> None:
    """Print the mean over the splits; what has no meaning in a split is left out there."""
    columns = list({name: None for table in tables for row in table.values() for name in row})
    print(f"\n| {title} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name in tables[0]:
        values = [[table[name].get(column, np.nan) for column in columns] for table in tables]
        cells = ["" if np.isnan(column).all() else f"{np.nanmean(column):.4f}" for column in np.array(values).T]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
