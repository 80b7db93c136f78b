"""Compiled loops over chunks: outputs and gradients are those of the scans in float64, in any size and layout."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from attnlab.attention.ops import delta_rule, loops, recurrence, scan
from attnlab.attention.ops.delta_rule import Rule
from attnlab.attention.ops.recurrence import MOST_CHANNELS, recurrent_outputs
from attnlab.training.environment import torch_threads
from tests.builders import noise

pytestmark = pytest.mark.skipif(not loops.works(), reason="numba is the optional extra fast")

FORMS = ["delta", "gated-delta", "kda", "rwkv7", "separate", "gla", "scalar", "strength", "strength, decayed"]
"""Which of keys and decays there are, named after an attention that has them; a strength is b where e = b r."""


def drawn(form: str, tokens: int, *, batch: int = 2, heads: int = 2, channels: int = 8, columns: int = 6) -> Rule:
    """A rule, laid out as projections are: the heads of a token side by side. Values stand in place of self weights."""

    def heads_of(size: int, seed: int) -> Tensor:
        return noise(batch, tokens, heads, size, seed=seed, dtype=torch.float32).transpose(1, 2)

    queries, values, keys = heads_of(channels, 0), heads_of(columns, 1), heads_of(channels, 2)
    removals = torch.nn.functional.normalize(heads_of(channels, 3), dim=-1)
    erasures = heads_of(1, 4).sigmoid() * (1 if form.startswith("strength") and channels > 1 else removals)
    decays = {
        "strength, decayed": channels,
        "gated-delta": 1,
        "scalar": 1,
        "kda": channels,
        "rwkv7": channels,
        "gla": channels,
    }.get(form, 0)
    rule = Rule(
        queries,
        removals,
        erasures,
        keys if form in ("rwkv7", "separate", "gla", "scalar") else None,
        -torch.nn.functional.softplus(heads_of(decays, 5)) if decays else None,
        values,
    )
    return Rule(*(None if one is None else one.requires_grad_() for one in map(leaf, rule)))  # type: ignore[arg-type]


def leaf(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def inputs_of(form: str, rule: Rule) -> list[Tensor]:
    unused = {"removals_BHSC", "erasures_BHSC"} if form in ("gla", "scalar") else set()
    return [one for name, one in rule._asdict().items() if one is not None and name not in unused]


def looped(form: str, rule: Rule) -> Tensor:
    erases = form not in ("gla", "scalar")
    assert rule.self_weights_BHT1 is not None
    return recurrent_outputs(
        rule.queries_BHTC,
        rule.self_weights_BHT1,
        keys_BHTC=rule.writes_BHSC,
        log_decays_BHTN=rule.decays_BHSC,
        removals_BHTC=rule.removals_BHSC if erases else None,
        erasures_BHTC=rule.erasures_BHSC if erases else None,
    )


def scanned(form: str, rule: Rule) -> Tensor:
    assert rule.self_weights_BHT1 is not None
    if form in ("gla", "scalar"):
        assert rule.writes_BHSC is not None
        assert rule.decays_BHSC is not None
        return scan.scan(rule.queries_BHTC, rule.writes_BHSC, rule.decays_BHSC, rule.self_weights_BHT1)
    return delta_rule.scan(rule._replace(self_weights_BHT1=None), rule.self_weights_BHT1)


def exact(form: str, rule: Rule) -> list[Tensor]:
    """By the scan in float64, which no loop computes."""
    doubled = Rule(*(None if one is None else one.detach().double().requires_grad_() for one in rule))  # type: ignore[arg-type]
    return differentiated(scanned(form, doubled), inputs_of(form, doubled))


def differentiated(outputs: Tensor, inputs: list[Tensor], grad: Tensor | None = None) -> list[Tensor]:
    grad = noise(*outputs.shape, seed=7).to(outputs.dtype) if grad is None else grad
    return [outputs.detach(), *torch.autograd.grad(outputs, inputs, grad)]


def off(results: list[Tensor], expected: list[Tensor]) -> float:
    pairs = zip(results, expected, strict=True)
    return max(float((one - other).abs().max() / other.abs().max().clamp_min(1e-30)) for one, other in pairs)


@pytest.mark.parametrize("tokens", [1, 2, 3, 31, 32, 33, 64, 65, 96, 257])
@pytest.mark.parametrize("form", FORMS)
def test_outputs_and_gradients_are_those_of_the_scan_in_float64(form: str, tokens: int) -> None:
    rule = drawn(form, tokens)
    assert off(differentiated(looped(form, rule), inputs_of(form, rule)), exact(form, rule)) <= 5e-6


@pytest.mark.parametrize("strength", [0.01, 10.0])
@pytest.mark.parametrize("form", ["gated-delta", "kda", "rwkv7", "gla"])
def test_gradients_of_decays_stay_exact_over_long_sequences(form: str, strength: float) -> None:
    """They are sums of what all later tokens add, of which little is left where the state decays fast."""
    rule = drawn(form, 1024, batch=1)
    assert rule.decays_BHSC is not None
    rule = rule._replace(decays_BHSC=(strength * rule.decays_BHSC).detach().requires_grad_())
    assert off(differentiated(looped(form, rule), inputs_of(form, rule)), exact(form, rule)) <= 1e-5


@pytest.mark.parametrize("tokens", [16, 128])
@pytest.mark.parametrize("low", [-9.0, -16.0])
@pytest.mark.parametrize("form", ["gated-delta", "kda", "rwkv7", "gla", "scalar", "strength, decayed"])
def test_gradients_of_strong_decays_have_no_rounding_of_larger_terms(form: str, low: float, tokens: int) -> None:
    """Of log decays of -16 the gradients are 1e-7 of the others, and were noise where terms of both were subtracted."""
    rule = drawn(form, tokens, batch=1)
    assert rule.decays_BHSC is not None
    decays = low + noise(*rule.decays_BHSC.shape, seed=9, dtype=torch.float32).sigmoid()
    rule = rule._replace(decays_BHSC=decays.requires_grad_())
    assert off(differentiated(looped(form, rule), inputs_of(form, rule)), exact(form, rule)) <= 5e-6


def test_of_a_state_that_is_forgotten_at_once_the_decays_have_no_gradient() -> None:
    rule = drawn("gla", 9)
    assert rule.decays_BHSC is not None
    rule = rule._replace(decays_BHSC=torch.full_like(rule.decays_BHSC, -200.0).requires_grad_())
    results = differentiated(looped("gla", rule), inputs_of("gla", rule))
    assert [float(one.abs().max()) for one in results[3:4]] == [0.0]


CHANNELS = [(1, 1), (3, 5), (16, 16), (33, 3), (16, 70), (129, 2), (200, 150)]
"""Channels and columns, with and without whole vectors."""


@pytest.mark.parametrize(("channels", "columns"), CHANNELS)
@pytest.mark.parametrize("form", ["kda", "rwkv7", "gla"])
def test_any_number_of_channels(form: str, channels: int, columns: int) -> None:
    rule = drawn(form, 40, batch=1, channels=channels, columns=columns)
    assert off(differentiated(looped(form, rule), inputs_of(form, rule)), exact(form, rule)) <= 5e-6


def test_states_are_held_for_segments_that_grow_with_the_root_of_the_length() -> None:
    rule = drawn("kda", 5000, batch=1, heads=1, channels=4, columns=4)
    assert off(differentiated(looped("kda", rule), inputs_of("kda", rule)), exact("kda", rule)) <= 5e-6


@pytest.mark.parametrize("form", FORMS)
def test_scans_take_the_loops_where_they_are_faster(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def noted(*args: Tensor, **named: Tensor) -> Tensor:
        calls.append(1)
        return recurrent_outputs(*args, **named)

    for module in (scan, delta_rule):
        monkeypatch.setattr(module, "recurrent_outputs", noted)
    rule = drawn(form, 70)
    outputs = scanned(form, rule)
    assert bool(calls) == (form != "scalar")
    assert off([outputs.detach()], exact(form, rule)[:1]) <= 5e-6


def test_the_weight_of_a_token_on_itself_is_added() -> None:
    rule = drawn("rwkv7", 20)
    values, own = rule.self_weights_BHT1, noise(2, 2, 20, 1, seed=9).float()
    assert values is not None
    doubled = Rule(*(None if one is None else one.double() for one in rule._replace(self_weights_BHT1=own)))  # type: ignore[arg-type]
    result = delta_rule.scan(rule._replace(self_weights_BHT1=own), values)
    assert off([result.detach()], [delta_rule.scan(doubled, values.double()).detach()]) <= 5e-6


@pytest.mark.parametrize("form", ["delta", "kda", "gla"])
def test_axes_may_be_missing_and_inputs_laid_out_in_any_way(form: str) -> None:
    rule = drawn(form, 40)
    expected = differentiated(looped(form, rule), inputs_of(form, rule), torch.ones(2, 2, 40, 6))
    turned = Rule(
        *(None if one is None else one.detach().mT.contiguous().mT.requires_grad_() for one in rule)  # type: ignore[arg-type]
    )
    expanded = torch.ones(()).expand(2, 2, 40, 6)
    results = differentiated(looped(form, turned), inputs_of(form, turned), expanded)
    assert all(torch.equal(one, other) for one, other in zip(results, expected, strict=True))
    shared = rule.queries_BHTC.detach()[0, 0].requires_grad_()  # as queries that all heads share
    repeated = rule._replace(queries_BHTC=shared.expand(2, 2, 40, 8))
    outputs = looped(form, rule._replace(queries_BHTC=shared))
    assert torch.equal(outputs, looped(form, repeated))
    (grad,) = torch.autograd.grad(outputs.sum(), [shared])
    doubled = Rule(*(None if one is None else one.detach().double() for one in repeated))  # type: ignore[arg-type]
    queries = doubled.queries_BHTC.requires_grad_()
    (each,) = torch.autograd.grad(scanned(form, doubled).sum(), [queries])
    assert off([grad], [each.sum((0, 1))]) <= 5e-6


@pytest.mark.parametrize("form", ["delta", "rwkv7", "gla"])
def test_vmapped_runs_have_the_digits_of_single_ones(form: str) -> None:
    rules = [drawn(form, 40), drawn(form, 40)]
    stacked = [torch.stack([one, 2 * other]) for one, other in zip(*map(list, map(_there, rules)), strict=True)]
    names = [name for name, one in rules[0]._asdict().items() if one is not None]

    def run(*tensors: Tensor) -> Tensor:
        return looped(form, rules[0]._replace(**dict(zip(names, tensors, strict=True))))

    leaves = [one.detach().requires_grad_() for one in stacked]
    together = torch.func.vmap(run)(*leaves)
    alone = torch.stack([run(*(one[place] for one in leaves)) for place in range(2)])
    assert torch.equal(together, alone)
    used = [one for name, one in zip(names, leaves, strict=True) if form != "gla" or name[:3] not in ("rem", "era")]
    grads = [torch.autograd.grad(outputs.sum(), used) for outputs in (together, alone)]
    assert all(torch.equal(one, other) for one, other in zip(*grads, strict=True))


def _there(rule: Rule) -> list[Tensor]:
    return [one for one in rule if one is not None]


@pytest.mark.parametrize("batch", [1, 3])
def test_digits_do_not_depend_on_the_number_of_threads(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "SHARE", 1)
    rule, results = drawn("kda", 70, batch=batch), []
    for threads in (1, 2, 8):
        with torch_threads(threads):
            results.append(differentiated(looped("kda", rule), inputs_of("kda", rule)))
    for others in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], others, strict=True))


def test_digits_do_not_depend_on_the_batch() -> None:
    rule = drawn("gated-delta", 50, batch=3)
    last = Rule(*(None if one is None else one.detach()[2:].requires_grad_() for one in rule))  # type: ignore[arg-type]
    grad = noise(3, 2, 50, 6, seed=7).float()
    results = differentiated(looped("", rule), inputs_of("", rule), grad)
    single = differentiated(looped("", last), inputs_of("", last), grad[2:])
    assert all(torch.equal(one[2:], other) for one, other in zip(results, single, strict=True))


def test_a_state_that_decays_to_nothing_and_steep_gradients_stay_finite() -> None:
    rule = drawn("kda", 60)
    assert rule.decays_BHSC is not None
    with torch.no_grad():
        rule.decays_BHSC.mul_(200.0)  # some factors are zero in float32
    results = differentiated(looped("kda", rule), inputs_of("kda", rule))
    assert all(bool(one.isfinite().all()) for one in results)
    assert off(results[:1], exact("kda", rule)[:1]) <= 5e-6


@pytest.mark.parametrize("which", ["double", "channels", "numba"])
def test_what_loops_do_not_take_is_scanned(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unexpected: Callable[..., None] = lambda *_, **__: pytest.fail("a loop was called")  # noqa: E731
    monkeypatch.setattr(delta_rule, "recurrent_outputs", unexpected)
    rule = drawn("delta", 10, channels=MOST_CHANNELS + 1 if which == "channels" else 8)
    if which == "double":
        rule = Rule(*(None if one is None else one.double() for one in rule))  # type: ignore[arg-type]
    if which == "numba":
        monkeypatch.setattr(loops, "works", lambda: False)
    assert not recurrence.usable(rule.queries_BHTC)
    assert scanned("delta", rule).shape == (2, 2, 10, 6)
