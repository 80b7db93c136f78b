"""Values per layer: averages of the right kind, floors by the type of the trace, and every attention without nan."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from attnlab.attention import ATTENTIONS, RowConstraint
from attnlab.metrics.measure import LayerValue, float_floor, head_outputs, measure_trace, upcast
from attnlab.metrics.metric import FLOAT_FLOOR, METRICS, Metric, Point
from attnlab.model.transformer import Block, Transformer
from attnlab.specs import Part
from attnlab.tensors import ActivationTrace, LayerInputs
from tests.builders import all_positions, model_of, noise, tokens

EXPECTED = {
    *("residual", "residual-composite", "cosine", "stable-rank", "participation", "effective-rank"),
    *("effective-rank-centered", "frequency", "singular-gap", "entropy", "sink", "sink-rate", "distance", "diversity"),
    *("negative-mass", "row-gain", "row-sum", "previous-token", "duplicate", "induction"),
    *("jacobian-l1", "jacobian-trace", "jacobian-frobenius", "jacobian-spectral"),
}


def traced(model: Transformer, inputs: Tensor) -> ActivationTrace:
    with torch.no_grad():
        trace: ActivationTrace = model(inputs, all_positions(inputs), trace=True).trace[0]
    return trace


def trace_of(*layers: Tensor) -> ActivationTrace:
    return ActivationTrace(layers, (), ())


def test_every_metric_is_described() -> None:
    assert set(METRICS) >= EXPECTED
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
    measured = measure_trace(trace, ["residual", "entropy", "branch-cosine", "score-margin"])
    assert [one.layer for one in measured["residual"]] == [0, 1, 2, 3]
    for name in ("entropy", "branch-cosine", "score-margin"):
        assert [one.layer for one in measured[name]] == [1, 2, 3]
    assert measured["residual"][2].sequences == pytest.approx(
        METRICS["residual"].measure(trace.residual_BTD[2]).tolist()
    )
    entropies = METRICS["entropy"].measure(trace.weights_BHTS[1][0])
    assert measured["entropy"][1].value == pytest.approx(float(entropies.mean()))
    assert measured["entropy"][1].heads == pytest.approx(entropies.mean(0).tolist())
    assert measured["entropy"][1].sequences == pytest.approx(entropies.mean(1).tolist())


def test_decays_are_averaged_geometrically_and_other_metrics_arithmetically() -> None:
    """An arithmetic mean would follow the sequence that has collapsed least."""
    base = noise(1, 1, 5)
    x_BTD = torch.cat([base + share * noise(1, 7, 5, seed=1) for share in (1e-2, 1e-6)])
    measured = measure_trace(trace_of(x_BTD), ["residual", "cosine"])
    one, other = measured["residual"][0].sequences
    assert measured["residual"][0].value == pytest.approx(math.sqrt(one * other))
    assert measured["residual"][0].value < (one + other) / 100
    assert measured["cosine"][0].value == pytest.approx(sum(measured["cosine"][0].sequences) / 2)


def test_the_batch_is_not_measured_as_one_matrix() -> None:
    x_BTD = torch.cat([seed + noise(1, 7, 5, seed=seed) for seed in range(4)])
    distinct = measure_trace(trace_of(x_BTD), ["residual"])["residual"][0].value
    stacked = measure_trace(trace_of(x_BTD.flatten(0, 1)[None]), ["residual"])["residual"][0].value
    assert distinct < 0.8 * stacked


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_values_below_the_floor_of_their_type_are_marked(dtype: torch.dtype) -> None:
    equal = noise(4, 1, 5).expand(4, 7, 5)
    nearly = equal + torch.finfo(dtype).eps * noise(4, 7, 5, seed=1) / 8
    distinct = equal + 0.5 * noise(4, 7, 5, seed=1)
    measured = measure_trace(trace_of(*(one.to(dtype) for one in (distinct, nearly, equal))), ["residual", "frequency"])
    for values in measured.values():
        assert [one.below for one in values] == [False, True, True]
        assert values[2].value == pytest.approx(float_floor(dtype))
        assert math.isfinite(values[2].value)


def test_a_value_is_below_if_half_of_the_sequences_are() -> None:
    equal, distinct = noise(1, 1, 5).expand(1, 7, 5), noise(1, 7, 5)
    for share, below in ((1, False), (2, True), (3, True)):
        x_BTD = torch.cat([equal] * share + [distinct] * (4 - share))
        assert measure_trace(trace_of(x_BTD), ["residual"])["residual"][0].below is below


def test_the_floor_depends_on_the_type() -> None:
    assert float_floor(torch.float64) == FLOAT_FLOOR
    assert 1e-7 < float_floor(torch.float32) < 1e-5
    assert 1e-3 < float_floor(torch.bfloat16) < 0.1


def test_a_trace_is_copied_to_float64_and_not_changed() -> None:
    model, inputs = model_of().float(), tokens(2, 8)
    trace: ActivationTrace = model(inputs, all_positions(inputs), trace=True).trace[0]
    copy = upcast(trace)
    for group in (copy.residual_BTD, *copy.scores_BHTS, *copy.weights_BHTS):
        assert all(one.dtype is torch.float64 and not one.requires_grad for one in group)
    assert all(one.dtype is torch.float32 and one.requires_grad for one in trace.residual_BTD)
    wide = traced(model.double(), inputs)
    for name in ("residual", "entropy", "jacobian-l1"):
        coarse, fine = (measure_trace(one, [name])[name][-1].value for one in (trace, wide))
        assert coarse == pytest.approx(fine, rel=1e-5)
        assert coarse != fine


def test_a_metric_of_the_tokens_is_left_out_without_them() -> None:
    model, inputs = model_of(), tokens(3, 16)
    trace = traced(model, inputs)
    assert set(measure_trace(trace, METRICS)) == set(METRICS) - {"duplicate", "induction"}
    assert set(measure_trace(trace, METRICS, inputs_BT=inputs)) == set(METRICS)


def test_head_outputs_are_the_input_of_the_output_projection() -> None:
    model, inputs = model_of(), tokens(3, 16)
    trace = traced(model, inputs)
    block = model.blocks[0]
    assert isinstance(block, Block)
    projected = block.attention.out_proj(head_outputs(trace, 1))
    output = block.attention(block.branch_input(trace.residual_BTD[0], 0), model.position, LayerInputs()).output_BTD
    assert (projected - output).abs().max() < 1e-12


@pytest.mark.parametrize("name", [entry.name for entry in ATTENTIONS])
def test_every_attention_is_measured_without_nan(name: str) -> None:
    cls = ATTENTIONS.entry(name).cls
    model, inputs = model_of(Part(name=name)), tokens(3, 16)
    measured = measure_trace(traced(model, inputs), METRICS, (cls.row_constraint,) * 2, inputs)
    for metric, values in measured.items():
        if METRICS[metric].point is Point.SCORES or metric.startswith("jacobian"):
            continue
        assert all(math.isfinite(one.value) for one in values), metric


def test_softmax_has_a_jacobian_and_other_stochastic_rows_have_none() -> None:
    inputs = tokens(3, 16)
    for name, has in (("softmax", True), ("window", True), ("linear", False), ("gpam", False), ("entmax", False)):
        cls = ATTENTIONS.entry(name).cls
        measured = measure_trace(traced(model_of(Part(name=name)), inputs), ["jacobian-l1"], (cls.row_constraint,) * 2)[
            "jacobian-l1"
        ]
        assert [math.isfinite(one.value) for one in measured] == [has, has], name


def test_rows_of_another_constraint_have_no_jacobian_of_softmax() -> None:
    trace = traced(model_of(), tokens(3, 16))
    measured = measure_trace(trace, ["jacobian-trace"], (RowConstraint.STOCHASTIC, RowConstraint.SUBSTOCHASTIC))[
        "jacobian-trace"
    ]
    assert [math.isnan(one.value) for one in measured] == [False, True]


def test_an_unregistered_metric_can_be_measured() -> None:
    own = Metric("size", "Size.", "", "", Point.RESIDUAL, "", lambda x_BTD: x_BTD.square().mean((-2, -1)))
    assert measure_trace(trace_of(torch.ones(2, 3, 4)), [own])["size"][0] == LayerValue(0, 1.0, (1.0, 1.0))


def test_spread_is_over_sequences() -> None:
    assert LayerValue(0, 2.0, (1.0, 3.0)).spread == pytest.approx(math.sqrt(2))
    assert math.isnan(LayerValue(0, 2.0, (1.0,)).spread)
