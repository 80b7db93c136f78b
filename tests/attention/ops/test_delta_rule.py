"""The delta rule: closed form and scan against the recurrence, token by token."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attnlab.attention.ops.delta_rule import CHUNK, Rule, closed_form, decayed_products, scan
from attnlab.attention.ops.unit import unit_length
from tests.builders import noise

DECAYS = ["none", "token", "channel", "violent"]
decaying = pytest.mark.parametrize("decays", DECAYS)
writing = pytest.mark.parametrize("separate", [False, True], ids=["write is erase", "separate write"])


def decay_of(kind: str, tokens: int, channels: int) -> Tensor | None:
    """Log decays; the violent ones sum to a thousand within a few tokens, far past what an exponential holds."""
    if kind == "none":
        return None
    wide = noise(2, 2, tokens, 1 if kind == "token" else channels, seed=5)
    return -(300.0 if kind == "violent" else 0.3) * wide.square()


def rule_of(kind: str, separate: bool, tokens: int, channels: int = 3, dtype: torch.dtype = torch.float64) -> Rule:
    queries, keys, others, writes = (noise(2, 2, tokens, channels, seed=seed) for seed in range(4))
    strength = noise(2, 2, tokens, 1, seed=4).sigmoid()
    decays = decay_of(kind, tokens, channels)
    keys = unit_length(keys)
    rule = Rule(queries, keys, strength * keys, None, decays)
    if separate:
        rule = Rule(
            queries, keys, strength * unit_length(keys + 0.3 * others), writes, decays, noise(2, 2, tokens, 1, seed=6)
        )
    return Rule(*(None if part is None else part.to(dtype) for part in rule))  # type: ignore[arg-type]


def recurrence(rule: Rule, values: Tensor) -> Tensor:
    """The recurrence token by token, from its definition."""
    writes = rule.erasures_BHSC if rule.writes_BHSC is None else rule.writes_BHSC
    state = values.new_zeros(2, 2, writes.shape[-1], values.shape[-1])
    read = []
    for t in range(values.shape[-2]):
        if rule.decays_BHSC is not None:
            state = rule.decays_BHSC[..., t, :, None].exp() * state
        removed = torch.einsum("bhc,bhcv->bhv", rule.removals_BHSC[..., t, :], state)
        state = state - rule.erasures_BHSC[..., t, :, None] * removed[..., None, :]
        state = state + writes[..., t, :, None] * values[..., t, None, :]
        out = torch.einsum("bhc,bhcv->bhv", rule.queries_BHTC[..., t, :], state)
        from_self = 0 if rule.self_weights_BHT1 is None else rule.self_weights_BHT1[..., t, :] * values[..., t, :]
        read.append(out + from_self)
    return torch.stack(read, -2)


@decaying
@writing
@pytest.mark.parametrize("tokens", [1, 2, 13, CHUNK, CHUNK + 1, 3 * CHUNK - 5])
def test_closed_form_and_scan_are_the_recurrence(decays: str, separate: bool, tokens: int) -> None:
    rule, values = rule_of(decays, separate, tokens), noise(2, 2, tokens, 5, seed=9)
    expected = recurrence(rule, values)
    assert (closed_form(rule) @ values - expected).abs().max() < 1e-10
    assert (scan(rule, values) - expected).abs().max() < 1e-10


@decaying
@writing
def test_single_precision_is_accurate_to_five_digits(decays: str, separate: bool) -> None:
    rule, values = rule_of(decays, separate, 150), noise(2, 2, 150, 5, seed=9)
    expected = recurrence(rule, values)
    single = rule_of(decays, separate, 150, dtype=torch.float32)
    for predictions in (closed_form(single) @ values.float(), scan(single, values.float())):
        assert (predictions - expected).abs().max() < 1e-5 * expected.abs().max()


@decaying
@writing
def test_gradients_of_the_scan_are_those_of_the_recurrence(decays: str, separate: bool) -> None:
    rule, values = rule_of(decays, separate, CHUNK + 9), noise(2, 2, CHUNK + 9, 5, seed=9)
    grads = []
    for way in (recurrence, scan, lambda rule, values: closed_form(rule) @ values):
        parts = [None if part is None else part.clone().requires_grad_() for part in rule]
        learned = [part for part in parts if part is not None]
        out = way(Rule(*parts), values)  # type: ignore[arg-type]
        grads.append(torch.autograd.grad(out.square().sum(), learned))
    for expected, scanned, solved in zip(*grads, strict=True):
        assert scanned.isfinite().all()
        assert (scanned - expected).abs().max() < 1e-9 * (1 + expected.abs().max())
        assert (solved - expected).abs().max() < 1e-9 * (1 + expected.abs().max())


@decaying
@writing
def test_the_scan_under_vmap_equals_the_loop(decays: str, separate: bool) -> None:
    values = noise(2, 2, 70, 3, seed=9)
    rule = rule_of(decays, separate, 70)
    rules = [rule, rule._replace(queries_BHTC=-rule.removals_BHSC, erasures_BHSC=0.5 * rule.erasures_BHSC)]
    names = [name for name, part in rules[0]._asdict().items() if part is not None]
    stacked = [torch.stack([getattr(rule, name) for rule in rules]) for name in names]

    def loss(*parts: Tensor) -> Tensor:
        rule = Rule(**dict(zip(names, parts, strict=True)))
        return scan(rule, values).square().sum() + (closed_form(rule) @ values).square().sum()

    grads = torch.func.vmap(torch.func.grad(loss))(*stacked)
    for run, rule in enumerate(rules):
        alone = torch.func.grad(loss)(*(getattr(rule, name) for name in names))
        torch.testing.assert_close(grads[run], alone, rtol=1e-9, atol=1e-9)


@writing
def test_a_chunk_of_rows_is_part_of_the_closed_form(separate: bool) -> None:
    rule = rule_of("channel", separate, 21)
    whole = closed_form(rule)
    for start, end in ((0, 1), (5, 13), (20, 21), (0, 21)):
        self_weights = None if rule.self_weights_BHT1 is None else rule.self_weights_BHT1[..., start:end, :]
        queries = rule.queries_BHTC[..., start:end, :]
        rows = closed_form(rule._replace(queries_BHTC=queries, self_weights_BHT1=self_weights), start)
        torch.testing.assert_close(rows, whole[..., start:end, :], rtol=0, atol=1e-13)


@pytest.mark.parametrize("decays", ["none", "token"])
def test_the_closed_form_of_the_gated_delta_rule(decays: str) -> None:
    rule = rule_of(decays, False, 11)
    keys, strength = rule.removals_BHSC, rule.erasures_BHSC.norm(dim=-1) / rule.removals_BHSC.norm(dim=-1)
    total = torch.zeros(2, 2, 11, 1).double() if rule.decays_BHSC is None else rule.decays_BHSC.cumsum(-2)
    fade = (total - total.mT).exp()
    one = torch.eye(11, dtype=torch.float64)
    inverse = torch.linalg.inv(one + (strength[..., None] * (keys @ keys.mT) * fade).tril(-1))
    expected = (rule.queries_BHTC @ keys.mT * fade).tril() @ inverse @ torch.diag_embed(strength)
    torch.testing.assert_close(closed_form(rule), expected)


@pytest.mark.parametrize("channels", [1, 4])
def test_products_decay_from_one_token_to_the_other(channels: int) -> None:
    later, earlier = noise(16, 4, seed=1), noise(16, 4, seed=2)
    decays = -noise(16, channels, seed=3).square()
    predictions = decayed_products(later, earlier, decays)
    for i in range(16):
        for j in range(16):
            way = decays[j + 1 : i + 1].sum(0).exp()
            expected = (later[i] * earlier[j] * way).sum() if j <= i else torch.tensor(0.0)
            assert abs(float(predictions[i, j]) - float(expected)) < 1e-13


def test_nothing_overflows_where_the_factored_form_would() -> None:
    decays = torch.full((64, 2), -40.0, requires_grad=True)
    predictions = decayed_products(torch.ones(64, 2), torch.ones(64, 2), decays)
    predictions.sum().backward()
    assert torch.equal(predictions.diagonal(), torch.full((64,), 2.0))
    assert float((-decays.detach()).cumsum(0).exp().max()) == float("inf")
    assert predictions.isfinite().all()
    assert decays.grad is not None
    assert decays.grad.isfinite().all()
