"""DeltaFormer against the plain reference of fla-core."""

from __future__ import annotations

import pytest
import torch

from attnlab.specs import Part
from attnlab.tensors import QKV
from tests.builders import noise, pair_of
from tests.oracles.naive import naive

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("tokens", [1, 7, 70])
def test_the_outputs_are_those_of_fla(tokens: int) -> None:
    queries, keys, values = (noise(2, 2, tokens, 4, seed=seed).float() for seed in range(3))
    strengths = noise(2, 2, tokens, 1, seed=3).sigmoid().float()
    attention, position = pair_of(Part(name="deltaformer", options={"erase": "query"}), Part(name="none"))

    ours = attention.attend(QKV(queries, keys, values, (strengths, queries)), position)
    theirs = naive("deltaformer").naive_deltaformer_attn(
        *(part.transpose(1, 2) for part in (queries, keys, values)), beta=strengths[..., 0].mT
    )

    assert torch.allclose(ours, theirs.transpose(1, 2), rtol=0, atol=1e-5)  # both compute in float32
