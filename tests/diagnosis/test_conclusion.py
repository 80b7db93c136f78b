"""The line that a diagnosis opens with, against numbers made by hand."""

from __future__ import annotations

import math

import pytest

from attnlab.choices import DiagnosisKind
from attnlab.diagnosis.conclusion import conclusions
from attnlab.diagnosis.result import Diagnosis, Panel, Series

NAN = math.nan


def said(kind: DiagnosisKind, metric: str, *values: float, first: int = 0, below: bool = False) -> list[str]:
    flags = (False,) * (len(values) - 1) + (below,)
    columns = tuple(map(str, range(first, first + len(values))))
    panel = Panel(metric, "", "", True, columns, (Series("softmax", (values,), values, flags),))
    return conclusions(Diagnosis(kind, "", (Panel("other", "", "", True, columns, ()), panel)))


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ((0.99, 0.985, 0.98), "0.99 -> 0.98 over 2 layers: no collapse"),
        ((0.9, 0.6, 0.4), "0.9 -> 0.4 over 2 layers: a fall, no collapse yet"),
        ((0.9, 0.3, 0.05), "0.9 -> 0.05 over 2 layers: rank collapse"),
        ((0.9, 0.8), "0.9 -> 0.8 in 1 layer: no collapse"),
        ((0.9, 0.8, NAN), "0.9 -> 0.8 in 1 layer: no collapse"),
    ],
)
def test_rank_collapse_is_told_by_the_residual(values: tuple[float, ...], found: str) -> None:
    assert said("rank-collapse", "residual", *values) == [f"softmax: residual {found}"]


def test_a_residual_below_the_float_floor_has_collapsed() -> None:
    (line,) = said("rank-collapse", "residual", 0.9, 1e-20, below=True)
    assert line == "softmax: residual 0.9 -> below the float floor in 1 layer: rank collapse"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ((0.01, 0.02), "of one size"),
        ((0.001, 0.02), "it vanishes towards the first layer"),
        ((0.5, 0.02), "it explodes towards the first layer"),
    ],
)
def test_gradients_are_told_from_the_last_layer_down(values: tuple[float, ...], found: str) -> None:
    (line,) = said("gradients", "value-gradient", *values, first=1)
    assert line == f"softmax: value-gradient {values[0]:g} -> {values[1]:g} over 2 layers: {found}"


def test_other_metrics_are_told_without_a_judgement_and_nothing_without_a_table() -> None:
    assert said("attention", "entropy", 0.9, 0.1, first=1) == ["softmax: entropy 0.9 -> 0.1 over 2 layers"]
    assert said("rank-collapse", "residual", NAN, NAN) == []
    assert conclusions(Diagnosis("reach", "", ())) == []
