"""What a metric is: a number per sequence, with its definition, its source and the point where it is measured.

Letters  B batch, T tokens as queries, S tokens as keys, D width, H heads.

Every metric is computed for each sequence by itself, in float64, and then averaged over the batch: the mean token of
a whole batch is another quantity. Decays are averaged geometrically, because an arithmetic mean follows the sample
that has collapsed least.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import torch
from torch import Tensor

from attnlab.errors import PluginError

FLOAT_FLOOR = 1e-12
"""Relative size below which a number in float64 is rounding error; it is marked and not plotted."""


class Point(Enum):
    """Where a metric is measured."""

    RESIDUAL = "the residual stream after each block, the embedding first"
    BRANCH = "the output of each attention, before the output projection"
    MATRIX = "the effective attention matrix of each layer"
    SCORES = "the scores of each layer, after position and scale, before the mask"
    WEIGHTS = "the weights of each layer"


@dataclass(frozen=True)
class Metric:
    """One metric of an activation trace."""

    name: str
    summary: str
    formula: str
    source: str
    point: Point
    collapse: str
    """The values that show collapse."""
    measure: Callable[..., Tensor]
    """From a tensor at the point to one number per sequence (and per head, for matrices)."""
    mean: Literal["arithmetic", "geometric"] = "arithmetic"

    def average(self, values_B: Tensor) -> Tensor:
        """Average over sequences, by the mean of the metric.

        Args:
            values_B: Any number of values; nan is left out.

        Returns:
            A scalar in float64; nan where no value is left.
        """
        present = values_B[~values_B.isnan()].double()
        if not present.numel():
            return torch.tensor(torch.nan, dtype=torch.float64)
        return present.clamp_min(1e-300).log().mean().exp() if self.mean == "geometric" else present.mean()


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
    """Register a function as a metric, as a decorator; the first paragraph of its docstring is the summary.

    Args:
        name: The name by which the metric is chosen.
        formula: The definition.
        source: Where the metric comes from: an arXiv number, or ``ours``.
        point: Where it is measured.
        collapse: The values that show collapse.
        mean: How it is averaged over sequences and seeds.

    Returns:
        A decorator that returns the function unchanged.

    Raises:
        PluginError: Another function has the name already; the message has both modules.
    """

    def add(measure: Callable[..., Tensor]) -> Callable[..., Tensor]:
        other = METRICS[name].measure if name in METRICS else measure
        if (other.__module__, other.__qualname__) != (measure.__module__, measure.__qualname__):
            problem = f"The metric '{name}' of {measure.__module__} is already registered by {other.__module__}."
            raise PluginError(problem, "Choose another name for it.")
        summary = (measure.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")
        METRICS[name] = Metric(name, summary, formula, source, point, collapse, measure, mean)
        return measure

    return add
