"""The contract of every attention with every position, over all registered parts, so that new parts are tested too.

Causality of whole models is tested for every pair. The rest is tested for every attention without a position and with
one that changes its scores or rotates its heads, and for every position with a few attentions. The contract of an
attention by itself is tested by ``check_attention``; see ``tests/testing/test_registered.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from attnlab.attention import ATTENTIONS, Attention, RowConstraint
from attnlab.errors import InvalidValueError
from attnlab.model.transformer import Transformer
from attnlab.position import POSITIONS, Position
from attnlab.specs import Part
from attnlab.tensors import QKV, LayerInputs
from tests.builders import LENGTH, NO_POSITION, VOCABULARY, all_positions, model_of, noise, pair_of, tokens

Pair = tuple[Part, Part]

TIGHT = 1e-12
"""Tolerance for a sum of a few numbers around one, in float64."""

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "expressive": [{}, {"scale": 1.0}],
    "dape": [
        {},
        {"kernel": 3, "width": 4},
        {"kernel": 3, "width": 4, "padding": "symmetric"},
        {"kernel": 2, "width": 4, "padding": "symmetric"},
        {"kernel": 3, "width": 4, "form": "concat"},
        {"kernel": 3, "width": 4, "form": "add", "padding": "symmetric"},
    ],
    "gpam": [
        {},
        {"lambdas": "tied", "plus": 1.0},
        {"lambdas": "untied", "plus": 0.25, "minus": 0.75},
        {"lambdas": "trainable-untied", "plus": 0.0, "minus": 0.5},
        {"lambdas": "trainable", "layers": 2},
    ],
    "abc": [{}, {"slots": 2}],
    "based": [{}, {"features": 2}],
    "centered": [{}, {"gain": 0.5, "learned": True}],
    "comba": [{}, {"expand": 2, "negative": True, "conv": "kv"}],
    "combiner": [{}, {"partition": "logsparse"}, {"partition": "axial", "block": 3}],
    "cosformer": [{}, {"reach": 40}],
    "delta": [{}, {"expand": 2, "negative": True, "conv": "k"}, {"householders": 3}],
    "deltaformer": [{}, {"erase": "query"}],
    "differential": [{}, {"version": 2}],
    "entmax": [{}, {"alpha": "adaptive"}],
    "forgetting": [{}, {"start": 0.0}],
    "gated-delta": [{}, {"expand": 2, "negative": True, "householders": 2, "conv": "qkv"}, {"precond": True}],
    "gla": [{}, {"rank": 2, "temper": 1.0, "conv": "qkv"}],
    "grouped": [{}, {"groups": 2}, {"groups": [[1], [0]]}],
    "gsa": [{}, {"slots": 2, "temper": 1.0}],
    "hedgehog": [{}, {"tied": True}],
    "kda": [
        {},
        {"expand": 2, "negative": True, "erase": "channel", "write": "channel"},
        {"conv": "qv", "write": "channel"},
        {"precond": True},
    ],
    "knocking-heads": [{}, {"values_only": True}],
    "latent": [{}, {"rank": 3, "turned": 0}],
    "lipschitz": [{}, {"values": "plain"}],
    "log-linear": [{}, {"decay": False}],
    "linear": [{}, {"conv": "qk"}],
    "mamba2": [{}, {"state": 4, "expand": 1, "conv": "qkv"}],
    "mamba3": [{}, {"state": 4, "expand": 1, "rotated": 1}],
    "mesa": [{}, {"expand": 2, "conv": "q"}],
    "mgk": [{}, {"components": 3, "keys": "shifted", "narrowing": 3.0}, {"hard": True}],
    "mlk": [{}, {"components": 3, "keys": "shifted"}],
    "moba": [{}, {"block": 2, "keep": 2}],
    "momentum-delta": [{}, {"expand": 2, "conv": "k"}],
    "multi-token": [{}, {"queries": 3, "keys": 5, "norm": False}],
    "native-sparse": [{}, {"block": 2, "keep": 2, "window": 3}],
    "norm-softmax": [{}, {"ceiling": 0.3}],
    "path": [{}, {"rank": 2, "taps": 1}],
    "performer": [{}, {"features": 5}],
    "power": [{}, {"power": 2, "floor": 0.1}],
    "raven": [{}, {"slots": 3, "keep": 1}],
    "retention": [{}, {"expand": 1, "octave": 2.0}],
    "rwkv7": [{}, {"rank": 2, "shift": False}],
    "sea": [{}, {"keep": 3, "bins": 8}],
    "shaped": [{}, {"silent": False}],
    "simplicial": [{}, {"near": 3}],
    "sigmoid": [{}, {"bias": -1.0}],
    "sink": [{}, {"start": 1.0}],
    "sparse": [
        {},
        {"pattern": "fixed", "window": 3, "mode": "alternate"},
        {"pattern": "strided", "mode": "heads"},
        {"pattern": "star"},
        {"pattern": "logsparse"},
        {"pattern": "random", "random": 3},
    ],
    "ssmax": [{}, {"bias": True, "start": 0.5}],
    "stick-breaking": [{}, {"itself": True, "remainder": True}],
    "ttt-linear": [{}, {"batch": 3}],
    "wall": [{}, {"start": 0.0}],
    "window": [{}, {"window": 3, "sinks": 1}],
    "zeta": [{}, {"local": False, "chunk": 2, "keep": 3}, {"search": "zorder", "layers": 1}],
    "alibi": [{}, {"octaves": 2.0}],
    "hard-alibi": [{}, {"windows": 1}],
    "rotary": [{}, {"base": 100.0}, {"xpos": 8.0}],
    "sinusoidal": [{}, {"base": 100.0}],
    "fourier": [{}, {"base": 100.0}],
    "xl": [{}, {"base": 100.0}],
    "t5": [{}, {"buckets": 4, "reach": 6, "scaled": True}],
    "kerple": [{}, {"kind": "power"}],
    "fire": [{}, {"threshold": 2.0}],
    "cope": [{}, {"count": 3}],
    "pope": [{}, {"base": 100.0, "shift": "uniform"}],
    "selective-rotary": [{}, {"rank": 2, "base": 100.0, "conv": False, "gate": True, "bias": True}],
    "randomized-alibi": [{}, {"range": 20, "octaves": 2.0}],
    "randomized-xl": [{}, {"range": 20, "base": 100.0}],
    "randomized": [{}, {"base": "sinusoidal"}, {"base": "fourier"}, {"base": "learned", "range": 20}],
    "interpolated": [{"factor": 4.0}],
    "yarn": [{"factor": 4.0, "trained": 8}],
}
"""Options with which a part is tested, defaults included."""


def parts(registry: Any) -> list[Part]:
    return [Part(name=entry.name, options=options) for entry in registry for options in OPTIONS.get(entry.name, [{}])]


def compatible(attention: Part, position: Part) -> bool:
    cls, other = ATTENTIONS.entry(attention.name).cls, POSITIONS.entry(position.name).cls
    biased, hidden = cls.has_scores or not other.biases, cls.hides_keys or not other.hides_keys
    return biased and hidden and (not other.polar or (cls.has_scores and cls.plain_products))


def product(attentions: list[Part], positions: list[Part]) -> list[Pair]:
    return [pair for pair in itertools.product(attentions, positions) if compatible(*pair)]


def over(pairs: list[Pair]) -> pytest.MarkDecorator:
    names = [f"{attention} x {position}" for attention, position in pairs]
    return pytest.mark.parametrize(("attention", "position"), pairs, ids=names)


def matching_position(attention: Part) -> Part:
    """A position that reads the scores, or one that rotates queries and keys where no scores are formed."""
    return Part(name="cope" if ATTENTIONS.entry(attention.name).cls.has_scores else "rotary")


def pair_is_tested(attention: Part, position: Part) -> bool:
    """Whether a pair is tested: all positions at the defaults of an attention, one with its other options."""
    all_positions_tested = attention.name in {"expressive", "dape", "gpam"}
    return all_positions_tested or not attention.options or position == matching_position(attention)


PAIRS = [pair for pair in product(parts(ATTENTIONS), parts(POSITIONS)) if pair_is_tested(*pair)]
FEW_ATTENTIONS = product([Part(name=name) for name in ("softmax", "gpam", "linear")], parts(POSITIONS))
"""One plain attention, one with branches, one without scores."""
MOST = [
    (part, position)
    for part in parts(ATTENTIONS)
    for position in (NO_POSITION, matching_position(part))
    if pair_is_tested(part, position)
]
MOST += [pair for pair in FEW_ATTENTIONS if pair not in MOST]


def logits(model: Transformer, inputs_BT: Tensor) -> Tensor:
    """Logits at every token, B x T x V."""
    output = model(inputs_BT, all_positions(inputs_BT))
    return output.logits_NV.unflatten(0, tuple(inputs_BT.shape))


def loss(model: Transformer, inputs_BT: Tensor) -> Tensor:
    """A loss of the logits, with the auxiliary loss of the attention."""
    output = model(inputs_BT, all_positions(inputs_BT))
    return output.logits_NV.square().mean() + output.auxiliary


def without_zeros(model: Transformer) -> Transformer:
    """The model with noise in parameters that start at zero, where a leak or a missing gradient would not show."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight if weight.any() else noise(*weight.shape))
    return model


def plain(model: Transformer) -> Transformer:
    for module in model.modules():
        if isinstance(module, Attention):
            module.fast = False
    return model


def prepared(attention: Part, position: Part, length: int, batch: int = 2) -> tuple[Attention, Position, QKV]:
    built, built_position = pair_of(attention, position)
    qkv = built.prepare(built_position.embed(noise(batch, length, 8)), built_position, LayerInputs())
    return built, built_position, qkv


def test_every_registered_part_is_tested() -> None:
    assert {attention.name for attention, _ in PAIRS} == {entry.name for entry in ATTENTIONS}
    assert {position.name for _, position in PAIRS} == {entry.name for entry in POSITIONS}
    assert {"softmax", "expressive", "dape", "gpam"} <= {entry.name for entry in ATTENTIONS}
    assert {"none", "learned", "sinusoidal", "rotary", "alibi"} <= {entry.name for entry in POSITIONS}
    optional = {entry.name for entry in (*ATTENTIONS, *POSITIONS) if entry.options}
    assert {name for name, sets in OPTIONS.items() if any(sets)} == optional


@over(PAIRS)
def test_neither_later_tokens_nor_their_number_change_an_earlier_output(attention: Part, position: Part) -> None:
    model, inputs_BT = without_zeros(model_of(attention, position, layers=1)), tokens(2, 7)
    before, changed_BT = logits(model, inputs_BT), inputs_BT.clone()
    changed_BT[:, 4:] = (changed_BT[:, 4:] + 1 + tokens(2, 3, seed=1) % 9) % VOCABULARY
    after = logits(model, changed_BT)
    assert (after[:, :4] - before[:, :4]).abs().max() <= TIGHT
    assert (after[:, 4] - before[:, 4]).abs().max() > 1e-3
    if not model.position.random:  # fewer tokens are another sample of positions
        for length in (1, 2, 5):
            assert (logits(model, inputs_BT[:, :length]) - before[:, :length]).abs().max() <= TIGHT


@over(MOST)
def test_later_tokens_do_not_change_earlier_outputs_of_several_layers(attention: Part, position: Part) -> None:
    model, inputs_BT = without_zeros(model_of(attention, position, layers=3)), tokens(2, 9)
    before = logits(model, inputs_BT)
    for first in (1, 8):
        changed_BT = inputs_BT.clone()
        changed_BT[:, first:] = (changed_BT[:, first:] + 1 + tokens(2, 9, seed=1)[:, first:] % 9) % VOCABULARY
        assert (logits(model, changed_BT)[:, :first] - before[:, :first]).abs().max() <= TIGHT


@over(MOST)
def test_no_gradient_flows_from_an_earlier_output_to_a_later_input(attention: Part, position: Part) -> None:
    built, built_position = pair_of(attention, position)
    x_BTD = noise(1, 6, 8).requires_grad_()
    out = built(built_position.embed(x_BTD), built_position, LayerInputs()).output_BTD
    (grad,) = torch.autograd.grad(out[:, 3].square().sum(), x_BTD)
    assert not grad[:, 4:].any()
    assert grad[:, :4].any()


@over(MOST)
@pytest.mark.parametrize("length", [1, 2, 7])
def test_the_effective_matrix_is_lower_triangular_and_mixes_the_values(
    attention: Part, position: Part, length: int
) -> None:
    built, built_position, qkv = prepared(attention, position, length)
    matrix = built.effective_matrix(qkv, built_position)
    per_head = 4 if attention.name == "simplicial" else attention.options.get("householders", 1)
    assert matrix.shape == (2, 2 * per_head, length, length)
    assert not matrix.triu(1).any()
    assert (matrix @ qkv.values_BHSC - built.attend(qkv, built_position)).abs().max() <= TIGHT


@over(MOST)
def test_rows_satisfy_the_row_constraint(attention: Part, position: Part) -> None:
    built, built_position, qkv = prepared(attention, position, 7)
    matrix = built.effective_matrix(qkv, built_position)
    sums = matrix.sum(-1)
    match built.row_constraint:
        case RowConstraint.STOCHASTIC:
            assert matrix.min() >= 0
            assert (sums - 1).abs().max() <= TIGHT
        case RowConstraint.SUBSTOCHASTIC:
            assert matrix.min() >= 0
            assert sums.max() <= 1 + TIGHT
        case RowConstraint.SIGNED:
            assert (sums - sums[:1, :, :1]).abs().max() <= TIGHT
        case RowConstraint.FREE:
            assert matrix.isfinite().all()


@over(MOST)
def test_a_chunk_of_the_rows_is_part_of_the_whole(attention: Part, position: Part) -> None:
    built, built_position, qkv = prepared(attention, position, 7)
    whole, matrix = built.attend(qkv, built_position), built.effective_matrix(qkv, built_position)
    for start, end in ((0, 3), (3, 7), (6, 7), (2, 3)):
        chunk = qkv._replace(queries_BHTC=qkv.queries_BHTC[..., start:end, :], start=start)
        assert (built.attend(chunk, built_position) - whole[..., start:end, :]).abs().max() <= TIGHT
        assert (built.effective_matrix(chunk, built_position) - matrix[..., start:end, :]).abs().max() <= TIGHT


@over(MOST)
def test_the_fast_path_equals_the_plain_one(attention: Part, position: Part) -> None:
    inputs_BT = tokens(2, 9)
    results = []
    for model in (model_of(attention, position), plain(model_of(attention, position))):
        predictions = logits(model, inputs_BT)
        learned = [weight for weight in model.parameters() if weight.requires_grad]
        results.append([predictions, *torch.autograd.grad(loss(model, inputs_BT), learned)])
    for fast, slow in zip(*results, strict=True):
        assert (fast - slow).abs().max() <= TIGHT


@over(MOST)
def test_runs_stacked_under_vmap_equal_the_loop(attention: Part, position: Part) -> None:
    inputs_BT = tokens(2, 5)
    models = [plain(model_of(attention, position, seed=seed)) for seed in range(3)]
    runs = [dict(model.named_parameters()) for model in models]
    stacked = {name: torch.stack([run[name].detach() for run in runs]) for name in runs[0]}

    def run_loss(weights: Mapping[str, Tensor]) -> Tensor:
        output = functional_call(models[0], dict(weights), (inputs_BT, all_positions(inputs_BT)))
        return output.logits_NV.logsumexp(-1).sum() - output.logits_NV.diagonal().sum() + output.auxiliary

    together, grads = vmap(run_loss)(stacked), vmap(grad(run_loss))(stacked)
    for index, run in enumerate(runs):
        alone = {name: weight.detach() for name, weight in run.items()}
        torch.testing.assert_close(together[index], run_loss(alone), rtol=TIGHT, atol=TIGHT)
        for name, gradient in grad(run_loss)(alone).items():
            torch.testing.assert_close(grads[name][index], gradient, rtol=1e-10, atol=1e-10, msg=name)


@over(FEW_ATTENTIONS)
def test_sequences_of_a_batch_are_independent(attention: Part, position: Part) -> None:
    model, inputs_BT = model_of(attention, position), tokens(3, 7)
    whole = logits(model, inputs_BT)
    for row in range(3):
        assert (logits(model, inputs_BT[row : row + 1]) - whole[row]).abs().max() <= TIGHT


@over(FEW_ATTENTIONS)
def test_weights_are_a_function_of_the_seed(attention: Part, position: Part) -> None:
    one, same, other = (dict(model_of(attention, position, seed=seed).named_parameters()) for seed in (1, 1, 2))
    assert one.keys() == same.keys() == other.keys()
    assert all(torch.equal(one[name], same[name]) for name in one)
    drawn = [name for name, weight in one.items() if weight.std(correction=0) > 0]
    assert all(not torch.equal(one[name], other[name]) for name in drawn)
    assert len(drawn) >= 10


@over(MOST)
@pytest.mark.parametrize("length", [1, 7])
def test_every_parameter_has_a_finite_gradient(attention: Part, position: Part, length: int) -> None:
    model, inputs_BT = without_zeros(model_of(attention, position)), tokens(3, length)
    loss(model, inputs_BT).backward()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None, name
            assert weight.grad.isfinite().all(), name
            if length > 1 and name != "position.place_TD":
                assert weight.grad.any(), name


@over(FEW_ATTENTIONS)
def test_the_gradient_agrees_with_finite_differences(attention: Part, position: Part) -> None:
    built, built_position = pair_of(attention, position, width=4)
    learned = {name: weight for name, weight in built.named_parameters() if weight.requires_grad}

    def out(x_BTD: Tensor, *weights: Tensor) -> Tensor:
        named = dict(zip(learned, weights, strict=True))
        return functional_call(built, named, (built_position.embed(x_BTD), built_position, LayerInputs())).output_BTD

    x_BTD = noise(1, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: out(x, *learned.values()), (x_BTD,))
    assert torch.autograd.gradcheck(out, (x_BTD, *learned.values()), fast_mode=True)


@over(FEW_ATTENTIONS)
def test_half_precision_stays_near_single(attention: Part, position: Part) -> None:
    half, inputs_BT = model_of(attention, position).bfloat16(), tokens(2, LENGTH)
    predictions = logits(half, inputs_BT)
    predictions.float().square().mean().backward()
    assert predictions.dtype == torch.bfloat16
    assert predictions.isfinite().all()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in half.parameters())
    single = model_of(attention, position).float()
    with torch.no_grad():
        for weight, rounded in zip(single.parameters(), half.parameters(), strict=True):
            weight.copy_(rounded)
        assert (predictions.float() - logits(single, inputs_BT)).abs().mean() < 0.05


@over(MOST)
def test_one_token_attends_to_itself(attention: Part, position: Part) -> None:
    built, built_position, qkv = prepared(attention, position, 1)
    matrix = built.effective_matrix(qkv, built_position)
    if built.row_constraint is RowConstraint.STOCHASTIC:
        assert torch.equal(matrix, torch.ones_like(matrix))
    assert logits(model_of(attention, position), tokens(2, 1)).isfinite().all()


@pytest.mark.parametrize("attention", parts(ATTENTIONS), ids=str)
def test_a_width_that_does_not_divide_is_refused(attention: Part) -> None:
    with pytest.raises(InvalidValueError) as caught:
        model_of(attention, width=12, heads=5)
    assert str(caught.value) == (
        "model.heads\n"
        "  A width of 12 does not divide into 5 heads.\n"
        "  Numbers of heads that divide it: 1, 2, 3, 4, 6, 12."
    )
