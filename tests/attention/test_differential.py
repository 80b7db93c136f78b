"""Differential attention: a loop over two softmaxes; row sums; the depth from 0; the norm and its factor."""

from __future__ import annotations

import math

import pytest
import torch

from attnlab.attention.differential import Differential
from attnlab.errors import InvalidValueError
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerContext, LayerInputs
from attnlab.testing.check_attention import check_attention
from tests.builders import attention_of, noise, pair_of, seeded


def built(position: str = "none") -> tuple[Differential, Position, QKV]:
    attention, built_position = pair_of(Part(name="differential"), Part(name=position))
    assert isinstance(attention, Differential)
    return attention, built_position, attention.prepare(noise(1, 6, 8), built_position, LayerInputs())


@torch.no_grad()
def noise_weight(attention: Differential) -> float:
    first = sum(float(a) * float(b) for a, b in zip(attention.a1, attention.b1, strict=True))
    second = sum(float(a) * float(b) for a, b in zip(attention.a2, attention.b2, strict=True))
    return math.exp(first) - math.exp(second) + 0.8 - 0.6 * math.exp(-0.3 * attention.layer)


@torch.no_grad()
def test_weights_are_those_of_a_loop() -> None:
    attention, position, qkv = built()
    x_TD, matrix = noise(1, 6, 8)[0], torch.zeros(2, 6, 6, dtype=torch.float64)
    for head in range(2):
        for sign, branch in ((1.0, 0), (-noise_weight(attention), 1)):
            rows = slice(4 * head + 2 * branch, 4 * head + 2 * branch + 2)
            queries, keys = x_TD @ attention.query.weight[rows].T, x_TD @ attention.key.weight[rows].T
            for i in range(6):
                parts = [math.exp(float(queries[i] @ keys[j]) / math.sqrt(2)) for j in range(i + 1)]
                for j, part in enumerate(parts):
                    matrix[head, i, j] += sign * part / sum(parts)
    torch.testing.assert_close(attention.effective_matrix(qkv, position)[0], matrix, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("position", ["none", "alibi", "rotary"])
def test_every_row_sums_to_one_less_lambda(position: str) -> None:
    attention, built_position, qkv = built(position)
    matrix = attention.effective_matrix(qkv, built_position)
    torch.testing.assert_close(matrix.sum(-1), torch.full_like(matrix[..., 0], 1 - noise_weight(attention)))


@pytest.mark.parametrize(("layer", "base"), [(0, 0.2), (1, 0.355509), (2, 0.470713), (27, 0.799818)])
def test_layers_are_counted_from_zero(layer: int, base: float) -> None:
    attention = Differential(LayerContext(width=8, heads=2, layer=layer, layers=28, generator=seeded()))
    assert attention.base == pytest.approx(base, abs=1e-6)
    assert attention.noise_weight().item() == pytest.approx(noise_weight(attention), abs=1e-6)


def test_the_output_of_a_head_is_normalized_and_scaled() -> None:
    attention, _, _ = built()
    attention.gain_C.data.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    x = noise(1, 2, 5, 4)
    size = (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    expected = attention.out_proj(attention.join((1 - 0.2) * x / size * attention.gain_C))
    torch.testing.assert_close(attention.output(x, noise(1, 5, 8)), expected)


def test_it_has_four_vectors_and_a_gain() -> None:
    attention = attention_of("differential", width=32, heads=4)
    assert sum(weight.numel() for weight in attention.parameters()) == 4 * 32 * 32 + 4 * 4 + 2 * 4
    assert all(vector.shape == (4,) for vector in (attention.a1, attention.b1, attention.a2, attention.b2))


def test_the_vectors_start_small() -> None:
    attention = attention_of("differential", width=800, heads=2)
    assert isinstance(attention, Differential)
    assert attention.a1.std().item() == pytest.approx(0.1, rel=0.2)


def test_an_odd_number_of_channels_is_refused() -> None:
    with pytest.raises(
        InvalidValueError, match="Two branches need an even number of channels per head, not 3"
    ) as caught:
        attention_of("differential", width=6, heads=2)
    assert caught.value.hint == "With 2 heads, use a width that is a multiple of 4."


def second(position: str = "none") -> tuple[Differential, Position, QKV]:
    attention, built_position = pair_of(Part(name="differential", options={"version": 2}), Part(name=position))
    assert isinstance(attention, Differential)
    return attention, built_position, attention.prepare(noise(1, 6, 8), built_position, LayerInputs())


@torch.no_grad()
def test_version_2_is_a_loop_over_pairs_of_queries_with_one_key() -> None:
    attention, position, qkv = second()
    x_TD, matrix = noise(1, 6, 8)[0], torch.zeros(2, 6, 6, dtype=torch.float64)
    for head in range(2):
        keys = x_TD @ attention.key.weight[4 * head : 4 * head + 4].T
        for branch in range(2):
            rows = slice(8 * head + 4 * branch, 8 * head + 4 * branch + 4)
            queries = x_TD @ attention.query.weight[rows].T
            for i in range(6):
                share = 1 / (1 + math.exp(-float(x_TD[i] @ attention.noise.weight[head])))
                parts = [math.exp(float(queries[i] @ keys[j]) / 2) for j in range(i + 1)]
                for j, part in enumerate(parts):
                    matrix[head, i, j] += (-share if branch else 1.0) * part / sum(parts)
    torch.testing.assert_close(attention.effective_matrix(qkv, position)[0], matrix, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("position", ["none", "alibi", "rotary"])
def test_without_the_second_branch_version_2_is_softmax(position: str) -> None:
    attention, built_position, qkv = second(position)
    softmax = attention_of("softmax", biased=position == "alibi").double()
    plain = qkv._replace(queries_BHTC=qkv.queries_BHTC[:, 0], keys_BHSC=qkv.keys_BHSC[:, 0], extra=())
    first = attention.effective_matrix(qkv._replace(extra=(torch.zeros_like(qkv.extra[0]),)), built_position)
    assert (first - softmax.effective_matrix(plain, built_position)).abs().max() <= 1e-12


def test_equal_branches_of_version_2_leave_one_less_lambda_of_softmax() -> None:
    attention, position, qkv = second("rotary")
    attention.query.weight.data[4:8] = attention.query.weight.data[:4]
    qkv = attention.prepare(noise(1, 6, 8), position, LayerInputs())
    softmax = attention_of("softmax").double()
    plain = qkv._replace(queries_BHTC=qkv.queries_BHTC[:, 0], keys_BHSC=qkv.keys_BHSC[:, 0], extra=())
    expected = (1 - qkv.extra[0]) * softmax.effective_matrix(plain, position)
    assert (attention.effective_matrix(qkv, position) - expected)[:, 0].abs().max() <= 1e-12


def test_version_2_has_no_norm_and_its_lambda_starts_at_a_half() -> None:
    attention, position, _ = second()
    mixed = noise(1, 2, 6, 4)
    assert torch.equal(attention.output(mixed, noise(1, 6, 8)), attention.out_proj(attention.join(mixed)))
    attention.noise.weight.data.zero_()
    matrix = attention.effective_matrix(attention.prepare(noise(1, 6, 8), position, LayerInputs()), position)
    torch.testing.assert_close(matrix.sum(-1), torch.full_like(matrix[..., 0], 0.5))


def test_version_2_takes_an_odd_number_of_channels() -> None:
    attention = attention_of("differential", {"version": 2}, width=6, heads=2)
    assert sum(weight.numel() for weight in attention.parameters()) == 5 * 6 * 6 + 6 * 2


@pytest.mark.parametrize(("version", "constraint"), [(1, "signed, a constant sum"), (2, "anything")])
def test_check_holds_each_version_to_its_own_row_sums(version: int, constraint: str) -> None:
    part = Part(name="differential", options={"version": version})
    (finding,) = check_attention(part, ["row constraint"]).findings
    assert finding.outcome == "pass"
    assert finding.evidence.startswith(f"{constraint}: sums ")
