from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from bench import fuzz
from bench.hostile_seeds import seeds
from bench.mutations import MAX_BYTES, MUTATORS, Mutator, append_file, mutate
from fal_model.errors import FailureKind
from pipelines.isolation import IsolatedPreparer

SEEDS = seeds(None)
OTHERS = tuple(SEEDS.values())


@pytest.mark.parametrize("mutator", MUTATORS)
def test_a_seed_decides_the_damage(mutator: Mutator) -> None:
    changed = 0
    for number, data in enumerate(OTHERS):
        first, second = (mutate(Random(number), data, OTHERS, [mutator]) for _ in range(2))
        assert first == second
        changed += first != data
    assert changed > 0.6 * len(OTHERS)


def test_damage_has_a_size_limit() -> None:
    assert len(mutate(Random(0), bytes(MAX_BYTES), OTHERS, [append_file] * 3)) == MAX_BYTES


def test_nothing_stays_nothing() -> None:
    assert mutate(Random(0), b"", OTHERS, MUTATORS) == b""


def test_another_seed_gives_other_cases() -> None:
    cases = [fuzz.make_case(SEEDS, seed, 3) for seed in (0, 0, 1)]
    assert cases[0] == cases[1] != cases[2]


def test_every_damaged_file_ends_as_clips_or_with_a_reason() -> None:
    # A small part of what `python bench/fuzz.py` does: every mutator ten times.
    outcomes: Counter[str] = Counter()
    with IsolatedPreparer(fuzz.SPEC, fuzz.LIMITS) as preparer:
        for number in range(10 * len(MUTATORS)):
            result = fuzz.run_case(preparer, fuzz.make_case(SEEDS, 0, number))
            assert not result.finding, result.line()
            outcomes[result.outcome] += 1
    assert set(outcomes) <= {"ok"} | {kind.value for kind in FailureKind}
    assert outcomes["ok"] > 40
    assert outcomes["corrupt"] > 10
