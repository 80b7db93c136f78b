"""Logged diagnostics: the values of a slow reference, at steps 1, 2, 4, ..., without any effect on the training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from attnlab.attention import ATTENTIONS
from attnlab.choices import DIAGNOSED_SEQUENCES, DiagnosticsKind
from attnlab.diagnosis.subjects import DiagnosisRequest
from attnlab.errors import InterruptedTraining
from attnlab.model.transformer import Block, Transformer
from attnlab.specs import ModelSpec, Part, RunSpec, Split
from attnlab.tasks.io.streams import Source
from attnlab.training._log_diagnostics import MAX_PAIRS, is_logged_step, num_sequences
from attnlab.training.logged_names import logged_names
from attnlab.training.run import train_runs
from attnlab.training.stepper import SingleStepper
from tests.training.runs import MemoryCheckpointer, interrupt_at, tiny

CPU = torch.device("cpu")
ALL: dict[str, Any] = {"log_diagnostics": ("rank", "gradients", "attention")}


def take_steps(spec: RunSpec, steps: int = 3) -> tuple[SingleStepper, Source]:
    source = Source(spec.task, spec.seed)
    stepper = SingleStepper(spec, source, CPU)
    for index in range(steps):
        stepper.step({0: source.training(index, 8)}, {0: 1e-2})
    return stepper, source


def test_diagnostics_are_logged_at_powers_of_two_and_at_the_last_step() -> None:
    (record,) = train_runs([tiny(**ALL)])
    assert [point.step for point in record.diagnostics_history] == [1, 2, 4, 8, 16, 24]
    (short,) = train_runs([tiny(**ALL, max_steps=16)])
    assert [point.step for point in short.diagnostics_history] == [1, 2, 4, 8, 16]
    assert [step for step in range(1, 70) if is_logged_step(step)] == [1, 2, 4, 8, 16, 32, 64]


def test_nothing_is_logged_by_default() -> None:
    (record,) = train_runs([tiny()])
    assert record.diagnostics_history == ()
    assert record.diagnostics == {}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("rank", {"residual": 2, "cosine": 2, "participation": 2}),
        ("attention", {"entropy": 1, "sink": 1, "distance": 1, "row-gain": 1}),
        ("gradients", {f"{part}-gradient": 1 for part in ("query", "key", "value", "output", "mlp")}),
    ],
)
def test_each_kind_has_its_metrics_per_layer(kind: DiagnosticsKind, names: dict[str, int]) -> None:
    (record,) = train_runs([tiny(log_diagnostics=(kind,))])
    assert all(
        {name: len(layers) for name, layers in one.values.items()} == names for one in record.diagnostics_history
    )
    last = record.diagnostics_history[-1].values
    assert record.diagnostics.keys() <= set(logged_names([kind]))  # known before anything is trained
    assert record.diagnostics == {
        **{f"{name}.first": layers[0] for name, layers in last.items()},
        **{f"{name}.last": layers[-1] for name, layers in last.items()},
    }


def test_values_equal_those_of_a_slow_reference_in_float64() -> None:
    stepper, source = take_steps(tiny())
    batch = source.diagnostics_batch(8)
    values = stepper.diagnostics(0, batch, ("rank", "gradients", "attention"))
    model = SingleStepper(tiny(), source, CPU).model
    assert isinstance(model, Transformer)
    model.load_state_dict(stepper.model.state_dict())
    model.double()
    output = model(torch.from_numpy(batch.inputs_BT), torch.from_numpy(batch.query_positions()), trace=True)
    (output.auxiliary + functional.cross_entropy(output.logits_NV, torch.from_numpy(batch.query_targets()))).backward()
    trace, block = output.trace[0], model.blocks[0]
    for layer, stream_BTD in enumerate(trace.residual_BTD):
        logs = []
        for x_TD in stream_BTD.detach().numpy():
            logs.append(math.log(np.linalg.norm(x_TD - x_TD.mean(0)) / np.linalg.norm(x_TD)))
        assert values["residual"][layer] == pytest.approx(math.exp(np.mean(logs)), rel=1e-9)
    entropies = []
    for matrix_TS in trace.weights_BHTS[0][0].detach().numpy().reshape(-1, 4, 4):
        rows = [-sum(w * math.log(w) for w in matrix_TS[i, : i + 1]) / math.log(i + 1) for i in range(1, 4)]
        entropies.append(np.mean(rows))
    assert values["entropy"] == pytest.approx((np.mean(entropies),), rel=1e-9)
    assert isinstance(block, Block)
    assert block.mlp is not None
    query, up_proj, down_proj = block.attention.query.weight, block.mlp.up_proj.weight, block.mlp.down_proj.weight
    assert values["query-gradient"] == pytest.approx((math.sqrt(squares(grad_of(query)) / squares(query)),), rel=1e-9)
    gradient, size = (
        sum(map(squares, pair)) for pair in ((grad_of(up_proj), grad_of(down_proj)), (up_proj, down_proj))
    )
    assert values["mlp-gradient"] == pytest.approx((math.sqrt(gradient / size),), rel=1e-9)


def grad_of(weight: torch.Tensor) -> torch.Tensor:
    assert weight.grad is not None
    return weight.grad


def squares(tensor: torch.Tensor) -> float:
    return float(tensor.detach().square().sum())


@pytest.mark.parametrize("attention", ["softmax", "dape", "gpam", "gla", "sigmoid"])
def test_logging_diagnostics_does_not_change_the_steps(attention: str) -> None:
    without, logged = MemoryCheckpointer(), MemoryCheckpointer()
    spec, logging_spec = tiny(attention), tiny(attention, **ALL)
    (one,), (other,) = train_runs([spec], checkpointer=without), train_runs([logging_spec], checkpointer=logged)
    assert one.history == other.history
    assert one.accuracy == other.accuracy
    weights = logged.finished[logging_spec.id]
    assert all(np.array_equal(array, weights[name]) for name, array in without.finished[spec.id].items())


def test_measuring_diagnostics_changes_no_state() -> None:
    stepper, source = take_steps(tiny("gpam"))
    before, draw = stepper.state(0), stepper.model.position.draw
    grads = [weight.grad.clone() for weight in stepper.model.parameters() if weight.grad is not None]
    stepper.diagnostics(0, source.diagnostics_batch(8), ("rank", "gradients", "attention"))
    assert all(np.array_equal(array, stepper.state(0)[name]) for name, array in before.items())
    after = [weight.grad for weight in stepper.model.parameters() if weight.grad is not None]
    assert all(torch.equal(one, other) for one, other in zip(grads, after, strict=True))
    assert all(weight.dtype == torch.float32 for weight in stepper.model.parameters())
    assert stepper.model.position.draw == draw
    assert stepper.losses()[0] != []


@pytest.mark.parametrize("step", [2, 4, 17])
def test_an_interrupted_run_logs_the_same(step: int) -> None:
    spec, checkpointer = tiny("gpam", **ALL), MemoryCheckpointer()
    with pytest.raises(InterruptedTraining):
        train_runs([spec], interrupt_at(step), checkpointer=checkpointer, checkpoint_seconds=0)
    (record,) = train_runs([spec], checkpointer=checkpointer, resume=True)
    assert record.numbers() == train_runs([spec])[0].numbers()
    assert len(record.diagnostics_history) == 6


def test_the_batch_is_drawn_for_diagnostics_alone() -> None:
    source = Source(tiny().task, 0)
    batch = source.diagnostics_batch(8)
    assert np.array_equal(batch.inputs_BT, source.diagnostics_batch(8).inputs_BT)
    assert not np.array_equal(batch.inputs_BT, Source(tiny().task, 1).diagnostics_batch(8).inputs_BT)
    for split in (Split.VALIDATION, Split.TEST):
        assert not np.array_equal(batch.inputs_BT, source.held_out(split, 8, 8)[0].inputs_BT)
    assert not np.array_equal(batch.inputs_BT, source.training(0, 8).inputs_BT)


def test_fewer_sequences_are_measured_when_they_are_long() -> None:
    assert num_sequences(64) == DIAGNOSED_SEQUENCES == DiagnosisRequest.__dataclass_fields__["batch"].default
    (record,) = train_runs([tiny(log_diagnostics=("rank",))])
    assert {point.sequences for point in record.diagnostics_history} == {DIAGNOSED_SEQUENCES}
    assert num_sequences(1000) * 1000**2 <= MAX_PAIRS < (num_sequences(1000) + 1) * 1000**2
    assert num_sequences(10**5) == 1


def test_a_diverged_run_keeps_its_earlier_diagnostics() -> None:
    (record,) = train_runs([tiny(lr=1e38, warmup_ratio=0.0, grad_clip=None, weight_decay=0.0, **ALL)])
    assert record.status == "diverged"
    assert all(point.step <= record.steps for point in record.diagnostics_history)
    assert math.isnan(record.diagnostics_history[-1].values["residual"][-1])


@pytest.mark.parametrize("name", [entry.name for entry in ATTENTIONS])
def test_diagnostics_of_every_attention_are_finite(name: str) -> None:
    spec = tiny().model_copy(update={"model": ModelSpec(layers=2, width=8, heads=2, attention=(Part(name=name),))})
    stepper, source = take_steps(spec, 1)
    values = stepper.diagnostics(0, source.diagnostics_batch(4), ("rank", "gradients", "attention"))
    assert all(math.isfinite(value) for name in ("residual", "entropy", "row-gain") for value in values[name])
    assert any(math.isfinite(value) for value in values["value-gradient"])
