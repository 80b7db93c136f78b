"""Performer: random features against a loop, their geometry, and a causal shift that keeps every row."""

from __future__ import annotations

import math

import pytest
import torch

from attnlab.attention.performer import Performer, frequencies
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerContext, LayerInputs
from tests.builders import attention_of, layer_context, noise, pair_of, seeded

TOKENS = 9


def built(features: int | None = None) -> tuple[Performer, Position, QKV]:
    attention, position = pair_of(Part(name="performer", options={"features": features}), Part(name="none"))
    assert isinstance(attention, Performer)
    return attention, position, attention.prepare(noise(1, TOKENS, 8), position, LayerInputs())


@pytest.mark.parametrize("fast", [True, False])
def test_weights_are_those_of_a_loop(fast: bool) -> None:
    attention, position, qkv = built()
    attention.fast = fast
    expected = torch.zeros(2, TOKENS, TOKENS, dtype=torch.float64)
    for head in range(2):
        features = []
        for side in (qkv.queries_BHTC, qkv.keys_BHSC):
            scaled = side[0, head].detach() / 4**0.25
            exponents = scaled @ attention.frequency_HFC[head].T - scaled.square().sum(-1, keepdim=True) / 2
            features.append(exponents.exp() / math.sqrt(6))
        for i in range(TOKENS):
            row = torch.stack([features[0][i] @ features[1][j] for j in range(i + 1)])
            expected[head, i, : i + 1] = row / row.sum()
    torch.testing.assert_close(attention.effective_matrix(qkv, position)[0], expected, rtol=1e-12, atol=1e-12)


def test_the_number_of_features_is_channels_times_their_logarithm() -> None:
    assert attention_of("performer", width=64, heads=4).frequency_HFC.shape == (4, math.ceil(16 * math.log(16)), 16)
    assert attention_of("performer", width=4, heads=4).frequency_HFC.shape == (4, 1, 1)


def test_rows_are_orthogonal_in_groups_with_lengths_of_gaussian_vectors() -> None:
    frequency_HFC = frequencies(layer_context(32, 4), 800)
    groups = frequency_HFC.unflatten(1, (100, 8))
    gram = groups @ groups.mT
    off_diagonal = gram - torch.diag_embed(gram.diagonal(dim1=-2, dim2=-1))
    assert off_diagonal.abs().max() < 1e-4
    squares = gram.diagonal(dim1=-2, dim2=-1).flatten()
    assert float(squares.mean()) == pytest.approx(8, rel=0.05)
    assert float(squares.var()) == pytest.approx(16, rel=0.15), "chi-squared with C degrees of freedom"
    assert frequency_HFC.mean((0, 1)).abs().max() < 0.1


def test_the_features_estimate_the_exponential_without_bias() -> None:
    query, key = noise(4, seed=1) / 4**0.25, noise(4, seed=2) / 4**0.25
    frequency_HFC = frequencies(layer_context(16, 4, seed=3), 20_000).double()

    def feature(x: torch.Tensor) -> torch.Tensor:
        return torch.exp(frequency_HFC @ x - x.square().sum() / 2)

    estimate = float((feature(query) * feature(key)).mean())
    assert estimate == pytest.approx(math.exp(float(query @ key)), rel=0.05)


def test_many_features_are_near_softmax() -> None:
    attention, position, qkv = built(features=4000)
    qkv = qkv._replace(queries_BHTC=qkv.queries_BHTC / 2, keys_BHSC=qkv.keys_BHSC / 2)
    scores = qkv.queries_BHTC @ qkv.keys_BHSC.mT / 2
    softmax = scores.masked_fill(~torch.ones(TOKENS, TOKENS).tril().bool(), -torch.inf).softmax(-1)
    assert (attention.effective_matrix(qkv, position) - softmax).abs().max() < 0.02


def test_a_much_larger_later_key_does_not_change_earlier_rows() -> None:
    attention, position = pair_of(Part(name="performer"), Part(name="none"))
    attention.float()
    queries, keys, values = (20 * noise(1, 2, 40, 4, seed=seed, dtype=torch.float32) for seed in (1, 2, 3))
    keys[..., 20:, :] *= 1e-3
    whole = attention.attend(QKV(queries, keys, values), position)
    part = attention.attend(QKV(queries[..., :20, :], keys[..., :20, :], values[..., :20, :]), position)
    torch.testing.assert_close(whole[..., :20, :], part, rtol=1e-5, atol=1e-4)
    assert part.abs().amax(-1).min() > 1e-3, "no row vanishes"


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e2, 1e4])
def test_every_row_sums_to_one_at_any_size(size: float) -> None:
    attention, position, qkv = built()
    queries, keys, values = (tensor.float() for tensor in qkv[:3])
    sized = QKV(size * queries, size * keys, values)
    for fast in (True, False):
        attention.fast = fast
        assert attention.effective_matrix(sized, position).sum(-1).sub(1).abs().max() < 1e-5


def test_features_depend_on_the_seed_and_are_not_learned() -> None:
    def drawn(seed: int) -> torch.Tensor:
        return frequencies(LayerContext(width=8, heads=2, generator=seeded(seed)), 6)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    attention = attention_of("performer")
    assert "frequency_HFC" in attention.state_dict()
    assert "frequency_HFC" not in dict(attention.named_parameters())
    assert sum(weight.numel() for weight in attention.parameters()) == 4 * 8**2
