"""Residual streams against references in loops, from the weights alone, and against the plain stream."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, vmap

from attnlab.attention import Attention
from attnlab.block import Block
from attnlab.errors import IncompatiblePartsError
from attnlab.experiments.compatibility import check_block
from attnlab.model.transformer import Transformer
from attnlab.residual_stream import RESIDUAL_STREAMS
from attnlab.residual_stream.attention_residuals import AttentionResiduals, softmax_average
from attnlab.residual_stream.hyper_connections import StreamMixing, sinkhorn
from attnlab.specs import ModelSpec, Part
from attnlab.tensors import LayerInputs
from tests.builders import all_positions, model_of, noise, tokens

STREAMS = [Part(name="attention-residuals"), Part(name="hyper-connections"), Part.model_validate("plain")]
WIDE = STREAMS[:2]


def stream_model(stream: Part, **sizes: Any) -> Transformer:
    """A model with a residual stream, with noise in place of the stream's own initial weights."""
    model = model_of(residual_stream=stream, **sizes)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "residual_stream" in name:
                weight.copy_(noise(*weight.shape, seed=len(name)))
    return model


def logits(model: Transformer, inputs_BT: Tensor) -> Tensor:
    """The logits at all tokens."""
    output: Tensor = model(inputs_BT, all_positions(inputs_BT)).logits_NV
    return output


def test_every_registered_stream_is_tested() -> None:
    assert {part.name for part in STREAMS} == {entry.name for entry in RESIDUAL_STREAMS}


@pytest.mark.parametrize("stream", WIDE, ids=str)
def test_a_prenorm_model_begins_as_one_with_the_plain_stream(stream: Part) -> None:
    inputs_BT = tokens(2, 7)
    exact = Part.model_validate({"name": "rmsnorm", "eps": 1e-15})  # an epsilon tells streams of two sizes apart
    plain, model = (model_of(layers=3, norm_layer=exact, residual_stream=one) for one in (Part(name="plain"), stream))
    assert model.parameter_count > plain.parameter_count
    torch.testing.assert_close(logits(model, inputs_BT), logits(plain, inputs_BT), rtol=0, atol=1e-9)
    assert (
        logits(stream_model(stream, layers=3, norm_layer=exact), inputs_BT) - logits(plain, inputs_BT)
    ).abs().max() > 0.1


def test_one_stream_is_the_plain_stream() -> None:
    inputs_BT, one = tokens(2, 7), Part.model_validate({"name": "hyper-connections", "streams": 1})
    for norm in ("pre", "none"):
        plain, model = model_of(norm=norm), model_of(norm=norm, residual_stream=one)
        assert model.parameter_count == plain.parameter_count
        assert torch.equal(logits(model, inputs_BT), logits(plain, inputs_BT))


def test_attention_residuals_are_the_softmax_average_of_a_loop() -> None:
    terms, query = noise(4, 2, 3, 5, seed=1), noise(5, seed=2)
    ours = softmax_average(tuple(terms), query)
    for row in range(2):
        for token in range(3):
            vectors = [terms[i, row, token] for i in range(4)]
            scores = [float(sum(query * v)) / math.sqrt(float(sum(v * v)) / 5 + 1e-6) for v in vectors]
            total = sum(map(math.exp, scores))
            expected = sum(math.exp(score) / total * v for score, v in zip(scores, vectors, strict=True))
            torch.testing.assert_close(ours[row, token], expected, rtol=1e-12, atol=1e-12)


def test_each_branch_reads_every_earlier_update() -> None:
    model, inputs_BT = stream_model(WIDE[0], norm="none"), tokens(1, 4)
    output = model(inputs_BT, None, trace=True)
    terms = [model.embed(inputs_BT)]
    for position, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        assert isinstance(block.residual_stream, AttentionResiduals)
        assert block.mlp is not None
        reads, closing = list(block.residual_stream.query_D), block.residual_stream.closing_D
        x = terms[0] if position == 0 else softmax_average(tuple(terms), reads.pop(0))
        torch.testing.assert_close(output.trace[0].inputs_BTD[position], x)
        terms.append(
            block.attention(x, model.position, LayerInputs((output.trace[0].qkv[0],) if position else ())).output_BTD
        )
        terms.append(block.mlp(softmax_average(tuple(terms), reads.pop(0))))
    assert closing is not None
    expected = softmax_average(tuple(terms), closing)
    torch.testing.assert_close(output.trace[0].residual_BTD[-1], expected)


@torch.no_grad()
def test_hyper_connections_are_those_of_a_loop() -> None:
    maps = StreamMixing(5, 3, 1).double()
    with torch.no_grad():
        for index, weight in enumerate(maps.parameters()):
            weight.copy_(noise(*weight.shape, seed=index))
    streams = noise(3, 5, seed=20)
    shares, (mixing, gains) = maps.shares(streams), maps.mixing(streams, 4)
    logits_IJ = torch.zeros(3, 3, dtype=torch.float64)
    for i in range(3):
        x = streams[i]
        centered = x - sum(x) / 5
        normed = centered / math.sqrt(float(sum(centered * centered)) / 5 + 1e-5) * maps.gain_D
        read, write = (float(sum(normed * weight)) for weight in (maps.read_D, maps.write_D))
        assert float(shares[i]) == pytest.approx(1 / (1 + math.exp(-(maps.read_scale * read + maps.read_I[i]))))
        assert float(gains[i]) == pytest.approx(2 / (1 + math.exp(-(maps.write_scale * write + maps.write_J[i]))))
        for j in range(3):
            logits_IJ[i, j] = maps.read_scale * sum(normed * maps.mix_DJ[:, j]) + maps.mix_IJ[i, j]
    expected = logits_IJ.exp() / logits_IJ.exp().sum(0)
    for _ in range(4):
        expected = torch.stack([row / row.sum() for row in expected])
        expected = torch.stack([column / column.sum() for column in expected.T]).T
    torch.testing.assert_close(mixing, expected)


def test_sinkhorn_makes_rows_and_columns_sum_to_one() -> None:
    mixing = sinkhorn(noise(6, 4, 4), 30)
    assert mixing.min() > 0
    assert (mixing.sum(-1) - 1).abs().max() < 1e-3
    assert (mixing.sum(-2) - 1).abs().max() < 1e-12


@pytest.mark.parametrize("stream", WIDE, ids=str)
@pytest.mark.parametrize("block", ["sequential", "parallel"])
@pytest.mark.parametrize("mlp_ratio", [1.0, 0.0])
def test_selected_positions_are_those_of_the_whole(stream: Part, block: str, mlp_ratio: float) -> None:
    model, inputs_BT = stream_model(stream, block=Part(name=block), mlp_ratio=mlp_ratio), tokens(2, 7)
    whole = logits(model, inputs_BT)
    for positions in (torch.tensor([2, 9]), torch.tensor([[2, 5], [8, 9]])):
        some = model(inputs_BT, positions)
        torch.testing.assert_close(some.logits_NV, whole[positions.flatten()])
        torch.testing.assert_close(model(inputs_BT, positions, trace=True).logits_NV, some.logits_NV)
    whole.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())


@pytest.mark.parametrize("stream", WIDE, ids=str)
def test_runs_stacked_under_vmap_equal_the_loop(stream: Part) -> None:
    inputs_BT = tokens(2, 5)
    models = [stream_model(stream).requires_grad_(False) for _ in range(2)]
    for module in (*models[0].modules(), *models[1].modules()):
        if isinstance(module, Attention):
            module.fast = False  # vmap would take the fused kernel one run at a time
    for weight in models[1].parameters():
        weight.mul_(1.1)
    stacked = {
        name: torch.stack([weight, dict(models[1].named_parameters())[name]])
        for name, weight in models[0].named_parameters()
    }
    call = lambda weights: functional_call(models[0], weights, (inputs_BT, all_positions(inputs_BT))).logits_NV  # noqa: E731
    together = vmap(call)(stacked)
    for index, model in enumerate(models):
        torch.testing.assert_close(together[index], logits(model, inputs_BT))


@pytest.mark.parametrize("stream", WIDE, ids=str)
def test_a_stream_of_several_tensors_is_refused_where_one_is_needed(stream: Part) -> None:
    with pytest.raises(IncompatiblePartsError, match="norm: post normalizes the one vector"):
        check_block(ModelSpec(residual_stream=stream, norm="post"))
    separate = Part.model_validate({"name": "parallel", "shared_norm": False})
    with pytest.raises(IncompatiblePartsError, match="reads twice and writes once"):
        check_block(ModelSpec(residual_stream=stream, block=separate))
    check_block(ModelSpec(residual_stream=stream, block=Part(name="parallel")))
