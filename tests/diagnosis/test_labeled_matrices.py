"""Variants without effective matrices: row norms and returned weights, each labeled and in tables of its own."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import attnlab
from attnlab.attention import Attention
from attnlab.attention.adapter import Adapted
from attnlab.diagnosis._gain_control import blocks
from attnlab.diagnosis.result import Diagnosis
from attnlab.diagnosis.subjects import DiagnosisRequest, diagnosis_subjects
from attnlab.errors import InvalidValueError
from attnlab.metrics import METRICS
from attnlab.metrics.row_norms import as_weights
from attnlab.rendering.diagnosis import DiagnosisView, as_csv
from attnlab.specs import Part
from tests.metrics.test_row_norms import explicit_norms

GRU, ATTENTION = "torch.nn:GRU", "torch.nn:MultiheadAttention"
MODEL = {"layers": 2, "width": 8, "heads": 2, "mlp_ratio": 1.0}


def diagnosed(attention: str, kind: Any = "attention", **more: Any) -> Diagnosis:
    sizes = {"length": 7, "batch": 3, "seeds": 1, "position": "none", "task": None, "model": MODEL}
    return attnlab.diagnose(kind=kind, attention=attention, **{**sizes, **more})


def layer_inputs(attention: str) -> list[tuple[Adapted, Tensor]]:
    request = DiagnosisRequest(
        attentions=[(Part(name=attention),)],
        positions=[Part(name="none")],
        task=None,
        length=7,
        batch=3,
        seeds=[0],
        settings={"model": MODEL},
    )
    (subject,) = diagnosis_subjects(request)
    found = []
    for block, x_BTD in zip(blocks(subject.model), subject.trace().residual_BTD, strict=False):
        assert isinstance(block.attention, Adapted)
        found.append((block.attention, block.branch_input(x_BTD, 0).detach()))
    return found


def values(diagnosis: Diagnosis, name: str, matrix: str, variant: str) -> tuple[float, ...]:
    return next(row.mean for row in diagnosis.panel(name, matrix).rows if row.variant == variant)


def shown(diagnosis: Diagnosis) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(DiagnosisView(diagnosis))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_the_row_norms_of_a_recurrent_network_are_those_of_its_explicit_jacobian() -> None:
    diagnosis = diagnosed(GRU)
    for layer, (attention, x_BTD) in enumerate(layer_inputs(GRU)):
        weights = as_weights(explicit_norms(lambda x, module=attention.module: module(x)[0], x_BTD[:2]))  # type: ignore[misc]
        for name in ("entropy", "sink", "distance", "previous-token"):
            expected = float(METRICS[name].measure(weights).mean())
            assert values(diagnosis, name, "Jacobian row norms", GRU)[layer] == pytest.approx(expected, rel=1e-9)
    assert any("||d y_t / d x_s||_F of the module, exact, on the first 2 sequences" in note for note in diagnosis.notes)


def test_wider_modules_say_that_directions_are_random() -> None:
    diagnosis = diagnosed(GRU, model={**MODEL, "width": 16, "layers": 1}, only=["entropy"])
    assert any("8 random orthonormal directions of 16, seed 0" in note for note in diagnosis.notes)


def test_kinds_of_matrices_never_share_a_table() -> None:
    diagnosis = diagnosed(f"softmax,{GRU},{ATTENTION}")
    kinds = {panel.matrix: {row.variant for row in panel.rows} for panel in diagnosis.panels}
    assert kinds == {
        "effective matrix": {"softmax"},
        "returned weights": {ATTENTION},
        "Jacobian row norms": {GRU},
    }
    by_kind: dict[tuple[str, str], set[str]] = {}
    for row in diagnosis.rows():
        by_kind.setdefault((row["metric"], row["matrix"]), set()).add(row["variant"])
    assert all(len(variants) == 1 for variants in by_kind.values())
    assert b"Jacobian row norms" in as_csv(diagnosis)
    text = shown(diagnosis)
    for heading in ("entropy  The", "entropy of returned weights  The", "entropy of Jacobian row norms  The"):
        assert sum(line.startswith(heading) for line in text.splitlines()) == 1


def test_layers_of_one_stack_with_other_matrices_have_other_tables() -> None:
    variant = f"softmax+{GRU}"
    diagnosis = diagnosed(variant)
    effective = values(diagnosis, "entropy", "effective matrix", variant)
    norms = values(diagnosis, "entropy", "Jacobian row norms", variant)
    assert [math.isnan(value) for value in (*effective, *norms)] == [False, True, True, False]


def test_what_does_not_apply_has_its_reason() -> None:
    notes = "\n".join(diagnosed(GRU, task="recall", length=None).notes)
    assert "not applicable: diversity (there is one matrix, without heads); negative-mass (norms have no sign)" in notes
    assert "row-gain, row-sum (rows are normalized)" in notes
    reach = diagnosed(GRU, "reach")
    assert reach.notes == (f"{GRU}: not applicable: reach, keys (a module of its own shows no effective matrix).",)
    assert "scores-gradient (its scores are not seen)" in "\n".join(diagnosed(GRU, "gradients").notes)
    for kind in ("attention", "gradients", "reach", "tokens"):
        for panel in diagnosed(GRU, kind).panels:
            assert not all(math.isnan(value) for row in panel.rows for value in row.mean)


def test_a_metric_that_does_not_apply_is_refused_with_its_reason() -> None:
    with pytest.raises(InvalidValueError) as refused:
        diagnosed(GRU, only=["negative-mass"])
    assert refused.value.problem == f"'negative-mass' does not apply to '{GRU}': norms have no sign."
    assert "entropy" in refused.value.hint
    assert "negative-mass" not in refused.value.hint


def test_returned_weights_are_those_of_torch() -> None:
    diagnosis = diagnosed(ATTENTION, attention_map="2.2")
    mask_TT = torch.ones(7, 7, dtype=torch.bool).triu(1)
    for layer, (attention, x_BTD) in enumerate(layer_inputs(ATTENTION)):
        _, weights = attention.module(x_BTD, x_BTD, x_BTD, attn_mask=mask_TT, average_attn_weights=False)
        for name in ("entropy", "diversity", "row-sum"):
            expected = float(METRICS[name].measure(weights.detach()).mean())
            assert values(diagnosis, name, "returned weights", ATTENTION)[layer] == pytest.approx(expected, rel=1e-9)
    (one,) = diagnosis.maps
    assert one.matrix == "returned weights"
    torch.testing.assert_close(torch.tensor(one.weights, dtype=torch.float64), weights[0, 1].detach())
    assert "layer 2, head 2, returned weights" in shown(diagnosis)


def test_a_map_of_row_norms_says_so() -> None:
    diagnosis = diagnosed(GRU, attention_map="1.1")
    assert diagnosis.maps[0].matrix == "Jacobian row norms"
    assert "layer 1, Jacobian row norms: queries down" in shown(diagnosis)
    with pytest.raises(InvalidValueError, match="no head 2 in layer 1"):
        diagnosed(GRU, attention_map="1.2")


def test_the_stream_of_a_module_without_heads_is_measured_as_any() -> None:
    diagnosis = diagnosed(f"softmax,{GRU}", "rank-collapse")
    assert {row.variant for row in diagnosis.panel("residual").rows} == {"softmax", GRU}
    assert {row.variant for row in diagnosis.panel("singular-gap").rows} == {"softmax"}


class Constant(nn.Module):
    """A module whose output has no gradient."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        with torch.no_grad():
            result: Tensor = self.linear(x_BTD)
            return result


def test_an_output_without_gradient_has_no_row_norms() -> None:
    diagnosis = attnlab.diagnose(
        kind="attention", attention=Constant, task=None, length=5, batch=2, seeds=1, model=MODEL, position="none"
    )
    assert not diagnosis.panels
    assert "Jacobian row norms: not applicable in layer 1, 2: its output has no gradient." in "\n".join(diagnosis.notes)


def test_a_registered_attention_has_heads() -> None:
    assert Attention.has_heads
    assert not Adapted.has_heads
