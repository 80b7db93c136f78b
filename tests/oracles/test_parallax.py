"""Parallax against the plain reference of fla-core."""

from __future__ import annotations

import pytest
import torch

from attnlab.specs import Part
from attnlab.tensors import QKV
from tests.builders import noise, pair_of
from tests.oracles.naive import naive

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("tokens", [1, 7, 40])
def test_the_outputs_are_those_of_fla(tokens: int) -> None:
    queries, slopes, keys, values = (noise(2, 2, tokens, 4, seed=seed) for seed in range(4))
    attention, position = pair_of(Part(name="parallax"), Part(name="none"))

    ours = attention.attend(QKV(queries, keys, values, (slopes,)), position)
    theirs = naive("parallax").naive_parallax(*(part.transpose(1, 2) for part in (queries, slopes, keys, values)))

    assert torch.allclose(ours, theirs.transpose(1, 2), rtol=0, atol=1e-5)  # theirs computes in float32
