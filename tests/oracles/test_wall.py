"""Wall attention against the plain reference of fla-core, whose two helpers import triton and are replaced."""

from __future__ import annotations

import math
import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

from attnlab.specs import Part
from attnlab.tensors import QKV
from tests.builders import noise, pair_of
from tests.oracles.naive import naive

pytestmark = pytest.mark.oracle


def running_sum(g: Tensor, cu_seqlens: object = None, scale: float = 1.0) -> Tensor:
    """Sum over the tokens, B x T x H x C."""
    assert cu_seqlens is None
    return scale * g.cumsum(1)


@pytest.mark.parametrize("tokens", [1, 7, 70])
def test_the_outputs_are_those_of_fla(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    constant, cumsum = ModuleType("fla.ops.utils.constant"), ModuleType("fla.ops.utils.cumsum")
    constant.RCP_LN2 = 1 / math.log(2)  # type: ignore[attr-defined]
    cumsum.chunk_global_cumsum = running_sum  # type: ignore[attr-defined]
    queries, keys, values = (noise(2, 2, tokens, 4, seed=seed) for seed in range(3))
    decays = -0.3 * noise(2, 2, tokens, 4, seed=3).square()
    attention, position = pair_of(Part(name="wall"), Part(name="none"))
    monkeypatch.setitem(sys.modules, constant.__name__, constant)
    monkeypatch.setitem(sys.modules, cumsum.__name__, cumsum)

    ours = attention.attend(QKV(queries, keys, values, (decays,)), position)
    parts = (part.transpose(1, 2) for part in (queries, keys, values, decays))
    theirs = naive("wall_attn").naive_wall_attn(*parts, scale=0.5)

    assert torch.allclose(ours.float(), theirs.transpose(1, 2), rtol=0, atol=1e-5)  # theirs computes in float32
