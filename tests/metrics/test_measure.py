"""Readings: averages of the right kind, floors by the type a trace ran in, and every attention without nan."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnlab.attention import ATTENTIONS, RowConstraint
from attnlab.metrics.measure import Reading, floor_of, measured, upcast, written
from attnlab.metrics.metric import FLOOR, METRICS, Metric, Point
from attnlab.model.transformer import Block, Transformer
from attnlab.specs import Part
from attnlab.tensors import ActivationTrace, LayerInputs
from tests.builders import all_positions, model_of, noise, tokens

AGREED = {
    *("residual", "residual-composite", "cosine", "stable-rank", "participation", "effective-rank"),
    *("effective-rank-centerd", "frequency", "singular-gap", "entropy", "sink", "sink-rate", "distance", "diversity"),
    *("negative-mass", "row-gain", "row-sum", "previous-token", "duplicate", "induction"),
    *("jacobian-l1", "jacobian-trace", "jacobian-frobenius", "jacobian-spectral"),
}


def traced(model: Transformer, inputs: Tensor) -> ActivationTrace:
    with torch.no_grad():
        trace: ActivationTrace = model(inputs, all_positions(inputs), trace=True).trace[0]
    return trace


def of_streams(*streams: Tensor) -> ActivationTrace:
    return ActivationTrace(streams, (), ())


def test_every_metric_says_what_it_is() -> None:
    assert set(METRICS) >= AGREED
    for name, one in METRICS.items():
        assert one.name == name
        assert one.summary.endswith(".")
        assert "\n" not in one.summary
        assert one.formula
        assert one.source
        assert one.collapse


def test_layers_are_counted_from_the_embedding() -> None:
    model, inputs = model_of(layers=3), tokens(4, 16)
    trace = traced(model, inputs)
    result = measured(trace, ["residual", "entropy", "branch-cosine", "score-margin"])
    assert [one.layer for one in result["residual"]] == [0, 1, 2, 3]
    for name in ("entropy", "branch-cosine", "score-margin"):
        assert [one.layer for one in result[name]] == [1, 2, 3]
    assert result["residual"][2].sequences == pytest.approx(METRICS["residual"].measure(trace.residual_BTD[2]).tolist())
    entropies = METRICS["entropy"].measure(trace.weights_BHTS[1][0])
    assert result["entropy"][1].value == pytest.approx(float(entropies.mean()))
    assert result["entropy"][1].heads == pytest.approx(entropies.mean(0).tolist())
    assert result["entropy"][1].sequences == pytest.approx(entropies.mean(1).tolist())


def test_decays_are_averaged_geometrically_and_the_rest_is_not() -> None:
    """An arithmetic mean would follow the sequence that has collapsed least."""
    base = noise(1, 1, 5)
    stream = torch.cat([base + share * noise(1, 7, 5, seed=1) for share in (1e-2, 1e-6)])
    result = measured(of_streams(stream), ["residual", "cosine"])
    one, other = result["residual"][0].sequences
    assert result["residual"][0].value == pytest.approx(math.sqrt(one * other))
    assert result["residual"][0].value < (one + other) / 100
    assert result["cosine"][0].value == pytest.approx(sum(result["cosine"][0].sequences) / 2)


def test_the_batch_is_never_one_matrix() -> None:
    stream = torch.cat([seed + noise(1, 7, 5, seed=seed) for seed in range(4)])
    apart = measured(of_streams(stream), ["residual"])["residual"][0].value
    stacked = measured(of_streams(stream.flatten(0, 1)[None]), ["residual"])["residual"][0].value
    assert apart < 0.8 * stacked


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_is_below_the_floor_of_its_type_is_marked(dtype: torch.dtype) -> None:
    equal = noise(4, 1, 5).expand(4, 7, 5)
    nearly = equal + torch.finfo(dtype).eps * noise(4, 7, 5, seed=1) / 8
    apart = equal + 0.5 * noise(4, 7, 5, seed=1)
    result = measured(of_streams(*(one.to(dtype) for one in (apart, nearly, equal))), ["residual", "frequency"])
    for readings in result.values():
        assert [one.below for one in readings] == [False, True, True]
        assert readings[2].value == pytest.approx(floor_of(dtype))
        assert math.isfinite(readings[2].value)


def test_half_of_the_sequences_decide() -> None:
    equal, apart = noise(1, 1, 5).expand(1, 7, 5), noise(1, 7, 5)
    for share, below in ((1, False), (2, True), (3, True)):
        stream = torch.cat([equal] * share + [apart] * (4 - share))
        assert measured(of_streams(stream), ["residual"])["residual"][0].below is below


def test_floors_are_of_the_type() -> None:
    assert floor_of(torch.float64) == FLOOR
    assert 1e-7 < floor_of(torch.float32) < 1e-5
    assert 1e-3 < floor_of(torch.bfloat16) < 0.1


def test_a_trace_is_copied_to_float64_and_left_alone() -> None:
    model, inputs = model_of().float(), tokens(2, 8)
    trace: ActivationTrace = model(inputs, all_positions(inputs), trace=True).trace[0]
    copy = upcast(trace)
    for group in (copy.residual_BTD, *copy.scores_BHTS, *copy.weights_BHTS):
        assert all(one.dtype is torch.float64 and not one.requires_grad for one in group)
    assert all(one.dtype is torch.float32 and one.requires_grad for one in trace.residual_BTD)
    wide = traced(model.double(), inputs)
    for name in ("residual", "entropy", "jacobian-l1"):
        coarse, fine = (measured(one, [name])[name][-1].value for one in (trace, wide))
        assert coarse == pytest.approx(fine, rel=1e-5)
        assert coarse != fine


def test_a_metric_of_the_tokens_is_left_out_without_them() -> None:
    model, inputs = model_of(), tokens(3, 16)
    trace = traced(model, inputs)
    assert set(measured(trace, METRICS)) == set(METRICS) - {"duplicate", "induction"}
    assert set(measured(trace, METRICS, inputs_BT=inputs)) == set(METRICS)


def test_what_attention_writes_is_what_goes_through_the_output_projection() -> None:
    model, inputs = model_of(), tokens(3, 16)
    trace = traced(model, inputs)
    block = model.blocks[0]
    assert isinstance(block, Block)
    through = block.attention.out_proj(written(trace, 1))
    whole = block.attention(block.branch_input(trace.residual_BTD[0], 0), model.position, LayerInputs()).output_BTD
    assert (through - whole).abs().max() < 1e-12


@pytest.mark.parametrize("name", [entry.name for entry in ATTENTIONS])
def test_every_attention_is_measured_without_nan(name: str) -> None:
    kind = ATTENTIONS.entry(name).cls
    model, inputs = model_of(Part(name=name)), tokens(3, 16)
    result = measured(traced(model, inputs), METRICS, (kind.row_constraint,) * 2, inputs)
    for metric, readings in result.items():
        if METRICS[metric].point is Point.SCORES or metric.startswith("jacobian"):
            continue
        assert all(math.isfinite(one.value) for one in readings), metric


def test_softmax_has_a_jacobian_and_what_only_looks_like_it_has_none() -> None:
    inputs = tokens(3, 16)
    for name, has in (("softmax", True), ("window", True), ("linear", False), ("gpam", False), ("entmax", False)):
        kind = ATTENTIONS.entry(name).cls
        result = measured(traced(model_of(Part(name=name)), inputs), ["jacobian-l1"], (kind.row_constraint,) * 2)[
            "jacobian-l1"
        ]
        assert [math.isfinite(one.value) for one in result] == [has, has], name


def test_rows_that_promise_something_else_have_no_jacobian_of_softmax() -> None:
    trace = traced(model_of(), tokens(3, 16))
    result = measured(trace, ["jacobian-trace"], (RowConstraint.STOCHASTIC, RowConstraint.SUBSTOCHASTIC))[
        "jacobian-trace"
    ]
    assert [math.isnan(one.value) for one in result] == [False, True]


def test_a_metric_of_a_persons_own_can_be_measured() -> None:
    own = Metric("size", "Size.", "", "", Point.STREAM, "", lambda stream: stream.square().mean((-2, -1)))
    assert measured(of_streams(torch.ones(2, 3, 4)), [own])["size"][0] == Reading(0, 1.0, (1.0, 1.0))


def test_spread_is_over_sequences() -> None:
    assert Reading(0, 2.0, (1.0, 3.0)).spread == pytest.approx(math.sqrt(2))
    assert math.isnan(Reading(0, 2.0, (1.0,)).spread)
