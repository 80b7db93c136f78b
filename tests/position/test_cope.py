"""CoPE against explicit loops: counts, interpolation and causality."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnlab.tensors import QKV
from tests.builders import noise, position_of
from tests.position.biases import bias_of, chunked, random_qkv, randomize, scores_of


@pytest.mark.parametrize("count", [64, 4])
@torch.no_grad()
def test_the_bias_is_the_formula(count: int) -> None:
    position, qkv = randomize(position_of("cope", {"count": count}).double()), random_qkv()
    scores, bias, vectors = scores_of(qkv), bias_of(position, qkv), position.get_parameter("place_LNC")[0].detach()
    for b in range(2):
        for h in range(2):
            for i in range(9):
                products = [float(qkv.queries_BHTC[b, h, i] @ vectors[t]) for t in range(count)]
                for j in range(i + 1):
                    gates = [1 / (1 + math.exp(-float(scores[b, h, i, k]))) for k in range(j, i + 1)]
                    p = min(sum(gates), count - 1)
                    low, high = math.floor(p), math.ceil(p)
                    expected = (p - low) * products[high] + (1 - (p - low)) * products[low]
                    assert float(bias[b, h, i, j]) == pytest.approx(expected, abs=1e-11)


def test_a_token_counts_itself() -> None:
    position, qkv = position_of("cope").double(), random_qkv(1)
    vectors = position.get_parameter("place_LNC")
    with torch.no_grad():
        vectors[0, 1] = 1.0
    gate = scores_of(qkv).sigmoid()
    torch.testing.assert_close(bias_of(position, qkv), gate * qkv.queries_BHTC.sum(-1, keepdim=True))


def test_it_starts_at_zero_and_has_gradients() -> None:
    position, qkv = position_of("cope").double(), random_qkv()
    assert not bias_of(position, qkv).any()
    (bias_of(position, qkv) * noise(9, 9)).sum().backward()
    grad = position.get_parameter("place_LNC").grad
    assert grad is not None
    assert grad[0, :4].any(-1).all()
    assert not grad[0, 10:].any()


def test_the_gates_have_gradients() -> None:
    position, qkv = randomize(position_of("cope").double()), random_qkv()
    scores = scores_of(qkv).requires_grad_()

    def bias(scores: Tensor) -> Tensor:
        value = position.bias(scores, qkv, 0)
        assert value is not None
        return value

    assert torch.autograd.gradcheck(bias, (scores,))


def test_rows_and_prefixes_equal_those_of_the_whole() -> None:
    position, qkv = randomize(position_of("cope").double()), random_qkv()
    whole = bias_of(position, qkv)
    torch.testing.assert_close(chunked(position, qkv, 4), whole[..., 4:, :], rtol=1e-13, atol=1e-13)
    queries, keys, values = (tensor[..., :5, :] for tensor in qkv[:3])
    prefix = bias_of(position, QKV(queries, keys, values))
    torch.testing.assert_close(prefix, whole[..., :5, :5], rtol=1e-13, atol=1e-13)


def test_branches_and_other_widths_fit_the_scores() -> None:
    position = randomize(position_of("cope").double())
    queries, keys = noise(2, 3, 1, 2, 9, 4), noise(2, 1, 5, 2, 9, 4, seed=1)
    qkv = QKV(queries, keys, keys)
    bias = bias_of(position, qkv)
    assert bias.shape == (2, 3, 5, 2, 9, 9)
    one = QKV(queries[:, 1, 0], keys[:, 0, 3], keys[:, 0, 3])
    torch.testing.assert_close(bias[:, 1, 3], bias_of(position, one), rtol=1e-12, atol=1e-12)
    for channels in (3, 7):
        assert bias_of(position, random_qkv(channels=channels)).any()
