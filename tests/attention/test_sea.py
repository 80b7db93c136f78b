"""SEA: the matrix from the estimate against a loop, the bins of the paper's code, the causal network, the loss."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.attention.sea import Sea, interpolate_bins
from attnlab.errors import InvalidValueError
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from attnlab.testing._cost import LargestTensor
from tests.attention.loop_reference import prepared, row_of
from tests.builders import attention_of, noise, pair_of

MODES: list[dict[str, Any]] = [{}, {"keep": 2, "bins": 8}, {"keep": 1, "bins": 4}, {"keep": 3, "bins": 16}]
all_options = pytest.mark.parametrize("options", MODES, ids=lambda options: str(Part(name="sea", options=options)))


def built(options: dict[str, Any], tokens: int = 19) -> tuple[Sea, Position, QKV]:
    attention, position, qkv = prepared(Part(name="sea", options=options), tokens)
    assert isinstance(attention, Sea)
    return attention, position, qkv


def bin_of(i: int, j: int, bins: int) -> int:
    """As the paper's code has it."""
    return math.floor((j + 0.5) / (i + 1) * bins - 1e-4)


@torch.no_grad()
def selected_keys(attention: Sea, qkv: QKV, b: int, i: int) -> list[list[int]]:
    """The tokens of tensor head in one row: heads compete for the bins."""
    estimates = qkv.extra[0][b, :, i].softmax(-1)
    bins = attention.bins
    count = max(1, round(2 * attention.keep * bins / (i + 1)))
    order = sorted(
        ((h, cell) for h in range(2) for cell in range(bins)), key=lambda cell: (-float(estimates[cell]), cell)
    )
    selected = set(order[:count])
    return [[j for j in range(i + 1) if (h, bin_of(i, j, bins)) in selected] for h in range(2)]


@torch.no_grad()
def looped(attention: Sea, qkv: QKV) -> Tensor:
    queries, keys = qkv.queries_BHTC, qkv.keys_BHSC
    _, scale, share = qkv.extra
    matrix = torch.zeros(*queries.shape[:-1], keys.shape[-2], dtype=torch.float64)
    for b in range(2):
        for i in range(queries.shape[-2]):
            for h, listed in enumerate(selected_keys(attention, qkv, b, i)):
                a, r = float(share[b, h, i]), float(scale[b, h, i])
                matrix[b, h, i] = a * r * row_of(queries[b, h], keys[b, h], i, listed)
                matrix[b, h, i, : i + 1] += (1 - a) / (i + 1)
    return matrix


@all_options
def test_weights_are_those_of_a_loop(options: dict[str, Any]) -> None:
    attention, position, qkv = built(options)
    torch.testing.assert_close(
        attention.effective_matrix(qkv, position), looped(attention, qkv), rtol=1e-11, atol=1e-12
    )


@pytest.mark.parametrize("bins", [4, 32, 128])
def test_bins_are_those_of_the_code(bins: int) -> None:
    rows, keys = torch.arange(300)[:, None], torch.arange(300)
    result = interpolate_bins(torch.arange(bins).expand(300, bins), rows, keys)
    for i in range(300):
        assert result[i, : i + 1].tolist() == [bin_of(i, j, bins) for j in range(i + 1)]


def test_queries_select_about_k_tokens_per_head_and_heads_compete() -> None:
    attention, _, qkv = built({"keep": 4, "bins": 32}, tokens=64)
    selected = attention.mask(qkv).tril()
    counts = selected.sum(-1)[..., 32:].double()
    assert counts.mean() == pytest.approx(4, abs=1)
    assert (counts[:, 0] - counts[:, 1]).abs().max() > 0
    assert selected[..., :4, :].sum(-1).tolist() == [[[1, 2, 3, 4]] * 2] * 2


def test_the_network_is_causal_and_tensor_row_the_same_in_every_prefix() -> None:
    attention, position, qkv = built({})
    x_BTD = noise(2, 19, 8)
    for cut in (1, 4, 5, 12):
        alone = attention.prepare(x_BTD[:, :cut], position, LayerInputs())
        for whole, part in zip(qkv.extra, alone.extra, strict=True):
            torch.testing.assert_close(whole[..., :cut, :], part, rtol=1e-11, atol=1e-11)
    x_BTD = x_BTD.requires_grad_()
    estimate = attention.project(x_BTD, LayerInputs()).extra[0][0, :, 7] * noise(2, 32, seed=5)
    (grad,) = torch.autograd.grad(estimate.sum(), x_BTD)
    assert not grad[:, 8:].any()
    assert grad[0, :8].abs().amax(-1).min() > 0


def convolved(maps: Tensor, taps: Tensor) -> Tensor:
    """A 3 x 3 convolution of dilation 2, over the tokens 0, 2 and 4 steps ago and 2 bins to tensor side."""
    out = torch.zeros_like(maps)
    for t in range(maps.shape[1]):
        for cell in range(maps.shape[2]):
            for down in range(3):
                for along in range(3):
                    row, column = t - 2 * (2 - down), cell + 2 * (along - 1)
                    if row >= 0 and 0 <= column < maps.shape[2]:
                        out[:, t, cell] += taps[:, :, down, along] @ maps[:, row, column]
    return out


@torch.no_grad()
def test_the_network_is_its_formula() -> None:
    attention, _, qkv = built({"bins": 16}, tokens=7)
    net = attention.predictor
    queries, keys, values = (tensor[0] for tensor in qkv[:3])
    maps = torch.zeros(4, 7, 4, dtype=torch.float64)
    for h in range(2):
        phi_q, phi_k = ((tensor[h] @ net.feature_FC.T / 4**0.25).relu() + 1e-3 for tensor in (queries, keys))
        for i in range(7):
            product = phi_k[: i + 1] @ phi_q[i]
            values_in = torch.cat([net.place_TC[: i + 1], values[h, : i + 1]], -1)
            context = product @ values_in / product.sum()
            code = torch.nn.functional.gelu(net.encoded(net.encode(torch.cat([context, values[h, i]]))))
            scale, share = net.rows(code).sigmoid()
            torch.testing.assert_close(qkv.extra[1][0, h, i, 0], scale)
            torch.testing.assert_close(qkv.extra[2][0, h, i, 0], share)
            decoded = net.decode(code).reshape(2, 4)
            for channel in range(2):
                maps[2 * h + channel, i] = net.decoded(decoded[channel])
    for taps in net.taps:
        maps = convolved(maps, taps).relu()
    widened = maps[:, :, torch.arange(16) // 4]
    estimate = net.joined(torch.einsum("hm,mtk->htk", net.join.weight, widened))
    torch.testing.assert_close(qkv.extra[0][0], estimate)


@torch.no_grad()
def test_the_loss_compares_the_estimate_with_full_attention() -> None:
    attention, position, qkv = built({"bins": 8}, tokens=9)
    loss, error = 0.0, 0.0
    for b in range(2):
        for h in range(2):
            for i in range(9):
                ttensorer = row_of(qkv.queries_BHTC[b, h], qkv.keys_BHSC[b, h], i, range(i + 1))[: i + 1]
                cells = torch.stack([qkv.extra[0][b, h, i, bin_of(i, j, 8)] for j in range(i + 1)]).softmax(-1)
                loss += float((ttensorer * (ttensorer / cells).log()).sum()) / (2 * 2 * 9)
                error += float((ttensorer - cells).square().sum()) / (2 * 2 * 45)
    assert float(attention.auxiliary(qkv, position)) == pytest.approx(0.1 * loss + error, rel=1e-10)
    half = built({"bins": 8, "lesson": 0.5}, tokens=9)
    assert float(half[0].auxiliary(half[2], half[1])) == pytest.approx(0.05 * loss + error / 2, rel=1e-10)


def with_gradient(attention: Sea) -> set[str]:
    """Names of the parameters of the network that have a gradient."""
    return {name for name, weight in attention.predictor.named_parameters() if weight.grad is not None}


def test_only_the_loss_trains_the_estimate_and_it_trains_no_query() -> None:
    attention, position, qkv = built({"keep": 2, "bins": 8})
    attention.attend(qkv, position).square().sum().backward(retain_graph=True)
    assert with_gradient(attention) & {"decode.weight", "join.weight", "rows.weight", "encode.weight"} == {
        "rows.weight",
        "encode.weight",
    }
    attention.auxiliary(qkv, position).backward()
    assert with_gradient(attention) == {
        name for name, weight in attention.predictor.named_parameters() if weight.requires_grad
    }
    detached = qkv._replace(extra=tuple(tensor.detach() for tensor in qkv.extra))
    assert not attention.auxiliary(detached, position).requires_grad


def test_row_sums_follow_from_scale_and_share() -> None:
    attention, position, qkv = built({"keep": 8, "bins": 8}, tokens=8)
    _, scale, share = (tensor.squeeze(-1) for tensor in qkv.extra)
    torch.testing.assert_close(attention.effective_matrix(qkv, position).sum(-1), share * scale + 1 - share)


def test_it_has_about_a_third_more_parameters() -> None:
    attention = attention_of("sea", width=64, heads=4, length=64)
    count = sum(weight.numel() for weight in attention.parameters() if weight.requires_grad)
    assert count == Sea.num_parameters(64, 4, 64, bins=32) == 4 * 64 * 64 + 4464


def test_invalid_options_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="'keep' cannot be 17"):
        attention_of("sea", {"keep": 17}, length=16)
    with pytest.raises(InvalidValueError, match="Option 'bins' cannot be 30"):
        attention_of("sea", {"bins": 30})
    attention, position, _ = built({})
    with pytest.raises(InvalidValueError, match="The position vectors of sea end at 64 tokens; the sequence has 65"):
        attention.prepare(noise(1, 65, 8), position, LayerInputs())


@pytest.mark.parametrize("position", ["none", "fire"])
@pytest.mark.parametrize("rows", [5, 18])
def test_the_loss_in_blocks_of_rows_is_that_of_the_whole(position: str, rows: int) -> None:
    attention, encoding = pair_of(Part(name="sea"), Part(name=position), length=19)
    x_BTD = noise(2, 19, 8).requires_grad_()

    def computed(fast: bool) -> tuple[Tensor, ...]:
        attention.fast = fast
        attention.max_recomputed_elements = attention.max_score_elements = rows * 2 * 2 * 19
        loss = attention.auxiliary(attention.prepare(x_BTD, encoding, LayerInputs()), encoding)
        leaves = [x_BTD, *(weight for weight in attention.parameters() if weight.requires_grad)]
        grads = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            measured = attention.auxiliary(attention.prepare(x_BTD, encoding, LayerInputs()), encoding)
        return loss, measured, *grads

    for block, whole in zip(computed(fast=True), computed(fast=False), strict=True):
        assert (block - whole).abs().max() <= 1e-13 * (1 + whole.abs().max())


def test_neither_loss_nor_weights_of_a_long_sequence_hold_a_number_for_each_pair() -> None:
    attention, position = pair_of(Part(name="sea"), Part(name="none"), length=768)
    attention.max_recomputed_elements = 2**17
    with LargestTensor() as largest:  # type: ignore[no-untyped-call]
        qkv = attention.prepare(noise(1, 768, 8), position, LayerInputs())
        (attention.attend(qkv, position).sum() + attention.auxiliary(qkv, position)).backward()
    assert largest.size <= 1.3 * 2**17
