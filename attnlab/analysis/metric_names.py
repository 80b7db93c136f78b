"""The names of the metrics that every run has, and which of their values are the best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attnlab.analysis._observations import METRICS
from attnlab.analysis._observations import check_perplexity as check_perplexity
from attnlab.analysis.time_to_solve import TIME_METRICS
from attnlab.records import SequenceMean

RUN_METRICS = (*METRICS, *TIME_METRICS)
"""Metrics of every run; those of logged diagnostics come in addition."""
LOWER_IS_BETTER = ("error", "loss", "perplexity", "steps", "seconds", "parameters", *TIME_METRICS)
"""Metrics of every run of which the smallest value is the best."""


def higher_is_better(name: str, scores: Iterable[Mapping[str, SequenceMean]]) -> bool | None:
    """Tell whether the largest value of a metric is the best.

    Args:
        name: The metric.
        scores: The scores of runs, which know it of their scorers.

    Returns:
        Whether it is; None of what is neither a metric of every run nor a scorer, such as a diagnostic.
    """
    if name in RUN_METRICS:
        return name not in LOWER_IS_BETTER
    return next((own[name].higher_is_better for own in scores if name in own), None)
