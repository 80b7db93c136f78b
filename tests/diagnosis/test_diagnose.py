"""Diagnoses of fresh variants, finished runs and modules: the numbers are those of the metrics called by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import attnlab
from attnlab.diagnosis._gain_control import match_gain, rms
from attnlab.diagnosis.diagnose import diagnose
from attnlab.diagnosis.run_subject import run_subject
from attnlab.diagnosis.result import Diagnosis
from attnlab.diagnosis.subjects import DiagnosisRequest, DiagnosisSubject, diagnosis_subjects, noise_batches
from attnlab.errors import InvalidValueError, StoreError, UnknownNameError
from attnlab.experiments.request import Request
from attnlab.experiments.run_train import run_train
from attnlab.metrics import METRICS
from attnlab.metrics.gradients import gradients, weight_groups
from attnlab.records import Record
from attnlab.specs import Part
from attnlab.tensors import ActivationTrace, LayerInputs
from tests.builders import model_of, tokens
from tests.builders import noise as drawn_noise

SMALL = {"layers": 3, "width": 8, "heads": 2, "mlp": 1.0}
NOWHERE = [Part(name="none")]


def wanted(*attentions: str, **more: Any) -> DiagnosisRequest:
    chosen: dict[str, Any] = {"positions": NOWHERE, "batch": 4, "seeds": range(2), "settings": {"model": SMALL}}
    stacks = [(Part(name=name),) for name in attentions]
    return DiagnosisRequest(attentions=stacks, task=Part(name="copy"), **{**chosen, **more})


def noisy(*attentions: str, model: dict[str, Any] | None = None, **more: Any) -> DiagnosisRequest:
    result = wanted(*attentions, **{"length": 16, "settings": {"model": {**SMALL, **(model or {})}}, **more})
    return DiagnosisRequest(**{**result.__dict__, "task": None})


def shown(diagnosis: Diagnosis, name: str, variant: str) -> tuple[float, ...]:
    return next(row.mean for row in diagnosis.panel(name).rows if row.variant == variant)


@pytest.mark.parametrize("name", ["softmax", "gpam", "delta", "window", "relu"])
def test_numbers_are_those_of_the_metrics_called_by_hand(name: str) -> None:
    request = wanted(name)
    collapse, patterns = diagnose("rank-collapse", request), diagnose("attention", request)
    traces = [subject.trace() for subject in diagnosis_subjects(request)]
    for metric in ("residual", "cosine", "stable-rank"):
        for layer in range(4):
            by_hand = [METRICS[metric].average(METRICS[metric].measure(one.residual_BTD[layer])) for one in traces]
            mean = METRICS[metric].average(torch.stack(by_hand))
            assert shown(collapse, metric, name)[layer] == pytest.approx(float(mean), rel=1e-9)
    for metric in ("entropy", "sink", "row-gain", "negative-mass"):
        for layer in range(3):
            values = [METRICS[metric].measure(one.weights_BHTS[layer][0]).mean() for one in traces]
            assert shown(patterns, metric, name)[layer] == pytest.approx(float(torch.stack(values).mean()), rel=1e-9)


def test_seeds_differ_and_a_diagnosis_is_repeatable() -> None:
    one, two = diagnose("rank-collapse", wanted("softmax")), diagnose("rank-collapse", wanted("softmax"))
    assert one == two
    (row,) = one.panel("residual").rows
    assert len(row.seeds) == 2
    assert row.seeds[0] != row.seeds[1]


def test_an_alias_is_the_mechanism_itself() -> None:
    diagnosis = diagnose("rank-collapse", wanted("dagpam"))
    assert [row.variant for row in diagnosis.panel("residual").rows] == ["gpam"]


def test_gradients_are_those_of_the_loss() -> None:
    request = wanted("softmax", seeds=[0])
    (subject,) = diagnosis_subjects(request)
    loss = subject.loss()
    loss.backward()
    weight = dict(subject.model.named_parameters())["blocks.1.attention.query.weight"]
    assert weight.grad is not None
    diagnosis = diagnose("gradients", request, only=["query-gradient", "query-to-value"])
    relative = float(weight.grad.norm() / weight.detach().norm())
    assert shown(diagnosis, "query-gradient", "softmax")[1] == pytest.approx(relative, rel=1e-9)


def test_noise_is_of_several_batches() -> None:
    request = wanted("softmax", seeds=[0])
    (subject,) = diagnosis_subjects(request)
    groups = weight_groups(subject.model.parameter_roles())
    by_hand = gradients(subject.model, [lambda index=index: subject.loss(index) for index in range(4)], groups)  # type: ignore[misc]
    expected = [one.noise for one in by_hand if one.kind == "query"]
    assert shown(diagnose("gradients", request, only=["query-noise"]), "query-noise", "softmax") == pytest.approx(
        expected
    )


def test_scores_gradient_of_what_forms_none_is_refused_when_asked_for_and_noted_otherwise() -> None:
    with pytest.raises(InvalidValueError) as error:
        diagnose("gradients", wanted("delta", seeds=[0]), only=["scores-gradient"])
    assert str(error.value).startswith(
        "--only scores-gradient\n"
        "  'delta' forms no scores, so there is no gradient at them.\n"
        "  What it has: extra-gradient, jacobian-frobenius, jacobian-l1,"
    )
    notes = diagnose("gradients", wanted("softmax", "delta", seeds=[0])).notes
    assert any(note.startswith("delta: nothing to measure scores-gradient") for note in notes)


def test_token_metrics_need_tokens() -> None:
    with pytest.raises(InvalidValueError, match="'induction' compares tokens, and noise has none"):
        diagnose("attention", noisy("softmax"), only=["induction"])


@pytest.mark.parametrize(("kind", "name"), [("attention", "entorpy"), ("rank-collapse", "entropy")])
def test_a_metric_of_another_diagnosis_is_unknown(kind: str, name: str) -> None:
    with pytest.raises(UnknownNameError, match=f"There is no metric of {kind} '{name}'"):
        diagnose(kind, wanted("softmax"), only=[name])


def test_a_metric_of_another_diagnosis_is_told_where_it_is() -> None:
    with pytest.raises(UnknownNameError) as error:
        diagnose("rank-collapse", wanted("softmax"), only=["scores-gradient"])
    assert error.value.hint == "It is one of another: attnlab diagnose gradients --only scores-gradient"


def test_an_unknown_diagnosis_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'rank-collapse'"):
        diagnose("rank-colapse", wanted("softmax"))


LISTED = "Layers are 1 to 3, heads 1 to 2: --map 1.1."


@pytest.mark.parametrize(
    ("at", "told"),
    [
        ("4.1", "--map 4.1\n  'softmax' has no head 1 in layer 4.\n  Layers are 1 to 3, heads 1 to 2: --map 1.1."),
        ("1.0", f"--map 1.0\n  Layers and heads count from 1: there is no 1.0.\n  {LISTED}"),
        ("two", "--map\n  'two' is no head.\n  Write LAYER.HEAD. Layers are 1 to 3, heads 1 to 2: --map 1.1."),
    ],
)
def test_a_map_out_of_range_is_refused(at: str, told: str) -> None:
    with pytest.raises(InvalidValueError) as refused:
        diagnose("attention", wanted("softmax"), at=at)
    assert str(refused.value) == told


def test_a_map_is_the_matrix_of_the_head() -> None:
    request = wanted("gpam", seeds=[0])
    (subject,) = diagnosis_subjects(request)
    (one,) = diagnose("attention", request, only=["entropy"], at="2.2").maps
    assert torch.equal(torch.tensor(one.weights, dtype=torch.float64), subject.trace().weights_BHTS[1][0][0, 1])


def test_a_task_without_a_length_refuses_one() -> None:
    with pytest.raises(InvalidValueError) as refused:
        diagnose("attention", wanted("softmax", length=64))
    assert refused.value.where == "--length"
    assert "its complexity, symbols, decides it" in refused.value.problem


def test_noise_is_the_stream_as_it_is() -> None:
    for subject in diagnosis_subjects(noisy("softmax", seeds=[3], positions=[Part(name="learned")])):
        stream_BTD = noise_batches(3, 4, 16, 8)(0).residual_BTD
        assert stream_BTD is not None
        assert torch.equal(subject.trace().residual_BTD[0], stream_BTD)


# -- what collapses and what does not -----------------------------------------------------------------------------

DEEP = {"layers": 12, "width": 64, "heads": 4, "mlp": 4.0}
BARE = {**DEEP, "mlp": 0.0, "skip": False, "norm": "none"}


def test_without_skips_softmax_collapses_and_with_them_it_does_not() -> None:
    """The causal stacks of N(0, 1/D) weights, 32 gaussian tokens: the reference has .005 and cosine 1, .47 and .65."""
    bare = diagnose("rank-collapse", noisy("softmax", model=BARE, length=32, gain=1.0, seeds=range(3)))
    full = diagnose("rank-collapse", noisy("softmax", model=DEEP, length=32, gain=1.0, seeds=range(3)))
    assert 0.002 < shown(bare, "residual-composite", "softmax")[12] < 0.01
    assert shown(bare, "cosine", "softmax")[12] > 0.999
    assert 0.4 < shown(full, "residual-composite", "softmax")[12] < 0.6
    assert 0.5 < shown(full, "cosine", "softmax")[12] < 0.75
    decay = bare.panel("residual").rows[0].decay
    assert decay is not None
    assert 0.5 < decay.rate < 0.75  # causal: 1/2 for equal shares, never the cubic law
    assert decay.fit > 0.95


def test_gpam_has_larger_query_gradients_and_the_control_says_how_much_is_loudness() -> None:
    request = noisy("softmax", "gpam", model=DEEP, length=32, gain=1.0, seeds=range(2), control=True)
    diagnosis = diagnose("gradients", request, only=["query-gradient"])
    plain, gpam, loud = (row.mean for row in diagnosis.panel("query-gradient").rows)
    assert [row.variant for row in diagnosis.panel("query-gradient").rows][2] == "softmax as loud as gpam"
    ratios = [ours / theirs for ours, theirs in zip(gpam, plain, strict=True)]
    assert 1.5 <= math.prod(ratios) ** (1 / 12) <= 3.3
    assert all(ours > theirs for ours, theirs in zip(gpam, loud, strict=True))


@torch.no_grad()
def test_the_control_writes_as_loudly_as_its_reference() -> None:
    reference, model = model_of(Part(name="gpam"), seed=1), model_of(seed=1)
    stream_BTD = drawn_noise(3, 16, 8, seed=5)
    gains = match_gain(model, reference, stream_BTD)
    assert len(gains) == 2
    written = []
    for one in (reference, model):
        x_BTD, sizes = stream_BTD, []
        for block in one.blocks:
            x_BTD, mixed = block(x_BTD, one.position, LayerInputs(), False)
            sizes.append(float(rms(mixed.output_BTD)))
        written.append(sizes)
    assert written[0] == pytest.approx(written[1], rel=1e-9)


def test_reach_says_how_many_layers_it_takes() -> None:
    diagnosis = diagnose("reach", wanted("window", "softmax", settings={"model": {**SMALL, "layers": 2}}, seeds=[0]))
    assert shown(diagnosis, "reach", "softmax") == (1.0, 1.0)
    assert shown(diagnosis, "reach", "window")[0] < 1
    assert "softmax: every past token can be heard of after 1 layer." in diagnosis.notes


def test_the_machine_is_looked_for_only_where_scores_are_bilinear() -> None:
    rotary = diagnose("tokens", wanted("softmax", positions=[Part(name="rotary")], seeds=[0]))
    still = diagnose("tokens", wanted("softmax", seeds=[0]))
    assert all(math.isnan(value) for value in shown(rotary, "svm-correlation", "softmax"))
    assert shown(rotary, "weight-norm", "softmax")[0] > 0
    assert any(not math.isnan(value) for value in shown(still, "svm-best", "softmax"))


# -- finished runs --------------------------------------------------------------------------------------------------


def trained(
    store: Path,
    *,
    attention: str = "softmax",
    position: str = "learned",
    seeds: tuple[int, ...] = (0,),
    **options: Any,
) -> list[Record]:
    settings = {
        "model": {"layers": 2, "width": 8, "mlp_ratio": 1.0},
        "train": {"max_steps": 3, "batch_size": 4, "eval_every": 3, "validation_examples": 4, "test_examples": 8},
        "task": options,
    }
    request = Request(
        task=Part(name="recall"),
        attentions=[(Part(name=attention),)],
        positions=[Part(name=position)],
        seeds=seeds,
        settings=settings,
    )
    return run_train(request, store=store, device_name="cpu")


def of_run(word: str, store: Path, **more: Any) -> Diagnosis:
    return diagnose(
        "rank-collapse", DiagnosisRequest(batch=4, **more), runs=[word], store=store, only=["residual", "cosine"]
    )


@pytest.mark.parametrize(("attention", "position"), [("performer", "none"), ("softmax", "randomized")])
def test_what_was_drawn_and_not_learned_is_as_the_run_had_it(attention: str, position: str, tmp_path: Path) -> None:
    (record,) = trained(tmp_path, attention=attention, position=position, seeds=(3,))
    _, subject = run_subject(record.id, tmp_path, batch=4)
    subject.model.position.draw = -1  # as in the first batch of a look
    assert record.history[-1].validation_loss == pytest.approx(subject.loss().item(), rel=1e-5)


def test_a_run_is_found_by_the_start_of_its_id(tmp_path: Path) -> None:
    (record,) = trained(tmp_path / "sub")
    whole, begun = of_run(record.id, tmp_path), of_run(record.id[:4], tmp_path)
    assert whole == begun
    assert record.id in whole.subject
    fresh = diagnose("rank-collapse", wanted("softmax"), only=["residual"])
    assert whole.panel("residual").rows[0].mean != fresh.panel("residual").rows[0].mean


def test_an_unknown_run_names_those_there_are(tmp_path: Path) -> None:
    (record,) = trained(tmp_path)
    with pytest.raises(UnknownNameError) as error:
        of_run("zzz", tmp_path)
    assert str(error.value) == (
        f"--run\n  There is no run 'zzz' in {tmp_path}/.\n  Runs there:\n  {record.id}  {record.spec.summary}"
    )


def test_an_empty_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"Nothing in {tmp_path}/ yet"):
        of_run("abc", tmp_path)


def test_a_beginning_of_several_runs_is_refused(tmp_path: Path) -> None:
    records = trained(tmp_path, seeds=(0, 1))
    with pytest.raises(InvalidValueError) as error:
        of_run("", tmp_path)
    assert "2 runs begin with ''." in error.value.problem
    assert all(record.id in error.value.hint for record in records)


def test_a_run_without_weights_names_those_that_have(tmp_path: Path) -> None:
    gone, record = trained(tmp_path, seeds=(0, 1))
    (tmp_path / "weights" / f"{gone.id}.safetensors").unlink()
    with pytest.raises(StoreError) as error:
        of_run(gone.id, tmp_path)
    assert error.value.problem == f"Run {gone.id} keeps no weights."
    assert error.value.hint == f"Runs with weights:\n{record.id}  {record.spec.summary}"


def test_lengths_beyond_a_learned_table_say_which_fit(tmp_path: Path) -> None:
    (record,) = trained(tmp_path)
    with pytest.raises(InvalidValueError) as error:
        of_run(record.id, tmp_path, length=128)
    assert str(error.value) == (
        "--length\n  Learned positions end at 64 tokens; the sequence has 128.\n"
        "  Lengths up to 64 fit this run, not 128."
    )


def test_positions_that_extend_go_beyond_the_training_length(tmp_path: Path) -> None:
    (record,) = trained(tmp_path, position="rotary")
    assert len(of_run(record.id, tmp_path, length=128).panel("residual").rows[0].mean) == 3


def test_tokens_a_run_never_saw_are_refused(tmp_path: Path) -> None:
    settings = {
        "model": {"layers": 1, "width": 8},
        "train": {"max_steps": 1, "batch_size": 2, "validation_examples": 2, "test_examples": 2},
    }
    request = Request(task=Part(name="memorization"), complexity=32, settings=settings)
    (record,) = run_train(request, store=tmp_path, device_name="cpu")
    with pytest.raises(InvalidValueError) as error:
        of_run(record.id, tmp_path, complexity=64)
    assert error.value.where == f"run {record.id}"
    assert error.value.problem.endswith("tokens; the run learned 65.")


# -- anyone's module --------------------------------------------------------------------------------------------------


class Foreign(nn.Module):
    """A layer of equal shares."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.ModuleDict({"q_proj": nn.Linear(8, 8, dtype=torch.float64)})])

    def forward(self, x_BTD: Tensor) -> Tensor:
        layer = self.layers[0]
        assert isinstance(layer, nn.ModuleDict)
        return self.equal(x_BTD) @ layer["q_proj"](x_BTD)

    def equal(self, x_BTD: Tensor) -> Tensor:
        tokens = x_BTD.shape[-2]
        ones_TT = torch.ones(tokens, tokens, dtype=x_BTD.dtype).tril()
        return ones_TT / ones_TT.sum(-1, keepdim=True)


class Tracing(Foreign):
    def trace(self, inputs: Tensor) -> ActivationTrace:
        weights = self.equal(inputs).expand(len(inputs), 1, -1, -1)
        return ActivationTrace((inputs, self.forward(inputs)), ((),), ((weights,),))


def test_a_foreign_module_is_measured_by_its_trace() -> None:
    diagnosis = attnlab.diagnose(Tracing(), "attention", inputs=drawn_noise(4, 64, 8))
    assert shown(diagnosis, "entropy", "Tracing") == pytest.approx((1.0,), abs=1e-12)
    assert shown(diagnosis, "sink", "Tracing")[0] == pytest.approx(0.0741, abs=5e-5)
    assert "induction" not in {panel.name for panel in diagnosis.panels}


def test_a_foreign_module_without_a_trace_is_told_the_lines() -> None:
    with pytest.raises(InvalidValueError) as error:
        attnlab.diagnose(Foreign(), inputs=drawn_noise(2, 4, 8))
    assert error.value.problem == "'Foreign' returns no trace."
    assert error.value.hint.splitlines()[1:] == [
        "def trace(self, inputs):",
        "    streams, scores, weights = ...  # tuples: B x T x D before and after every layer; "
        "per layer (B x H x T x T,) or ()",
        "    return attnlab.tensors.ActivationTrace(streams, scores, weights)",
    ]


def test_a_module_needs_inputs() -> None:
    with pytest.raises(InvalidValueError, match="measured on inputs, and none were given"):
        attnlab.diagnose(Tracing())


def test_gradients_of_a_foreign_module_need_a_loss() -> None:
    module, x_BTD = Tracing(), drawn_noise(2, 4, 8)
    with pytest.raises(InvalidValueError, match="nothing to measure 'query-gradient' of"):
        attnlab.diagnose(module, "gradients", inputs=x_BTD, only=["query-gradient"])
    diagnosis = attnlab.diagnose(module, "gradients", inputs=x_BTD, loss=lambda: module(x_BTD).square().mean())
    assert shown(diagnosis, "query-gradient", "Tracing")[0] > 0


def test_our_own_model_is_measured_as_it_is() -> None:
    model = model_of(seed=4)
    inputs_BT = tokens(3, 16)
    diagnosis = attnlab.diagnose(model, inputs=inputs_BT, only=["residual"])
    trace = DiagnosisSubject("", model, lambda _: _shown(inputs_BT)).trace()
    by_hand = METRICS["residual"].average(METRICS["residual"].measure(trace.residual_BTD[2]))
    assert shown(diagnosis, "residual", "Transformer")[2] == pytest.approx(float(by_hand))


def _shown(inputs_BT: Tensor) -> Any:
    from attnlab.diagnosis.subjects import ProbeBatch

    positions = torch.arange(inputs_BT.numel())
    return ProbeBatch(positions, torch.zeros_like(positions), inputs_BT)


def test_the_api_takes_a_record(tmp_path: Path) -> None:
    (record,) = trained(tmp_path)
    diagnosis = attnlab.diagnose(record, store=str(tmp_path), only=["residual"], task=None)
    assert record.id in diagnosis.subject
    assert {row["metric"] for row in diagnosis.rows()} == {"residual"}
