import json

import pytest

from tests.golden.make_loss_curve import CURVE_FILE, NUM_STEPS, loss_curve


def test_twenty_steps_give_the_stored_losses() -> None:
    stored = json.loads(CURVE_FILE.read_text(encoding="utf-8"))
    assert len(stored) == NUM_STEPS
    assert stored[-1] < stored[0]
    assert loss_curve() == pytest.approx(stored, rel=1e-3)  # other CPUs add in another order
