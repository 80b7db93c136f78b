"""TTT-linear against the plain reference of fla-core.

Its rate is one number per token, taken from the token that reads; ours is the product of such a number and one of the
token that writes, as in the authors' code. Theirs returns z + LN(z), for the z that was read, ours q + LN(z).
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from attnlab.attention.ttt_linear import updates_of, with_one
from attnlab.tensors import LayerInputs
from tests.attention.test_ttt_linear import layer
from tests.builders import noise
from tests.oracles.naive import naive

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize(("tokens", "batch"), [(7, 16), (48, 16), (70, 4)])
def test_what_is_read_is_what_fla_reads(tokens: int, batch: int) -> None:
    attention, no_position = layer(batch=batch)
    qkv = attention.prepare(noise(2, tokens, 8), no_position, LayerInputs())
    values, places = noise(2, 2, tokens, 4, seed=3), attention.places(tokens).detach()
    ones, (gain, bias) = torch.ones(2, 2, tokens, 1).double(), attention.norm_HC
    start = torch.cat([attention.start_HCC, attention.offset_H1C], -2)
    last = attention.places(batch)[-1]
    keys = qkv.keys_BHSC
    updates = updates_of(with_one(keys), values - keys, last * ones, start, attention.norm_HC, batch)
    mixed = attention.attend(qkv._replace(values_BHSC=updates, extra=(ones,)), no_position)
    read = mixed + qkv.queries_BHTC @ attention.start_HCC + attention.offset_H1C
    ours = read + gain * functional.layer_norm(read, (4,), eps=1e-6) + bias

    rates = places[:, None, None].expand(2, -1, 2, 1)
    queries, k, v = (part.detach().float().transpose(1, 2) for part in (qkv.queries_BHTC, keys, values))
    starts = (part.detach().float().expand(2, -1, -1, -1) for part in (attention.start_HCC, attention.offset_H1C))
    reference = naive("ttt").chunk_ttt_linear_ref
    w, b = gain[:, 0].detach().float(), bias[:, 0].detach().float()
    theirs = reference(queries, k, v, w, b, rates.float(), 1.0, 1e-6, batch, *starts)[0]
    assert torch.allclose(ours.float(), theirs.transpose(1, 2), rtol=0, atol=1e-5)
