"""Residual streams against fla-core and x-transformers."""

from __future__ import annotations

import pytest
import torch

from attnlab.residual_stream.attention_residuals import softmax_average
from attnlab.residual_stream.hyper_connections import HyperConnections, sinkhorn
from tests.builders import layer_context, noise
from tests.oracles.naive import naive

pytestmark = pytest.mark.oracle


def test_the_average_is_that_of_fla() -> None:
    terms, query = tuple(noise(5, 2, 3, 8, seed=1)), noise(8, seed=2)
    theirs = naive("attnres").naive_attnres(query, terms, torch.ones(8, dtype=torch.float64))
    torch.testing.assert_close(softmax_average(terms, query), theirs, rtol=0, atol=2e-6)  # theirs is float32


def test_the_streams_are_those_of_x_transformers() -> None:
    package = pytest.importorskip("x_transformers.x_transformers")
    theirs = package.HyperConnection(8, layer_index=1, num_residual_streams=4).double()
    ours = HyperConnections(layer_context(), streams=4).double()
    maps = ours.maps(1)
    with torch.no_grad():
        for index, weight in enumerate((*maps.parameters(), maps.gain_D)):
            weight.copy_(noise(*weight.shape, seed=index))
        theirs.norm.weight.copy_(maps.gain_D)
        theirs.static_alpha.copy_(torch.cat([maps.read_I[:, None], maps.mix_IJ], 1))
        theirs.dynamic_alpha_fn.copy_(torch.cat([maps.read_D[:, None], maps.mix_DJ], 1))
        theirs.dynamic_alpha_scale.copy_(maps.read_scale)
        theirs.static_beta.copy_(maps.write_J)
        theirs.dynamic_beta_scale.zero_()  # theirs is 2 sigmoid(n.B) before the scale
        maps.write_scale.zero_()
    streams_BTID, update_BTD = noise(2, 3, 4, 8, seed=50), noise(2, 3, 8, seed=51)
    joined = streams_BTID.transpose(1, 2).flatten(0, 1)
    read, mixed, more = theirs.prepare(joined)
    written = theirs(update_BTD, mixed, **more)
    x_BTD = tuple(streams_BTID.unbind(2))
    torch.testing.assert_close(ours.read(x_BTD, 1), read, rtol=0, atol=1e-6)
    update = (written - theirs(0 * update_BTD, mixed, **more)).unflatten(0, (2, 4)).transpose(1, 2)
    none = torch.stack(ours.write(x_BTD, 0 * update_BTD, 1), 2)
    torch.testing.assert_close(torch.stack(ours.write(x_BTD, update_BTD, 1), 2) - none, update, rtol=0, atol=1e-6)
    # Its module takes Sinkhorn of each row by itself (2.31.10), which gives ones; its function is as ours.
    logits_IJ = noise(4, 4, seed=60)
    torch.testing.assert_close(sinkhorn(logits_IJ, 5), package.sinkhorn(logits_IJ, 5), rtol=0, atol=1e-6)
    expected = torch.einsum("btij,btid->btjd", maps.mixing(streams_BTID, 5)[0], streams_BTID)
    torch.testing.assert_close(none, expected)
