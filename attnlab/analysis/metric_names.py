"""The names of the metrics that every run has, for whoever checks a name before there is a run."""

from __future__ import annotations

from attnlab.analysis._observations import METRICS
from attnlab.analysis._observations import check_perplexity as check_perplexity
from attnlab.analysis.time_to_solve import TIME_METRICS

RUN_METRICS = (*METRICS, *TIME_METRICS)
"""Metrics of every run; those of logged diagnostics come in addition."""
