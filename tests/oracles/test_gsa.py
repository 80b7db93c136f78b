"""Gated slot attention against the plain reference of fla-core."""

from __future__ import annotations

import pytest
import torch

from attnlab.attention.gsa import slot_scan, written
from tests.builders import noise
from tests.oracles.naive import naive

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("tokens", [1, 7, 70])
def test_the_scan_is_the_recurrence_of_fla(tokens: int) -> None:
    queries, keys, values = (noise(2, 3, tokens, 4, seed=seed) for seed in range(3))
    decays = -noise(2, 3, tokens, 5, seed=3).square()
    writes = written(decays)

    ours = slot_scan(queries, keys, writes, decays, values)
    theirs, _ = naive("gsa").naive_recurrent_gsa(
        *(part.transpose(1, 2) for part in (queries, keys, values, writes)), g=decays.transpose(1, 2), scale=1.0
    )

    assert torch.allclose(ours, theirs.transpose(1, 2), rtol=0, atol=5e-6)  # theirs computes in float32
