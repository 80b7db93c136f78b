"""Diagnoses of fresh variants, finished runs and modules: the values are those of direct calls of the metrics."""

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
from attnlab.diagnosis.result import Diagnosis
from attnlab.diagnosis.run_subject import run_subject
from attnlab.diagnosis.subjects import DiagnosisRequest, DiagnosisSubject, diagnosis_subjects, noise_batches
from attnlab.errors import InvalidValueError, StoreError, UnknownNameError
from attnlab.experiments.request import Request
from attnlab.experiments.run_train import run_train
from attnlab.metrics import METRICS
from attnlab.metrics.gradients import gradients, weight_groups
from attnlab.records import Record
from attnlab.specs import Part
from attnlab.storage.find_run import find_record, find_run
from attnlab.tensors import ActivationTrace, LayerInputs
from tests.builders import model_of, tokens
from tests.builders import noise as drawn_noise

SMALL = {"layers": 3, "width": 8, "heads": 2, "mlp_ratio": 1.0}
NO_POSITION = [Part(name="none")]


def request_of(*attentions: str, **more: Any) -> DiagnosisRequest:
    defaults: dict[str, Any] = {"positions": NO_POSITION, "batch": 4, "seeds": range(2), "settings": {"model": SMALL}}
    stacks = [(Part(name=name),) for name in attentions]
    return DiagnosisRequest(attentions=stacks, task=Part(name="copy"), **{**defaults, **more})


def noise_request(*attentions: str, model: dict[str, Any] | None = None, **more: Any) -> DiagnosisRequest:
    request = request_of(*attentions, **{"length": 16, "settings": {"model": {**SMALL, **(model or {})}}, **more})
    return DiagnosisRequest(**{**request.__dict__, "task": None})


def mean_of(diagnosis: Diagnosis, name: str, variant: str) -> tuple[float, ...]:
    return next(row.mean for row in diagnosis.panel(name).rows if row.variant == variant)


@pytest.mark.parametrize("name", ["softmax", "gpam", "delta", "window", "relu"])
def test_the_values_are_those_of_direct_calls_of_the_metrics(name: str) -> None:
    request = request_of(name)
    collapse, patterns = diagnose("rank-collapse", request), diagnose("attention", request)
    traces = [subject.trace() for subject in diagnosis_subjects(request)]
    for metric in ("residual", "cosine", "stable-rank"):
        for layer in range(4):
            direct = [METRICS[metric].average(METRICS[metric].measure(one.residual_BTD[layer])) for one in traces]
            mean = METRICS[metric].average(torch.stack(direct))
            assert mean_of(collapse, metric, name)[layer] == pytest.approx(float(mean), rel=1e-9)
    for metric in ("entropy", "sink", "row-gain", "negative-mass"):
        for layer in range(3):
            values = [METRICS[metric].measure(one.weights_BHTS[layer][0]).mean() for one in traces]
            assert mean_of(patterns, metric, name)[layer] == pytest.approx(float(torch.stack(values).mean()), rel=1e-9)


def test_seeds_differ_and_a_diagnosis_is_repeatable() -> None:
    one, two = diagnose("rank-collapse", request_of("softmax")), diagnose("rank-collapse", request_of("softmax"))
    assert one == two
    (row,) = one.panel("residual").rows
    assert len(row.seeds) == 2
    assert row.seeds[0] != row.seeds[1]


def test_an_alias_is_the_mechanism_itself() -> None:
    diagnosis = diagnose("rank-collapse", request_of("dagpam"))
    assert [row.variant for row in diagnosis.panel("residual").rows] == ["gpam"]


def test_gradients_are_those_of_the_loss() -> None:
    request = request_of("softmax", seeds=[0])
    (subject,) = diagnosis_subjects(request)
    loss = subject.loss()
    loss.backward()
    weight = dict(subject.model.named_parameters())["blocks.1.attention.query.weight"]
    assert weight.grad is not None
    diagnosis = diagnose("gradients", request, only=["query-gradient", "query-to-value"])
    relative = float(weight.grad.norm() / weight.detach().norm())
    assert mean_of(diagnosis, "query-gradient", "softmax")[1] == pytest.approx(relative, rel=1e-9)


def test_gradient_noise_is_over_several_batches() -> None:
    request = request_of("softmax", seeds=[0])
    (subject,) = diagnosis_subjects(request)
    groups = weight_groups(subject.model.parameter_roles())
    direct = gradients(subject.model, [lambda index=index: subject.loss(index) for index in range(4)], groups)  # type: ignore[misc]
    expected = [one.noise for one in direct if one.kind == "query"]
    assert mean_of(diagnose("gradients", request, only=["query-noise"]), "query-noise", "softmax") == pytest.approx(
        expected
    )


def test_the_gradient_at_missing_scores_is_refused_when_requested_and_noted_otherwise() -> None:
    with pytest.raises(InvalidValueError) as error:
        diagnose("gradients", request_of("delta", seeds=[0]), only=["scores-gradient"])
    assert str(error.value).startswith(
        "--only scores-gradient\n"
        "  'delta' has no attention scores, so there is no gradient at them.\n"
        "  Metrics of it: extra-gradient, jacobian-frobenius, jacobian-l1,"
    )
    notes = diagnose("gradients", request_of("softmax", "delta", seeds=[0])).notes
    assert any(note.startswith("delta: not measurable: scores-gradient") for note in notes)


def test_token_metrics_need_tokens() -> None:
    with pytest.raises(InvalidValueError, match="'induction' compares tokens, and noise has no tokens"):
        diagnose("attention", noise_request("softmax"), only=["induction"])


@pytest.mark.parametrize(("kind", "name"), [("attention", "entorpy"), ("rank-collapse", "entropy")])
def test_a_metric_of_another_diagnosis_is_unknown(kind: str, name: str) -> None:
    with pytest.raises(UnknownNameError, match=f"The diagnosis '{kind}' has no metric '{name}'"):
        diagnose(kind, request_of("softmax"), only=[name])


def test_the_error_for_a_metric_of_another_diagnosis_names_it() -> None:
    with pytest.raises(UnknownNameError) as error:
        diagnose("rank-collapse", request_of("softmax"), only=["scores-gradient"])
    assert error.value.hint == "It belongs to another diagnosis: attnlab diagnose gradients --only scores-gradient"


def test_an_unknown_diagnosis_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'rank-collapse'"):
        diagnose("rank-colapse", request_of("softmax"))


HINT = "Layers are 1 to 3, heads 1 to 2: --attention-map 1.1."


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            "4.1",
            f"--attention-map 4.1\n  'softmax' has no head 1 in layer 4.\n  {HINT}",
        ),
        ("1.0", f"--attention-map 1.0\n  Layers and heads count from 1: there is no 1.0.\n  {HINT}"),
        (
            "two",
            f"--attention-map\n  'two' is not a head.\n  Write LAYER.HEAD. {HINT}",
        ),
    ],
)
def test_a_map_out_of_range_is_refused(head: str, message: str) -> None:
    with pytest.raises(InvalidValueError) as refused:
        diagnose("attention", request_of("softmax"), attention_map=head)
    assert str(refused.value) == message


def test_a_map_is_the_matrix_of_the_head() -> None:
    request = request_of("gpam", seeds=[0])
    (subject,) = diagnosis_subjects(request)
    (one,) = diagnose("attention", request, only=["entropy"], attention_map="2.2").maps
    assert torch.equal(torch.tensor(one.weights, dtype=torch.float64), subject.trace().weights_BHTS[1][0][0, 1])


def test_a_task_without_a_length_refuses_one() -> None:
    with pytest.raises(InvalidValueError) as refused:
        diagnose("attention", request_of("softmax", length=64))
    assert refused.value.where == "--length"
    assert "its length follows from its complexity, symbols" in refused.value.problem


def test_noise_is_the_input_of_the_first_block() -> None:
    for subject in diagnosis_subjects(noise_request("softmax", seeds=[3], positions=[Part(name="learned")])):
        residual_BTD = noise_batches(3, 4, 16, 8)(0).residual_BTD
        assert residual_BTD is not None
        assert torch.equal(subject.trace().residual_BTD[0], residual_BTD)


# -- collapse -----------------------------------------------------------------------------

DEEP = {"layers": 12, "width": 64, "heads": 4, "mlp_ratio": 4.0}
BARE = {**DEEP, "mlp_ratio": 0.0, "residual": False, "norm": "none"}


def test_softmax_collapses_without_residual_connections_and_not_with_them() -> None:
    """Causal stacks of N(0, 1/D) weights, 32 gaussian tokens: published are .005 and cosine 1, .47 and .65."""
    bare = diagnose("rank-collapse", noise_request("softmax", model=BARE, length=32, branch_gain=1.0, seeds=range(3)))
    full = diagnose("rank-collapse", noise_request("softmax", model=DEEP, length=32, branch_gain=1.0, seeds=range(3)))
    assert 0.002 < mean_of(bare, "residual-composite", "softmax")[12] < 0.01
    assert mean_of(bare, "cosine", "softmax")[12] > 0.999
    assert 0.4 < mean_of(full, "residual-composite", "softmax")[12] < 0.6
    assert 0.5 < mean_of(full, "cosine", "softmax")[12] < 0.75
    decay = bare.panel("residual").rows[0].decay
    assert decay is not None
    assert 0.5 < decay.rate < 0.75  # causal: 1/2 for uniform attention, never the cubic law
    assert decay.fit > 0.95


def test_gpam_has_larger_query_gradients_than_softmax_and_than_the_gain_matched_control() -> None:
    request = noise_request("softmax", "gpam", model=DEEP, length=32, branch_gain=1.0, seeds=range(2), control=True)
    diagnosis = diagnose("gradients", request, only=["query-gradient"])
    plain, gpam, control = (row.mean for row in diagnosis.panel("query-gradient").rows)
    assert [row.variant for row in diagnosis.panel("query-gradient").rows][2] == "softmax, gain of gpam"
    ratios = [value / reference for value, reference in zip(gpam, plain, strict=True)]
    assert 1.5 <= math.prod(ratios) ** (1 / 12) <= 3.3
    assert all(value > reference for value, reference in zip(gpam, control, strict=True))


@torch.no_grad()
def test_the_control_has_the_output_rms_of_its_reference() -> None:
    reference, model = model_of(Part(name="gpam"), seed=1), model_of(seed=1)
    residual_BTD = drawn_noise(3, 16, 8, seed=5)
    gains = match_gain(model, reference, residual_BTD)
    assert len(gains) == 2
    rms_by_layer = []
    for one in (reference, model):
        x_BTD, sizes = residual_BTD, []
        for block in one.blocks:
            x_BTD, mixed = block(x_BTD, one.position, LayerInputs(), False)
            sizes.append(float(rms(mixed.output_BTD)))
        rms_by_layer.append(sizes)
    assert rms_by_layer[0] == pytest.approx(rms_by_layer[1], rel=1e-9)


def test_reach_reports_the_number_of_layers_for_a_complete_receptive_field() -> None:
    diagnosis = diagnose(
        "reach", request_of("window", "softmax", settings={"model": {**SMALL, "layers": 2}}, seeds=[0])
    )
    assert mean_of(diagnosis, "reach", "softmax") == (1.0, 1.0)
    assert mean_of(diagnosis, "reach", "window")[0] < 1
    assert "softmax: every token can get information from all earlier ones after 1 layer." in diagnosis.notes


def test_the_svm_is_solved_only_where_scores_are_bilinear() -> None:
    rotary = diagnose("tokens", request_of("softmax", positions=[Part(name="rotary")], seeds=[0]))
    still = diagnose("tokens", request_of("softmax", seeds=[0]))
    assert all(math.isnan(value) for value in mean_of(rotary, "svm-correlation", "softmax"))
    assert mean_of(rotary, "weight-norm", "softmax")[0] > 0
    assert any(not math.isnan(value) for value in mean_of(still, "svm-best", "softmax"))


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
def test_random_features_and_positions_are_those_of_the_run(attention: str, position: str, tmp_path: Path) -> None:
    (record,) = trained(tmp_path, attention=attention, position=position, seeds=(3,))
    _, subject = run_subject(record.id, tmp_path, command="", batch=4)
    subject.model.position.draw = -1  # as in the first batch of a validation
    assert record.history[-1].validation_loss == pytest.approx(subject.loss().item(), rel=1e-5)


def test_a_run_is_loaded_by_the_start_of_its_id(tmp_path: Path) -> None:
    (record,) = trained(tmp_path / "sub")
    whole, begun = of_run(record.id, tmp_path), of_run(record.id[:4], tmp_path)
    assert whole == begun
    assert record.id in whole.subject
    fresh = diagnose("rank-collapse", request_of("softmax"), only=["residual"])
    assert whole.panel("residual").rows[0].mean != fresh.panel("residual").rows[0].mean


def test_the_error_for_an_unknown_run_lists_the_runs(tmp_path: Path) -> None:
    (record,) = trained(tmp_path)
    with pytest.raises(UnknownNameError) as error:
        of_run("zzz", tmp_path)
    assert str(error.value) == (
        f"run zzz\n  There is no run 'zzz' in {tmp_path}/.\n  Runs there:\n  {record.id}  {record.spec.summary}"
    )


def test_every_error_for_an_unknown_run_names_the_closest_id(tmp_path: Path) -> None:
    (record,) = trained(tmp_path)
    wrong = record.id[:-1] + ("0" if record.id[-1] != "0" else "1")
    for find in (of_run, find_record, find_run):
        with pytest.raises(UnknownNameError) as error:
            find(wrong, tmp_path)
        assert error.value.where == f"run {wrong}"
        assert error.value.problem == f"There is no run '{wrong}' in {tmp_path}/; did you mean {record.id}?"


def test_an_empty_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"There are no results in {tmp_path}/ yet"):
        of_run("abc", tmp_path)


def test_a_beginning_of_several_runs_is_refused(tmp_path: Path) -> None:
    records = trained(tmp_path, seeds=(0, 1))
    with pytest.raises(InvalidValueError) as error:
        of_run("", tmp_path)
    assert "2 runs begin with ''." in error.value.problem
    assert all(record.id in error.value.hint for record in records)


def test_the_error_for_a_run_without_weights_lists_the_runs_with_weights(tmp_path: Path) -> None:
    gone, record = trained(tmp_path, seeds=(0, 1))
    (tmp_path / "weights" / f"{gone.id}.safetensors").unlink()
    with pytest.raises(StoreError) as error:
        of_run(gone.id, tmp_path)
    assert error.value.problem == f"Run {gone.id} has no weights."
    assert error.value.hint == f"Runs with weights:\n{record.id}  {record.spec.summary}"


def test_the_error_for_a_length_beyond_a_learned_table_has_the_lengths_that_fit(tmp_path: Path) -> None:
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


def test_tokens_outside_the_vocabulary_of_a_run_are_refused(tmp_path: Path) -> None:
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


# -- custom modules --------------------------------------------------------------------------------------------------


class UniformLayer(nn.Module):
    """A layer of uniform attention."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.ModuleDict({"q_proj": nn.Linear(8, 8, dtype=torch.float64)})])

    def forward(self, x_BTD: Tensor) -> Tensor:
        layer = self.layers[0]
        assert isinstance(layer, nn.ModuleDict)
        return self.uniform(x_BTD) @ layer["q_proj"](x_BTD)

    def uniform(self, x_BTD: Tensor) -> Tensor:
        tokens = x_BTD.shape[-2]
        ones_TT = torch.ones(tokens, tokens, dtype=x_BTD.dtype).tril()
        return ones_TT / ones_TT.sum(-1, keepdim=True)


class PooledLayer(UniformLayer):
    def forward(self, x_BTD: Tensor) -> Tensor:
        return super().forward(x_BTD).mean(-2)


class TracedLayer(UniformLayer):
    def trace(self, inputs: Tensor) -> ActivationTrace:
        weights = self.uniform(inputs).expand(len(inputs), 1, -1, -1)
        return ActivationTrace((inputs, self.forward(inputs)), ((),), ((weights,),))


def test_a_custom_module_is_measured_by_its_trace() -> None:
    diagnosis = attnlab.diagnose(TracedLayer(), "attention", inputs=drawn_noise(4, 64, 8))
    assert mean_of(diagnosis, "entropy", "TracedLayer") == pytest.approx((1.0,), abs=1e-12)
    assert mean_of(diagnosis, "sink", "TracedLayer")[0] == pytest.approx(0.0741, abs=5e-5)
    assert "induction" not in {panel.name for panel in diagnosis.panels}


def test_the_error_for_a_module_without_blocks_or_a_trace_has_the_lines_to_add() -> None:
    with pytest.raises(InvalidValueError) as error:
        attnlab.diagnose(PooledLayer(), inputs=drawn_noise(2, 4, 8))
    assert error.value.problem == (
        "'PooledLayer' has no blocks that are recognized: no modules in it map a stream to its own shape."
    )
    assert error.value.hint.splitlines()[2:] == [
        "def trace(self, inputs):",
        "    residual, scores, weights = ...  # tuples: B x T x D before and after every layer; "
        "per layer (B x H x T x T,) or ()",
        "    return attnlab.tensors.ActivationTrace(residual, scores, weights)",
    ]


def test_a_module_needs_inputs() -> None:
    with pytest.raises(InvalidValueError, match="measured on inputs, and there are none"):
        attnlab.diagnose(TracedLayer())


def test_gradients_of_a_custom_module_need_a_loss() -> None:
    module, x_BTD = TracedLayer(), drawn_noise(2, 4, 8)
    with pytest.raises(InvalidValueError, match="'query-gradient' cannot be measured of"):
        attnlab.diagnose(module, "gradients", inputs=x_BTD, only=["query-gradient"])
    diagnosis = attnlab.diagnose(module, "gradients", inputs=x_BTD, loss=lambda: module(x_BTD).square().mean())
    assert mean_of(diagnosis, "query-gradient", "TracedLayer")[0] > 0


def test_a_model_of_attnlab_is_measured_with_its_present_weights() -> None:
    model = model_of(seed=4)
    inputs_BT = tokens(3, 16)
    diagnosis = attnlab.diagnose(model, inputs=inputs_BT, only=["residual"])
    trace = DiagnosisSubject("", model, lambda _: _probe(inputs_BT)).trace()
    direct = METRICS["residual"].average(METRICS["residual"].measure(trace.residual_BTD[2]))
    assert mean_of(diagnosis, "residual", "Transformer")[2] == pytest.approx(float(direct))


def _probe(inputs_BT: Tensor) -> Any:
    from attnlab.diagnosis.subjects import ProbeBatch

    positions = torch.arange(inputs_BT.numel())
    return ProbeBatch(positions, torch.zeros_like(positions), inputs_BT)


def test_the_python_api_accepts_a_record(tmp_path: Path) -> None:
    (record,) = trained(tmp_path)
    diagnosis = attnlab.diagnose(record, store=str(tmp_path), only=["residual"], task=None)
    assert record.id in diagnosis.subject
    assert {row["metric"] for row in diagnosis.rows()} == {"residual"}


def test_the_first_token_of_exclusive_attention_is_noted() -> None:
    from attnlab.diagnosis.diagnose import EXCLUSIVE, diagnose
    from attnlab.diagnosis.subjects import diagnosis_request

    notes = []
    for exclusive in (False, True):
        sizes: dict[str, Any] = {"layers": 1, "width": 8, "heads": 2, "modifiers": {"exclusive": exclusive}}
        request = diagnosis_request(
            "softmax", None, task=None, complexity=None, batch=2, length=4, seeds=range(1), settings={"model": sizes}
        )
        notes.append(diagnose("rank-collapse", request).notes)
    assert f"softmax: {EXCLUSIVE}" in notes[1]
    assert not any(EXCLUSIVE in note for note in notes[0])
