"""Comba, preconditioned and momentum delta, and Mesa: their recurrences token by token, and their identities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attnlab.attention.comba import Comba
from attnlab.attention.gated_delta import GatedDelta, GatedDeltaNet
from attnlab.attention.kda import Kda
from attnlab.attention.mesa import Mesa
from attnlab.attention.momentum_delta import MomentumDelta
from attnlab.attention.ops.preconditioner import Preconditioner
from attnlab.errors import IncompatiblePartsError
from attnlab.specs import Part
from attnlab.tensors import LayerInputs
from tests.builders import attention_of, noise, pair_of, position_of

State = tuple[Tensor, ...]
Read = Callable[[Any, int, Tensor, Tensor, Tensor, Tensor, State], tuple[Tensor, State]]
"""From attention, head, token, query, key, value and states to what is read, and the new states."""

MODES = [
    Part(name="comba", options={"conv": "qkv", "expand": 2}),
    Part(name="comba", options={"negative": True}),
    Part(name="gated-delta", options={"precond": True}),
    Part(name="kda", options={"precond": True, "conv": "k"}),
    Part(name="momentum-delta", options={"expand": 2}),
    Part(name="mesa", options={"expand": 2, "conv": "v"}),
]


def unit(vector: Tensor) -> Tensor:
    return vector / (vector.square().sum() + 1e-6).sqrt()


def rows_of(attention: Any, letter: str, layer: nn.Linear, x_TD: Tensor) -> list[Tensor]:
    """One projection of each token after its convolution and SiLU."""
    rows = [layer.weight @ x_D for x_D in x_TD]
    if letter in attention.convolutions.taps:
        taps = attention.convolutions.taps[letter][:, 0]
        padded = [torch.zeros_like(rows[0])] * 3 + rows
        rows = [sum(taps[:, tap] * padded[t + tap] for tap in range(4)) for t in range(len(rows))]
    return [functional.silu(row) for row in rows]


def strength(attention: Any, x_D: Tensor, head: int) -> Tensor:
    return attention.max_strength * torch.sigmoid(attention.strength.weight[head] @ x_D)


def decay(part: Any, x_D: Tensor, head: int) -> Tensor:
    """The decay of one head, of an attention or of a preconditioner; per channel for kda."""
    if isinstance(part, Kda):
        size = len(part.step_D) // len(part.rate_H)
        raw = (part.forget.weight @ (part.narrow.weight @ x_D) + part.step_D)[head * size : (head + 1) * size]
    else:
        raw = (part.forget.weight[head] @ x_D + part.step_H[head]).reshape(1)
    return torch.exp(-part.rate_H[head].exp() * functional.softplus(raw))


def comba(attention: Comba, head: int, x: Tensor, q: Tensor, k: Tensor, v: Tensor, states: State) -> Any:
    (state,) = states
    feedback = torch.sigmoid(attention.feedback_H[head]) * k
    correction = strength(attention, x, head) * torch.outer(k, v - feedback @ state)
    state = decay(attention, x, head) * state + correction
    return q @ state, (state,)


def preconditioned(attention: Any, head: int, x: Tensor, q: Tensor, k: Tensor, v: Tensor, states: State) -> Any:
    state, moment = states
    own = attention.preconditioner
    moment = decay(own, x, head) * moment + torch.sigmoid(own.strength.weight[head] @ x) * k**2
    distance = torch.log(moment + 1e-6) + 0.2
    written = k * 1.5 ** -(distance / (1 + distance.abs()))
    state = decay(attention, x, head)[:, None] * state
    state = state + strength(attention, x, head) * torch.outer(written, v - k @ state)
    return q @ state, (state, moment)


def momentum(attention: MomentumDelta, head: int, x: Tensor, q: Tensor, k: Tensor, v: Tensor, states: State) -> Any:
    state, moving = states
    moving = torch.sigmoid(attention.momentum.weight[head] @ x) * moving + 2 * torch.sigmoid(
        attention.learning.weight[head] @ x
    ) * torch.outer(k, v - k @ state)
    state = decay(attention, x, head) * state + strength(attention, x, head) * moving
    return q @ state, (state, moving)


def mesa(attention: Mesa, head: int, x: Tensor, q: Tensor, k: Tensor, v: Tensor, states: State) -> Any:
    state, gram = states
    written = strength(attention, x, head) * k
    state = decay(attention, x, head) * state + torch.outer(written, v)
    gram = decay(attention, x, head) * gram + torch.outer(written, k)
    ridge = 0.25 + functional.softplus(attention.ridge_D[head * len(k) : (head + 1) * len(k)])
    return torch.linalg.inv(gram + torch.diag(ridge)) @ q @ state, (state, gram)


READS: dict[type, Read] = {
    Comba: comba,
    GatedDelta: preconditioned,
    Kda: preconditioned,
    MomentumDelta: momentum,
    Mesa: mesa,
}


@torch.no_grad()
def recurrence(attention: Any, x_TD: Tensor, heads: int) -> Tensor:
    """The whole layer for one sequence, head by head and token by token, from its weights alone."""
    width, values = x_TD.shape[-1] // heads, len(attention.gain_V)
    layers = {"q": attention.query, "k": attention.key, "v": attention.value}
    rows = [rows_of(attention, letter, layer, x_TD) for letter, layer in layers.items()]
    shapes: dict[type, list[tuple[int, ...]]] = {
        Comba: [],
        GatedDelta: [(width,)],
        Kda: [(width,)],
        MomentumDelta: [(width, values)],
        Mesa: [(width, width)],
    }
    out = []
    for head in range(heads):
        keys, own = slice(head * width, (head + 1) * width), slice(head * values, (head + 1) * values)
        states = tuple(x_TD.new_zeros(shape) for shape in [(width, values), *shapes[type(attention)]])
        read = []
        for x_D, q_D, k_D, v_D in zip(x_TD, *rows, strict=True):
            step = READS[type(attention)]
            mixed, states = step(attention, head, x_D, unit(q_D[keys]), unit(k_D[keys]), v_D[own], states)
            read.append(attention.gain_V * mixed / (mixed.square().mean() + 1e-5).sqrt())
        out.append(torch.stack(read))
    return torch.cat(out, -1) @ attention.out_proj.weight.T


@pytest.mark.parametrize("part", MODES, ids=str)
@pytest.mark.parametrize("fast", [True, False])
@torch.no_grad()
def test_the_layer_is_its_recurrence(part: Part, fast: bool) -> None:
    attention, no_position = pair_of(part, Part(name="none"))
    attention.fast = fast
    for weight in attention.parameters():  # numbers that all start alike would hide a mistake
        weight.add_(noise(*weight.shape, seed=1), alpha=0.1)
    x_BTD = noise(1, 70, 8)
    out = attention(x_BTD, no_position, LayerInputs()).output_BTD
    assert (out[0] - recurrence(attention, x_BTD[0], 2)).abs().max() < 1e-9


def test_comba_that_reads_the_key_itself_without_decay_is_delta() -> None:
    delta, comba = (attention_of(name).double() for name in ("delta", "comba"))
    assert isinstance(comba, Comba)
    comba.load_state_dict(delta.state_dict(), strict=False)
    nn.init.constant_(comba.feedback_H, 50.0)
    nn.init.constant_(comba.rate_H, -50.0)
    assert_equal_outputs(delta, comba)


def test_strong_decays_of_comba_stay_finite() -> None:
    comba = attention_of("comba")
    assert isinstance(comba, Comba)
    nn.init.constant_(comba.step_H, 1e4)
    x_BTD = noise(1, 80, 8, dtype=torch.float32).requires_grad_()
    comba(x_BTD, position_of("none"), LayerInputs()).output_BTD.square().sum().backward()
    assert x_BTD.grad is not None
    assert x_BTD.grad.isfinite().all()


def test_momentum_of_zero_at_full_strength_without_decay_is_delta() -> None:
    delta, momentum = attention_of("delta", {"negative": True}).double(), attention_of("momentum-delta").double()
    assert isinstance(momentum, MomentumDelta)
    momentum.load_state_dict(delta.state_dict(), strict=False)
    x_BTD = noise(2, 30, 8)
    x_BTD[..., 0] = 1.0  # a channel that gates can read as a constant
    with torch.no_grad():
        momentum.learning.weight.copy_(delta.get_parameter("strength.weight"))
        for layer, level in ((momentum.momentum, -60.0), (momentum.strength, 60.0)):
            layer.weight.zero_()[:, 0] = level
        nn.init.constant_(momentum.rate_H, -50.0)
    assert_equal_outputs(delta, momentum, x_BTD)


def test_mesa_fits_pairs_exactly_where_the_ridge_is_small() -> None:
    """With as many keys as channels, each is read as its own value: least squares, and no sum over similar keys."""
    attention, no_position = pair_of(Part(name="mesa"), Part(name="none"), width=8, heads=1)
    qkv = attention.prepare(noise(1, 5, 8), no_position, LayerInputs())
    keys = functional.normalize(qkv.keys_BHSC, dim=-1)
    ones = torch.full_like(qkv.extra[0], 1e7)  # a large strength makes the ridge small
    qkv = qkv._replace(queries_BHTC=keys, extra=(ones, torch.zeros_like(qkv.extra[1])))
    identity = torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(attention.effective_matrix(qkv, no_position)[0, 0], identity, rtol=0, atol=1e-4)


def test_preconditioned_keys_start_longer_and_end_shorter() -> None:
    attention, no_position = pair_of(Part(name="gated-delta", options={"precond": True}), Part(name="none"))
    assert isinstance(attention, GatedDelta)
    assert isinstance(attention.preconditioner, Preconditioner)
    key = torch.tensor([10.0, 0, 0, 0], dtype=torch.float64).expand(1, 2, 50, 4)
    qkv = attention.prepare(noise(1, 50, 8), no_position, LayerInputs())._replace(keys_BHSC=key)
    zeros = torch.zeros_like(qkv.extra[0])
    qkv = qkv._replace(extra=(zeros + 1, zeros, zeros, zeros + 0.1))
    written = attention.rule(qkv).erasures_BHSC[0, 0, :, 0]
    assert written[0] > 1.2
    assert written[-1] < 0.8


@pytest.mark.parametrize(
    ("name", "options"),
    [("gated-delta", {"precond": True, "householders": 2}), ("kda", {"precond": True, "erase": "channel"})],
)
def test_combinations_that_no_source_defines_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(IncompatiblePartsError, match=rf"^{name}\n  precond with .* is defined by no source"):
        attention_of(name, options)


@torch.no_grad()
def assert_equal_outputs(one: nn.Module, other: GatedDeltaNet, x_BTD: Tensor | None = None) -> None:
    x_BTD = noise(2, 30, 8) if x_BTD is None else x_BTD
    first, second = (layer(x_BTD, position_of("none"), LayerInputs()).output_BTD for layer in (one, other))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-9)
