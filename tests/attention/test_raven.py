"""Raven: the memory token by token, the router, slots that are not chosen."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from attnlab.attention.raven import Raven
from attnlab.errors import InvalidValueError
from attnlab.position import Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import attention_of, noise, pair_of


def built(tokens: int, slots: int = 5, keep: int = 2) -> tuple[Raven, Position, QKV]:
    attention, position = pair_of(Part(name="raven", options={"slots": slots, "keep": keep}), Part(name="none"))
    assert isinstance(attention, Raven)
    with torch.no_grad():
        for seed, weight in enumerate(attention.parameters()):
            if weight.ndim == 1:
                weight.add_(0.3 * noise(*weight.shape, seed=seed))
    return attention, position, attention.prepare(noise(2, tokens, 8), position, LayerInputs())


@torch.no_grad()
def recurrence(attention: Raven, x_BTD: Tensor, keep: int) -> Tensor:
    """Two memories with routed gates, token by token, from the weights alone: B x H x T x C."""
    maps = (attention.query, attention.key, attention.value)
    queries, keys, values = (functional.silu(attention.split(x_BTD @ one.weight.T)) for one in maps)
    queries = queries / queries.square().mean(-1, keepdim=True).sqrt() * attention.query_gain_C
    keys = keys / keys.square().mean(-1, keepdim=True).sqrt() * attention.key_gain_C
    logits = attention.split(x_BTD @ attention.router.weight.T)
    clock = attention.clock
    slots = logits.shape[-1]
    key_memory = torch.zeros(*keys.shape[:2], slots, 4, dtype=torch.float64)
    value_memory, mixed = torch.zeros_like(key_memory), torch.zeros_like(values)
    for b in range(len(x_BTD)):
        for h in range(2):
            for t, x_D in enumerate(x_BTD[b]):
                step = math.log1p(math.exp(float(clock.step.weight[h] @ x_D + clock.start_H[h])))
                decay = -math.exp(float(clock.rate_H[h])) * step
                scores = [1 / (1 + math.exp(-float(one))) for one in logits[b, h, t]]
                chosen = sorted(range(slots), key=[-one for one in scores].__getitem__)[:keep]
                total = sum(scores[r] for r in chosen)
                for r in chosen:
                    remaining = math.exp(decay * scores[r] / total)
                    key_memory[b, h, r] = remaining * key_memory[b, h, r] + (1 - remaining) * keys[b, h, t]
                    value_memory[b, h, r] = remaining * value_memory[b, h, r] + (1 - remaining) * values[b, h, t]
                read = (key_memory[b, h] @ queries[b, h, t]).softmax(0)
                mixed[b, h, t] = read @ value_memory[b, h]
    return mixed


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("tokens", "keep"), [(1, 2), (8, 1), (37, 5), (65, 2)])
def test_closed_form_and_scan_are_the_recurrence(tokens: int, keep: int, fast: bool) -> None:
    attention, position, qkv = built(tokens, keep=keep)
    attention.fast = fast
    expected = recurrence(attention, noise(2, tokens, 8), keep)
    torch.testing.assert_close(attention.attend(qkv, position), expected, rtol=1e-7, atol=1e-8)  # theirs adds 1e-9


def test_a_slot_that_is_not_chosen_keeps_what_it_has() -> None:
    attention, _, qkv = built(30, slots=6, keep=2)
    (decays,) = qkv.extra
    assert ((decays < 0).sum(-1) == 2).all()
    assert not decays[decays == 0].any()
    shares = attention.routes(noise(3, 2, 4, 6))
    torch.testing.assert_close(shares.sum(-1), torch.ones(3, 2, 4, dtype=torch.float64), rtol=0, atol=1e-8)


def test_equal_scores_choose_the_first_slots() -> None:
    attention, _, _ = built(1, slots=6, keep=2)
    shares = attention.routes(torch.zeros(1, 1, 1, 6, dtype=torch.float64))
    assert (shares[0, 0, 0] > 0).tolist() == [True, True, False, False, False, False]


def test_the_output_is_normalized_over_all_heads() -> None:
    attention = attention_of("raven", width=16, heads=2)
    assert isinstance(attention, Raven)
    mixed = noise(2, 2, 5, 8, dtype=torch.float32)
    joined = functional.silu(attention.join(mixed))
    expected = attention.out_proj(joined / joined.square().mean(-1, keepdim=True).sqrt())
    torch.testing.assert_close(attention.output(mixed, torch.zeros(2, 5, 16)), expected)


def test_more_chosen_than_there_are_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="cannot write to 4 slots of 3"):
        attention_of("raven", {"slots": 3})
