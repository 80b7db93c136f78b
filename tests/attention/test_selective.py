"""Selective attention: against a loop over triples; no token masks in its own row, itself, or the first token."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attnlab.attention.ops.earlier_sums import GROUP, earlier_sums
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


@pytest.mark.parametrize("tokens", [127, 128, 129, 257, 300])
def test_sums_over_groups_of_queries_are_those_of_all_queries(tokens: int) -> None:
    queries, keys = (noise(2, 1, tokens, 4, seed=seed).requires_grad_() for seed in (1, 2))
    sums = earlier_sums(queries, keys, 0.5)
    positive = (queries @ keys.mT * 0.5).relu() * torch.ones(tokens, tokens).tril(-1) * (torch.arange(tokens) > 0)
    expected = positive.cumsum(-2)[..., GROUP - 1 :: GROUP, :].mT
    torch.testing.assert_close(sums, expected, rtol=0, atol=1e-12)
    direction = noise(*sums.shape, seed=3)
    for grad, wanted in zip(
        torch.autograd.grad((sums * direction).sum(), [queries, keys]),
        torch.autograd.grad((expected * direction).sum(), [queries, keys]),
        strict=True,
    ):
        torch.testing.assert_close(grad, wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("rows", [50, 128, 200])
@pytest.mark.parametrize("position", ["alibi", "rotary"])
def test_blocks_over_several_groups_have_outputs_and_gradients_of_the_whole(rows: int, position: str) -> None:
    attention, encoding = pair_of(Part(name="selective"), Part(name=position))
    x_BTD = noise(2, 300, 8).requires_grad_()

    def computed(fast: bool) -> tuple[Tensor, ...]:
        attention.fast, attention.max_recomputed_elements = fast, rows * 2 * 2 * 300
        mixed = attention.attend(attention.prepare(x_BTD, encoding, LayerInputs()), encoding)
        return mixed, *torch.autograd.grad((mixed * noise(*mixed.shape, seed=9)).sum(), [x_BTD])

    for block, whole in zip(computed(fast=True), computed(fast=False), strict=True):
        assert (block - whole).abs().max() <= 1e-11 * (1 + whole.abs().max())


def test_vmapped_runs_have_the_sums_of_each() -> None:
    queries, keys = (noise(3, 1, 260, 4, seed=seed).requires_grad_() for seed in (1, 2))
    single = torch.stack([earlier_sums(q, k, 0.5) for q, k in zip(queries, keys, strict=True)])
    vmapped = torch.func.vmap(lambda q, k: earlier_sums(q, k, 0.5))(queries, keys)
    torch.testing.assert_close(vmapped, single, rtol=0, atol=1e-12)
    direction = noise(*single.shape, seed=3)
    grads = [torch.autograd.grad((sums * direction).sum(), [queries, keys]) for sums in (vmapped, single)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
