"""Selective attention: against a loop over triples; no token masks in its own row, itself, or the first token."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attnlab.attention.selective import Selective
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of


def built(position: str = "none") -> tuple[Selective, Position, QKV]:
    attention, encoding = pair_of(Part(name="selective"), Part(name=position))
    assert isinstance(attention, Selective)
    return attention, encoding, attention.prepare(noise(1, 9, 8), encoding, LayerInputs())


def plain(qkv: QKV) -> Tensor:
    return (qkv.queries_BHTC @ qkv.keys_BHSC.mT / 2)[0].detach()


def masked(first: Tensor) -> Tensor:
    """F, one triple at a time."""
    tokens = len(first)
    total = torch.zeros(tokens, tokens, dtype=torch.float64)
    for i in range(tokens):
        for j in range(1, i + 1):
            for t in range(j + 1, i):
                total[i, j] += max(0.0, float(first[t, j]))
    return total


@pytest.mark.parametrize("position", ["none", "alibi", "rotary"])
def test_weights_are_those_of_a_loop_over_triples(position: str) -> None:
    attention, encoding, qkv = built(position)
    scores = plain(qkv)
    bias = encoding.bias(scores, qkv, 0)
    scores = (scores if bias is None else scores + bias) - masked(scores[0])
    mask = torch.ones(9, 9, dtype=torch.bool).tril()
    expected = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    torch.testing.assert_close(attention.effective_matrix(qkv, encoding)[0], expected, rtol=1e-10, atol=1e-12)


def test_the_first_the_own_and_the_previous_token_are_never_masked() -> None:
    attention, position, qkv = built()
    masking = (plain(qkv) - attention.scores(qkv, position)[0]).detach()
    assert masking[:, :, 0].abs().max() == 0  # the first token
    assert masking.diagonal(dim1=-2, dim2=-1).abs().max() == 0  # a token in its own row
    assert masking.diagonal(-1, dim1=-2, dim2=-1).abs().max() == 0  # nor in the next row: no token is between
    assert torch.equal(masking[0] > 1e-12, masking[1] > 1e-12)  # the same for every head
    assert masking.tril().max() > 0.1
    assert (masking.tril()[:, 1:, 1:].diff(dim=-2).tril(-1) >= -1e-12).all()  # what is masked stays masked


def test_it_has_no_more_parameters_than_softmax() -> None:
    attention = attention_of("selective", width=16, heads=4)
    assert sum(weight.numel() for weight in attention.parameters()) == 4 * 16 * 16


def test_a_late_chunk_has_the_selections_of_earlier_rows() -> None:
    attention, position, qkv = built("alibi")
    whole = attention.effective_matrix(qkv, position)
    chunk = qkv._replace(queries_BHTC=qkv.queries_BHTC[..., 5:7, :], start=5)
    assert (attention.effective_matrix(chunk, position) - whole[..., 5:7, :]).abs().max() <= 1e-12
