"""Raven: its memory with routed gates against the plain reference of gated slot attention in fla-core."""

from __future__ import annotations

import pytest
import torch

from tests.attention.test_raven import built
from tests.oracles.naive import naive

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("tokens", [1, 7, 70])
def test_the_memory_is_the_recurrence_of_fla(tokens: int) -> None:
    attention, position, qkv = built(tokens)
    (decays,) = qkv.extra
    theirs, _ = naive("gsa").naive_recurrent_gsa(
        *(part.detach().transpose(1, 2) for part in (*qkv[:3], -decays.expm1())),
        g=decays.detach().transpose(1, 2),
        scale=1.0,
    )
    ours = attention.attend(qkv, position).detach()
    assert torch.allclose(ours, theirs.transpose(1, 2).double(), rtol=0, atol=5e-6)  # theirs computes in float32
