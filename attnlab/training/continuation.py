"""Where a run begins that continues a finished one: the weights, the optimizer's state and the step of that run.

    steps      counted on: a run that continues one of 100 steps takes step 100 next, of ``max_steps`` in all
    data       the batches of a step depend on the seed and the step alone: they go on where the finished run ended
    schedule   that of the new run, from the step reached: with 200 steps in all, the rate of step 100 of 200
    history    begins with that of the finished run

With a constant rate, no warmup and the same settings, the new run comes to the numbers of one run of all steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnlab.records import Record
from attnlab.specs import RunSpec
from attnlab.storage.arrays import Arrays
from attnlab.training._run_state import checkpoint_data


def continued_checkpoint(
    spec: RunSpec, record: Record, weights: Arrays, optimizer: Arrays
) -> tuple[Arrays, Mapping[str, Any]]:
    """Make the checkpoint from which a run continues a finished one.

    Args:
        spec: The run that continues.
        record: The finished run.
        weights: Its weights and persistent buffers, by name.
        optimizer: Its optimizer state, by name.

    Returns:
        Arrays and metadata, as :class:`attnlab.training.loop.Checkpointer` saves them.
    """
    arrays = {f"weight/{name}": array for name, array in weights.items()}
    arrays |= {name: array for name, array in optimizer.items() if name != "compiled"}  # the new run chooses anew
    taken = checkpoint_data(spec, record.steps, record.history, record.diagnostics_history)
    return arrays, taken | {"initial_loss": record.initial_loss}
