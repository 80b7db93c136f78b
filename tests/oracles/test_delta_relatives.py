"""Comba, preconditioned and momentum delta, and Mesa against the plain references of fla-core."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attnlab.attention.momentum_delta import Steps, momentum_scan
from attnlab.attention.ops.delta_rule import Rule, scan
from attnlab.attention.ops.preconditioner import written_scale
from attnlab.attention.ops.unit import unit_length
from attnlab.specs import Part
from attnlab.tensors import QKV
from tests.builders import noise, pair_of
from tests.oracles.naive import naive

pytestmark = pytest.mark.oracle
lengths = pytest.mark.parametrize("tokens", [7, 70])


def vectors(tokens: int, *, values: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys of unit length, and values."""
    keys, queries = (unit_length(noise(2, 3, tokens, 4, seed=seed)) for seed in (1, 2))
    return queries, keys, noise(2, 3, tokens, values, seed=3)


def gate(tokens: int, seed: int) -> Tensor:
    """Numbers in 0 .. 1, one per token."""
    return noise(2, 3, tokens, 1, seed=seed).sigmoid()


def theirs(*tensors: Tensor) -> tuple[Tensor, ...]:
    """In the order of fla, B x T x H x C, or B x T x H for one number per token."""
    return tuple(part[..., 0].mT if part.shape[-1] == 1 else part.transpose(1, 2) for part in tensors)


def assert_close(ours: Tensor, other: Tensor, tolerance: float = 1e-5) -> None:
    """Compare with a result of fla, which computes in float32."""
    assert torch.allclose(ours, other.transpose(1, 2).double(), rtol=0, atol=tolerance)


@lengths
def test_comba_is_the_chunked_reference_of_fla(tokens: int) -> None:
    queries, keys, values = vectors(tokens)
    strengths, decays = gate(tokens, 4), gate(tokens, 5).log()
    ours = scan(Rule(queries, 0.7 * keys / decays.exp(), strengths * keys, decays_BHSC=decays), values)
    q, k, v, p, g, b = theirs(queries, keys, values, 0.7 * keys, decays, strengths)
    assert_close(ours, naive("comba").naive_chunk_comba(q, k, v, p, g, b, scale=1.0)[0])


@lengths
@pytest.mark.parametrize("name", ["precond_gated_delta_rule", "precond_kda"])
def test_preconditioned_rules_are_those_of_fla(name: str, tokens: int) -> None:
    queries, keys, values = vectors(tokens)
    strengths, moment_decays, moment_strengths = gate(tokens, 4), gate(tokens, 5).log(), gate(tokens, 6)
    channels = 4 if name == "precond_kda" else 1
    decays = noise(2, 3, tokens, channels, seed=7).sigmoid().log()
    scale = written_scale(keys, moment_decays, moment_strengths)
    ours = scan(Rule(queries, keys, strengths * scale * keys, decays_BHSC=decays), values)
    named = dict(
        zip(
            ("q", "k", "v", "g", "g_atk", "beta", "beta_atk"),
            theirs(queries, keys, values, decays, moment_decays, strengths, moment_strengths),
            strict=True,
        )
    )
    assert_close(ours, getattr(naive(name), f"naive_recurrent_{name}")(**named, scale=1.0)[0])


@lengths
def test_momentum_delta_is_that_of_fla(tokens: int) -> None:
    queries, keys, values = vectors(tokens)
    strengths, decays, momenta, rates = gate(tokens, 4), gate(tokens, 5).log(), gate(tokens, 6).log(), gate(tokens, 7)
    ours = momentum_scan(Steps(queries, keys, strengths, decays, momenta, rates), values)
    q, k, v, alpha, mu, beta, eta = theirs(queries, keys, values, decays, momenta, strengths, rates)
    module = naive("momentum_delta_rule")
    other = module.recurrent_momentum_delta_rule_ref(q, k, v, alpha, mu, k, beta, eta, scale=1.0)[0]
    assert_close(ours, other)


@lengths
def test_mesa_is_the_exact_reference_of_fla(tokens: int) -> None:
    attention, no_position = pair_of(Part(name="mesa"), Part(name="none"), width=12, heads=3)
    queries, keys, values = vectors(tokens, values=4)
    strengths, decays = gate(tokens, 4), gate(tokens, 5).log()
    ours = attention.attend(QKV(queries, keys, values, (strengths, decays)), no_position)
    ridge = torch.ones(3, 4)  # 0.25 + softplus(z) at the start
    q, k, v, g, b = theirs(queries, unit_length(keys), values, decays, strengths)
    assert_close(ours, naive("mesa_net").naive_mesa_net_exact(q, k, v, g, ridge, b)[0])
