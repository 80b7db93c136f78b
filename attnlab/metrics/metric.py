"""What a diagnostic is: a number per sequence, with its definition, its source and the point where it is measured.

Letters  B batch, T tokens as queries, S tokens as keys, D width, H heads.

Every metric is taken of each sequence by itself, in float64, and only then averaged over the batch: the mean token of
a whole batch is another quantity. Decays are averaged geometrically, as an arithmetic mean follows the sample that
has collapsed least.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import torch
from torch import Tensor

FLOOR = 1e-12
"""Relative size below which a number in float64 is rounding, and is marked rather than plotted."""


class Point(Enum):
    """Where a metric is measured."""

    STREAM = "the stream after each block, the embedding first"
    BRANCH = "what each attention writes, before the output projection"
    MATRIX = "the effective attention matrix of each layer"
    SCORES = "the scores of each layer, after position and scale, before the mask"
    WEIGHTS = "the weights of each layer"


@dataclass(frozen=True)
class Metric:
    """One diagnostic."""

    name: str
    summary: str
    formula: str
    source: str
    point: Point
    collapse: str
    """What collapse looks like."""
    measure: Callable[..., Tensor]
    """From a tensor at the point to one number per sequence (and per head, for matrices)."""
    mean: Literal["arithmetic", "geometric"] = "arithmetic"

    def average(self, values_B: Tensor) -> Tensor:
        """The mean over sequences, of the kind that suits the metric; nan values (nothing to measure) are left out."""
        saved = values_B[~values_B.isnan()].double()
        if not saved.numel():
            return torch.tensor(torch.nan, dtype=torch.float64)
        return saved.clamp_min(1e-300).log().mean().exp() if self.mean == "geometric" else saved.mean()


METRICS: dict[str, Metric] = {}
"""Every metric, by name."""


def metric(
    name: str,
    *,
    formula: str,
    source: str,
    point: Point,
    collapse: str,
    mean: Literal["arithmetic", "geometric"] = "arithmetic",
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Decorator that makes a function a metric; its docstring's first line is the summary."""

    def add(measure: Callable[..., Tensor]) -> Callable[..., Tensor]:
        summary = (measure.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")
        METRICS[name] = Metric(name, summary, formula, source, point, collapse, measure, mean)
        return measure

    return add
