"""Write the golden loss curve: 20 steps of the micro model on fixed random data, on the CPU.

Run it after a change that is meant to change results: ``python -m tests.golden.make_loss_curve``.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from fal_model.config import TrainConfig
from fal_model.training import TrainState, train_step
from tests.helpers.micro import micro_batch, micro_model

CURVE_FILE = Path(__file__).with_name("loss_curve.json")
NUM_STEPS = 20


def loss_curve() -> list[float]:
    """Return the loss of each step, in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    state = TrainState.create(micro_model(), TrainConfig(learning_rate=3e-3, warmup_steps=5, total_steps=NUM_STEPS))
    losses = [train_step(state, *micro_batch(seed=step % 4)).loss for step in range(NUM_STEPS)]
    torch.set_num_threads(threads)
    return losses


if __name__ == "__main__":
    CURVE_FILE.write_text(json.dumps([round(loss, 6) for loss in loss_curve()], indent=1) + "\n", encoding="utf-8")
