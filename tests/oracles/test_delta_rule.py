"""The family of the delta rule against the plain references of fla-core."""

from __future__ import annotations

import pytest
import torch

from attnlab.attention.ops.delta_rule import Rule, scan
from attnlab.attention.ops.inner_steps import as_heads, as_tokens, at_first, at_last, step_outputs
from attnlab.attention.ops.unit import unit_length
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


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_several_steps_per_token_are_the_gated_delta_product_of_fla(steps: int) -> None:
    tokens = 40
    queries, keys = unit_length(noise(2, 3, tokens, 4, seed=1)), unit_length(noise(2, 3, tokens, steps * 4, seed=2))
    values, strengths = noise(2, 3, tokens, steps * 5, seed=3), 2 * noise(2, 3, tokens, steps, seed=4).sigmoid()
    decays = -noise(2, 3, tokens, 1, seed=5).square()
    heads = [as_heads(part, steps) for part in (keys, values, strengths)]
    inner = [as_tokens(part, steps) for part in heads]

    rule = Rule(at_last(queries, steps), inner[0], inner[2] * inner[0], decays_BHSC=at_first(decays, steps))
    ours = step_outputs(rule, heads[1], steps).unflatten(1, (3, steps)).sum(2)
    theirs, _ = naive("gated_delta_product").naive_recurrent_gated_delta_product(
        *(part.transpose(1, 2) for part in (queries, *inner[:2])),
        g=decays[..., 0].mT,
        beta=inner[2][..., 0].mT,
        scale=1.0,
        num_householder=steps,
    )

    assert torch.allclose(ours, theirs.transpose(1, 2), rtol=0, atol=1e-5)  # theirs computes in float32


@pytest.mark.parametrize("tokens", [7, 70])
def test_gates_per_channel_are_gdn2_of_fla(tokens: int) -> None:
    queries, keys = unit_length(noise(2, 3, tokens, 4, seed=1)), unit_length(noise(2, 3, tokens, 4, seed=2))
    values, decays = noise(2, 3, tokens, 5, seed=3), -noise(2, 3, tokens, 4, seed=5).square()
    erase, write = noise(2, 3, tokens, 4, seed=6).sigmoid(), noise(2, 3, tokens, 5, seed=7).sigmoid()

    ours = scan(Rule(queries, erase * keys, keys, decays_BHSC=decays), write * values)
    parts = (queries, keys, values, decays, erase, write)
    theirs, _ = naive("gdn2").naive_recurrent_gdn2(*(part.transpose(1, 2) for part in parts), scale=1.0)

    assert torch.allclose(ours, theirs.transpose(1, 2).double(), rtol=0, atol=2e-6)
