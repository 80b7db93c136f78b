"""The gated delta rule against the plain reference of fla-core."""

from __future__ import annotations

import pytest
import torch

from attnlab.attention.ops.delta_rule import Rule, scan, unit_length
from tests.builders import noise
from tests.oracles.naive import naive

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("tokens", [1, 7, 70])
def test_the_scan_is_the_gated_delta_rule_of_fla(tokens: int) -> None:
    queries, keys = unit_length(noise(2, 3, tokens, 4, seed=1)), unit_length(noise(2, 3, tokens, 4, seed=2))
    values, strengths = noise(2, 3, tokens, 5, seed=3), noise(2, 3, tokens, 1, seed=4).sigmoid()
    decays = -noise(2, 3, tokens, 1, seed=5).square()

    ours = scan(Rule(queries, keys, strengths * keys, decays_BHSC=decays), values)
    theirs, _ = naive("gated_delta_product").naive_recurrent_gated_delta_product(
        *(part.transpose(1, 2) for part in (queries, keys, values)),
        g=decays[..., 0].mT,
        beta=strengths[..., 0].mT,
        scale=1.0,
    )

    assert torch.allclose(ours, theirs.transpose(1, 2), rtol=0, atol=2e-6)  # theirs computes in float32
