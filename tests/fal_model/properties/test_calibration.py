import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fal_model.batch import multi_hot
from fal_model.calibration import Calibration, Scaling
from fal_model.evaluation import Collected, calibrate, evaluation_metrics
from fal_model.taxonomy import Taxonomy
from tests.helpers.trees import trees

SHARES = st.floats(0, 1)
SCALINGS = st.builds(Scaling, temperature=st.floats(0.01, 100), bias=st.floats(-20, 20))


@given(trees(), st.data())
@settings(deadline=None, max_examples=60)
def test_a_round_trip_through_json(taxonomy: Taxonomy, data: st.DataObject) -> None:
    scalings = st.lists(SCALINGS, min_size=1, max_size=max(taxonomy.levels) + 1).map(tuple)
    ids = [node.id for node in taxonomy.nodes]
    nothing: dict[str, float] = {}
    thresholds = st.one_of(st.just(nothing), st.fixed_dictionaries(dict.fromkeys(ids, SHARES)))
    given_ = Calibration(
        clip=data.draw(scalings),
        frame=data.draw(scalings),
        thresholds=data.draw(thresholds),
        frame_thresholds=data.draw(thresholds),
        abstain_below=data.draw(SHARES),
    )
    assert Calibration.from_dict(json.loads(json.dumps(given_.to_dict())), taxonomy) == given_


@given(trees(), st.integers(0, 1000), st.integers(1, 12), st.sampled_from([0.0, 0.3, 5.0, 100.0]))
@settings(deadline=None, max_examples=60)
def test_whatever_was_collected_gives_a_calibration_that_can_be_stored(
    taxonomy: Taxonomy, seed: int, num_rows: int, scale: float
) -> None:
    dice = np.random.default_rng(seed)
    chosen = [dice.integers(0, len(taxonomy), dice.integers(0, 3)).tolist() for _ in range(num_rows)]
    labels = multi_hot(chosen, taxonomy).numpy()
    logits = (scale * dice.standard_normal(labels.shape)).astype(np.float32)
    embedding = np.eye(num_rows, 4, dtype=np.float32)
    collected = Collected(logits, labels, logits[:2], labels[:2], embedding)
    found = calibrate(collected, taxonomy)
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict())), taxonomy) == found
    measured = evaluation_metrics(collected, taxonomy, found)
    assert all(0 <= value <= 1 for value in measured.values())
