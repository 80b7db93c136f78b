"""Rows in chunks: the same output with bounded memory, for every attention, where no gradient is recorded."""

from __future__ import annotations

from typing import Any, final

import pytest
import torch
from torch import nn

from attnlab.attention import ATTENTIONS, Attention
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from attnlab.testing._cost import LargestTensor
from tests.builders import layer_context, noise, pair_of

TOKENS = 24
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((entry.name, {}) for entry in ATTENTIONS if not entry.cls.chunked_scan),
    ("dape", {"kernel": 3, "width": 4}),
    ("dape", {"kernel": 3, "width": 4, "padding": "symmetric"}),
    ("multi-token", {"queries": 3, "keys": 5, "norm": False}),
    ("gpam", {"lambdas": "untied", "plus": 0.25, "minus": 0.75}),
    ("mgk", {"components": 3, "keys": "shifted"}),
]
over_attentions = pytest.mark.parametrize(
    ("name", "options"), OPTIONS, ids=[str(Part(name=n, options=o)) for n, o in OPTIONS]
)


@final
class Both(nn.Module):
    def __init__(self, attention: Attention, position: Position) -> None:
        super().__init__()
        self.attention, self.position = attention, position

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.attention(x_BTD, self.position, LayerInputs()).output_BTD
        return output


def built(name: str, options: dict[str, Any], position: str) -> tuple[Attention, Position, QKV]:
    attention, built_position = pair_of(Part(name=name, options=options), Part(name=position), length=TOKENS)
    with torch.no_grad():
        for index, weight in enumerate(attention.parameters()):
            weight.add_(0.1 * noise(*weight.shape, seed=index))
    return attention, built_position, attention.prepare(noise(2, TOKENS, 8), built_position, LayerInputs())


@over_attentions
@pytest.mark.parametrize("position", ["alibi", "rotary"])
def test_chunks_equal_the_whole(name: str, options: dict[str, Any], position: str) -> None:
    if position == "alibi" and not ATTENTIONS.entry(name).cls.has_scores:
        position = "none"
    attention, built_position, qkv = built(name, options, position)
    whole = attention.attend(qkv, built_position)
    for rows in (5, 23):
        attention.max_score_elements = rows * 2 * TOKENS * attention.score_maps
        with torch.no_grad():
            assert (attention.attend(qkv, built_position) - whole).abs().max() <= 1e-12
            chunk = qkv._replace(queries_BHTC=qkv.queries_BHTC[..., 7:, :], start=7)
            assert (attention.attend(chunk, built_position) - whole[..., 7:, :]).abs().max() <= 1e-12


@over_attentions
@pytest.mark.parametrize("position", ["fire", "rotary"])
def test_gradients_of_blocks_are_those_of_the_whole(name: str, options: dict[str, Any], position: str) -> None:
    if position == "fire" and not ATTENTIONS.entry(name).cls.has_scores:
        position = "none"
    attention, built_position, _ = built(name, options, position)
    x_BTD = noise(2, TOKENS, 8).requires_grad_()
    parameters = *attention.parameters(), *built_position.parameters()
    leaves = [x_BTD, *(parameter for parameter in parameters if parameter.requires_grad)]

    def gradients() -> tuple[torch.Tensor, ...]:
        mixed = attention.attend(attention.prepare(x_BTD, built_position, LayerInputs()), built_position)
        loss = (mixed * noise(*mixed.shape, seed=9)).sum()
        return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)

    whole = gradients()
    for rows in (5, 23):
        attention.max_recomputed_elements = rows * 2 * TOKENS * attention.score_maps
        for block, expected in zip(gradients(), whole, strict=True):
            assert (block - expected).abs().max() <= 1e-11 * (1 + expected.abs().max())


@pytest.mark.parametrize("name", ["softmax", "dape", "forgetting", "multi-token", "selective", "sparsemax"])
def test_blocks_of_vmapped_runs_have_the_gradients_of_each_run(name: str) -> None:
    attention, position, _ = built(name, {}, "kerple")
    module = Both(attention, position)
    weights = {key: torch.stack([one, one.flip(-1)]) for key, one in module.named_parameters()}
    x_KBTD = noise(2, 2, TOKENS, 8)

    def gradients(rows: int) -> tuple[torch.Tensor, ...]:
        attention.max_recomputed_elements = rows * 2 * TOKENS * attention.score_maps
        leaves = {key: one.detach().requires_grad_() for key, one in weights.items()}
        mixed = torch.func.vmap(lambda own, x_BTD: torch.func.functional_call(module, own, (x_BTD,)))(leaves, x_KBTD)
        return torch.autograd.grad((mixed * noise(*mixed.shape, seed=9)).sum(), [*leaves.values()])

    for block, whole in zip(gradients(5), gradients(TOKENS), strict=True):
        assert (block - whole).abs().max() <= 1e-11 * (1 + whole.abs().max())


class Dropped(Attention):
    def normalize(self, scores: torch.Tensor, mask: torch.Tensor, qkv: QKV) -> torch.Tensor:
        return torch.nn.functional.dropout(super().normalize(scores, mask, qkv), 0.5)


def test_the_backward_pass_drops_what_the_forward_pass_dropped() -> None:
    attention, position = (
        Dropped(layer_context(width=8, length=TOKENS)).double(),
        pair_of(Part(name="softmax"), Part(name="none"))[1],
    )
    attention.max_recomputed_elements = 5 * 2 * TOKENS
    queries, keys = noise(1, 2, TOKENS, 4), noise(1, 2, TOKENS, 4, seed=1)
    values = noise(1, 2, TOKENS, 4, seed=2).requires_grad_()
    mixed = attention.attend(QKV(queries, keys, values), position)
    state = torch.get_rng_state()
    (grad,) = torch.autograd.grad((mixed * mixed.detach()).sum(), [values])
    # The outputs are linear in the values.
    assert ((grad * values).sum() - mixed.square().sum()).abs() <= 1e-10
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["dape", "multi-token", "gpam", "mgk", "selective", "talking-heads"])
def test_the_largest_tensor_of_a_long_evaluation_is_bounded(name: str) -> None:
    attention, position = pair_of(Part(name=name), Part(name="alibi"), length=384)
    qkv = attention.prepare(noise(1, 384, 8), position, LayerInputs())
    attention.max_score_elements = 2**16
    with torch.no_grad(), LargestTensor() as bounded:  # type: ignore[no-untyped-call]
        attention.attend(qkv, position)
    with LargestTensor() as whole:  # type: ignore[no-untyped-call]
        attention.attend(qkv, position)
    assert bounded.size <= 1.3 * 2**16
    assert whole.size >= attention.num_heads * 384**2


def test_rows_within_the_limit_are_not_split(monkeypatch: pytest.MonkeyPatch) -> None:
    attention, built_position, qkv = built("talking-heads", {}, "none")
    rows: list[int] = []
    weights = attention.weights

    def recorded(chunk: QKV, position: Position) -> torch.Tensor:
        rows.append(chunk.queries_BHTC.shape[-2])
        return weights(chunk, position)

    monkeypatch.setattr(attention, "weights", recorded)
    with torch.no_grad():
        attention.attend(qkv, built_position)
        attention.max_score_elements = 2 * 2 * TOKENS * 10
        attention.attend(qkv, built_position)
        attention.fast = False
        attention.attend(qkv, built_position)
    attention.fast = True
    attention.attend(qkv, built_position)
    assert rows == [24, 10, 10, 4, 24, 24]
