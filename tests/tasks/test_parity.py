from __future__ import annotations

import numpy as np
import pytest

from attnlab.tasks import IGNORE
from attnlab.tasks.parity import Parity


@pytest.mark.parametrize("asked", ["running", "last"])
def test_sizes(asked: str) -> None:
    task = Parity(bits=5, asked=asked)  # type: ignore[arg-type]  # a word of the option
    assert (task.vocabulary, task.length) == (2, 5)


def test_running_has_targets_everywhere_and_last_only_at_the_end() -> None:
    running, last = (Parity(bits=5, asked=kind).sample(np.random.default_rng(0), 9) for kind in ("running", "last"))
    np.testing.assert_array_equal(running.inputs_BT, last.inputs_BT)
    assert (running.targets_BT != IGNORE).all()
    assert (last.targets_BT[:, :-1] == IGNORE).all()
    np.testing.assert_array_equal(running.targets_BT[:, -1], last.targets_BT[:, -1])


def test_bits_and_targets_are_uniform() -> None:
    batch = Parity(bits=6).sample(np.random.default_rng(0), 20_000)
    np.testing.assert_allclose(batch.inputs_BT.mean(axis=0), 0.5, atol=0.02)
    np.testing.assert_allclose(batch.targets_BT.mean(axis=0), 0.5, atol=0.02)
