"""Multi-token attention: against a loop over the cells of two convolutions; initialization; causality."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.attention.multi_token import KeyQueryConvolution, MultiToken
from attnlab.attention.talking_heads import HeadMix
from attnlab.errors import InvalidValueError
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of

TOKENS = 8
SIZES: list[dict[str, Any]] = [{"queries": 3, "keys": 5}, {"queries": 1, "keys": 3}, {"queries": 4, "keys": 1}, {}]
all_options = pytest.mark.parametrize("options", SIZES, ids=lambda options: str(Part(name="mta", options=options)))


def built(options: dict[str, Any], position: str = "none", size: float = 0.3) -> tuple[MultiToken, Position, QKV]:
    attention, encoding = pair_of(Part(name="multi-token", options=options), Part(name=position))
    assert isinstance(attention, MultiToken)
    for seed, convolution in enumerate((attention.before, attention.after)):
        convolution.change_HQK.data.copy_(size * noise(*convolution.change_HQK.shape, seed=seed))
    for seed, heads in enumerate((attention.mix_before, attention.mix_after)):
        heads.change_GH.data.copy_(size * noise(2, 2, seed=seed + 2))
    return attention, encoding, attention.prepare(noise(1, TOKENS, 8), encoding, LayerInputs())


def convolved(convolution: KeyQueryConvolution, maps: Tensor) -> Tensor:
    """One cell at a time; cells above the diagonal, before the first row or past an edge count as zero."""
    kernel = convolution.change_HQK.detach().clone()
    heads, queries, keys = kernel.shape
    kernel[:, -1, keys // 2] += 1
    out = torch.zeros_like(maps)
    for head in range(heads):
        for i in range(TOKENS):
            for j in range(i + 1):
                for a in range(queries):
                    for b in range(keys):
                        row, key = i + a - (queries - 1), j + b - keys // 2
                        if 0 <= key <= row:
                            out[head, i, j] += kernel[head, a, b] * maps[head, row, key]
    return out


def mixed(mix: HeadMix, maps: Tensor) -> Tensor:
    full = torch.eye(2, dtype=maps.dtype) + mix.change_GH.detach()
    return torch.stack([full[g, 0] * maps[0] + full[g, 1] * maps[1] for g in range(2)])


@all_options
@pytest.mark.parametrize("position", ["none", "alibi"])
def test_weights_are_those_of_a_loop_over_cells(options: dict[str, Any], position: str) -> None:
    attention, encoding, qkv = built(options, position)
    scores = (qkv.queries_BHTC @ qkv.keys_BHSC.mT / 2)[0].detach()
    bias = encoding.bias(scores, qkv, 0)
    scores = mixed(attention.mix_before, convolved(attention.before, scores if bias is None else scores + bias))
    mask = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
    softmax = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    expected = mixed(attention.mix_after, convolved(attention.after, softmax))
    torch.testing.assert_close(attention.effective_matrix(qkv, encoding)[0], expected, rtol=1e-10, atol=1e-12)


def test_it_starts_as_softmax() -> None:
    attention, position, qkv = built({}, "alibi", 0.0)
    softmax = attention_of("softmax", biased=True).double()
    softmax.fast = False
    assert torch.equal(attention.effective_matrix(qkv, position), softmax.effective_matrix(qkv, position))


@pytest.mark.parametrize("columns", [1, 63, 64, 65, 150])
def test_the_blocks_are_one_convolution(columns: int) -> None:
    attention, _, _ = built({"queries": 3, "keys": 5})
    maps = noise(2, 2, 7, columns)
    padded = torch.nn.functional.pad(maps, (2, 2, 2, 0))
    kernel = attention.before.change_HQK.unsqueeze(1)
    expected = maps + torch.nn.functional.conv2d(padded, kernel, groups=2)
    torch.testing.assert_close(attention.before(maps), expected, rtol=1e-12, atol=1e-12)


@all_options
def test_it_is_causal(options: dict[str, Any]) -> None:
    attention, position, qkv = built(options, "alibi")
    before = attention.effective_matrix(qkv, position)
    assert not before.triu(1).any()
    for first in range(1, TOKENS):
        keys = qkv.keys_BHSC.clone()
        keys[..., first:, :] = 1e3
        after = attention.effective_matrix(qkv._replace(keys_BHSC=keys), position)
        assert (after[..., :first, :] - before[..., :first, :]).abs().max() <= 1e-12


@all_options
@pytest.mark.parametrize("position", ["alibi", "rotary"])
def test_a_chunk_of_rows_is_that_of_the_whole(options: dict[str, Any], position: str) -> None:
    attention, encoding, qkv = built(options, position)
    whole, scores = attention.effective_matrix(qkv, encoding), attention.scores(qkv, encoding)
    for start in range(TOKENS):
        chunk = qkv._replace(queries_BHTC=qkv.queries_BHTC[..., start : start + 2, :], start=start)
        assert (attention.effective_matrix(chunk, encoding) - whole[..., start : start + 2, :]).abs().max() <= 1e-12
        assert (attention.scores(chunk, encoding) - scores[..., start : start + 2, :]).abs().max() <= 1e-12


def test_the_output_of_a_head_is_normalized() -> None:
    attention, _, _ = built({})
    assert attention.gain_C is not None
    attention.gain_C.data.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    x = noise(1, 2, 5, 4)
    size = (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    expected = attention.out_proj(attention.join(x / size * attention.gain_C))
    torch.testing.assert_close(attention.output(x, noise(1, 5, 8)), expected)


@pytest.mark.parametrize(("norm", "gain"), [(True, 4), (False, 0)])
def test_parameter_count_is_two_kernels_and_two_mixes(norm: bool, gain: int) -> None:
    attention = attention_of("multi-token", {"norm": norm}, width=16, heads=4)
    assert sum(weight.numel() for weight in attention.parameters()) == 4 * 16 * 16 + 4 * 66 * 2 + 2 * 16 + gain


def test_a_kernel_without_a_middle_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="A kernel over 4 keys has no middle") as caught:
        attention_of("multi-token", {"keys": 4})
    assert caught.value.hint == "Use an odd number: 3 or 5."
