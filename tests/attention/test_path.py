"""PaTH: against a product of single reflections; extreme strengths."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from attnlab.attention.path import Path
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from attnlab.testing._cost import LargestTensor
from tests.builders import attention_of, noise, pair_of

H, C = 2, 4


def built(position: str = "none", tokens: int = 13, **options: Any) -> tuple[Path, Position, QKV]:
    attention, encoding = pair_of(Part(name="path", options=options), Part(name=position))
    assert isinstance(attention, Path)
    return attention, encoding, attention.prepare(noise(1, tokens, H * C), encoding, LayerInputs())


@torch.no_grad()
def axes_of(attention: Path, x_TD: Tensor) -> Tensor:
    """w of every token, T x H x C, its convolution written out."""
    inner_TD = torch.stack([attention.widen.weight @ (attention.narrow.weight @ x_D) for x_D in x_TD])
    taps = attention.tap_D1K.shape[-1]
    rows = []
    for t in range(len(x_TD)):
        row_D = torch.zeros(H * C, dtype=torch.float64)
        for back in range(min(taps, t + 1)):
            row_D += attention.tap_D1K[:, 0, taps - 1 - back] * inner_TD[t - back]
        row_HC = row_D.view(H, C)
        rows.append(row_HC / (row_HC.square().sum(-1, keepdim=True) + 1e-6).sqrt())
    return torch.stack(rows)


@torch.no_grad()
def looped(attention: Path, qkv: QKV, x_TD: Tensor) -> Tensor:
    """Scores of one sequence, H x T x T: each key multiplied by the reflections between it and its query."""
    axes, tokens = axes_of(attention, x_TD), len(x_TD)
    scores = torch.zeros(H, tokens, tokens, dtype=torch.float64)
    for head in range(H):
        for j in range(tokens):
            reflected = qkv.keys_BHSC[0, head, j].clone()
            for i in range(j, tokens):
                if i > j:
                    strength = 2 * torch.sigmoid(attention.strength.weight[head] @ x_TD[i])
                    reflected -= strength * axes[i, head] * (axes[i, head] @ reflected)
                scores[head, i, j] = qkv.queries_BHTC[0, head, i] @ reflected / math.sqrt(C)
    return scores


@pytest.mark.parametrize("taps", [1, 3, 4])
@pytest.mark.parametrize("position", ["none", "rotary"])
def test_scores_are_products_of_reflections(taps: int, position: str) -> None:
    attention, encoding, qkv = built(position, taps=taps)
    expected = looped(attention, qkv, noise(1, 13, H * C)[0])
    assert (attention.scores(qkv, encoding)[0] - expected).abs().max() < 1e-12
    weights = expected.masked_fill(torch.ones(13, 13).triu(1).bool(), -torch.inf).softmax(-1)
    assert (attention.effective_matrix(qkv, encoding)[0] - weights).abs().max() < 1e-12


def test_a_bias_is_added_to_the_scores() -> None:
    attention, position, qkv = built("alibi")
    bias = position.bias(attention.score(qkv), qkv, 0)
    assert bias is not None
    torch.testing.assert_close(attention.scores(qkv, position) - bias, attention.score(qkv))


def test_a_chunk_of_rows_is_that_of_the_whole() -> None:
    attention, position, qkv = built()
    whole = attention.scores(qkv, position)
    for start, end in ((0, 4), (4, 9), (12, 13)):
        chunk = qkv._replace(queries_BHTC=qkv.queries_BHTC[..., start:end, :], start=start)
        torch.testing.assert_close(attention.scores(chunk, position), whole[..., start:end, :], rtol=0, atol=1e-13)


@pytest.mark.parametrize("tokens", [63, 64, 65, 129, 200, 257])
def test_scores_by_chunks_of_keys_are_those_of_one_solve(tokens: int) -> None:
    attention, position, qkv = built(tokens=tokens)
    whole = attention.scores(qkv, position)
    for start, end in ((0, 3), (60, tokens), (tokens // 2, tokens // 2 + 20), (tokens - 1, tokens)):
        chunk = qkv._replace(queries_BHTC=qkv.queries_BHTC[..., start:end, :], start=start)
        torch.testing.assert_close(attention.scores(chunk, position), whole[..., start:end, :], rtol=0, atol=1e-12)


@pytest.mark.parametrize("rows", [64, 90])
def test_blocks_over_several_chunks_have_outputs_and_gradients_of_the_closed_form(rows: int) -> None:
    attention, position, _ = built("rotary")
    x_BTD = noise(1, 200, H * C).requires_grad_()

    def computed(fast: bool) -> tuple[Tensor, ...]:
        attention.fast = fast
        attention.max_recomputed_elements = rows * H * 200
        mixed = attention.attend(attention.prepare(x_BTD, position, LayerInputs()), position)
        loss = (mixed * noise(*mixed.shape, seed=9)).sum()
        leaves = [x_BTD, *attention.parameters()]
        return mixed, *torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)

    for block, whole in zip(computed(fast=True), computed(fast=False), strict=True):
        assert (block - whole).abs().max() <= 1e-11 * (1 + whole.abs().max())


def test_blocks_of_stacked_runs_have_the_gradients_of_each_run_in_float32() -> None:
    """Where axes are made unit vectors by loops: in a backward pass that is vmapped and computes blocks again."""
    attention, position, _ = built()
    attention, position = attention.float(), position.float()
    attention.max_recomputed_elements = 64 * H * 200
    weights = {key: torch.stack([one, one.flip(-1)]) for key, one in attention.named_parameters()}
    x_2BTD = noise(2, 1, 200, H * C).float()

    def gradients(stacked: bool) -> list[Tensor]:
        leaves = {key: one.detach().requires_grad_() for key, one in weights.items()}

        def run(own: dict[str, Tensor], x_BTD: Tensor) -> Tensor:
            return torch.func.functional_call(attention, own, (x_BTD, position, LayerInputs())).output_BTD

        if stacked:
            outputs = torch.func.vmap(run)(leaves, x_2BTD)
        else:
            outputs = torch.stack([run({key: one[i] for key, one in leaves.items()}, x_2BTD[i]) for i in range(2)])
        used = [leaves[key] for key in leaves]
        return list(torch.autograd.grad((outputs * noise(*outputs.shape, seed=9).float()).sum(), used))

    for together, alone in zip(gradients(stacked=True), gradients(stacked=False), strict=True):
        assert (together - alone).abs().max() <= 1e-4 * (1 + alone.abs().max())


def test_no_tensor_has_a_number_for_each_pair_of_tokens() -> None:
    attention, position, _ = built()
    with LargestTensor() as largest:  # type: ignore[no-untyped-call]
        mixed = attention.attend(attention.prepare(noise(1, 1024, H * C), position, LayerInputs()), position)
        mixed.sum().backward()
    assert largest.size <= H * 1024 * 128 * 1.2  # the scores of a block, with its own keys


def test_without_strength_it_is_softmax() -> None:
    attention, position, qkv = built()
    without = qkv._replace(extra=(qkv.extra[0], torch.zeros_like(qkv.extra[1])))
    expected = (qkv.queries_BHTC @ qkv.keys_BHSC.mT / 2).tril()
    torch.testing.assert_close(attention.scores(without, position), expected)


def test_full_strength_flips_a_key_along_the_axis() -> None:
    """Reflections keep lengths: each token between a key along the axis and its query flips the sign of the key."""
    attention, position, qkv = built(tokens=6)
    axis = torch.tensor([100.0, 0, 0, 0], dtype=torch.float64).expand(1, H, 6, C)
    along_axis = QKV(axis, axis, qkv.values_BHSC, (axis, torch.full((1, H, 6, 1), 2.0, dtype=torch.float64)))
    signs = torch.tensor([(-1.0) ** i for i in range(6)], dtype=torch.float64)
    expected = (5000.0 * signs[:, None] * signs).tril().expand(1, H, 6, 6)
    torch.testing.assert_close(attention.scores(along_axis, position), expected, rtol=1e-6, atol=0)


def test_reflections_never_lengthen_a_key() -> None:
    attention, position, qkv = built(tokens=40)
    strong = qkv._replace(extra=(qkv.extra[0], torch.full_like(qkv.extra[1], 2.0)))
    bound = qkv.queries_BHTC.norm(dim=-1)[..., None] * qkv.keys_BHSC.norm(dim=-1)[..., None, :] / 2
    assert (attention.scores(strong, position).abs() <= bound + 1e-12).all()


@pytest.mark.parametrize(("rank", "taps"), [(32, 3), (5, 1)])
def test_parameter_count_is_the_formula(rank: int, taps: int) -> None:
    attention = attention_of("path", {"rank": rank, "taps": taps}, width=16, heads=4)
    count = sum(weight.numel() for weight in attention.parameters())
    assert count == 4 * 16 * 16 + 2 * rank * 16 + 16 * 4 + taps * 16
