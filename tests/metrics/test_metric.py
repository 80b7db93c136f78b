"""The registry of metrics: a name is registered once."""

from __future__ import annotations

import pytest
from torch import Tensor

from attnlab.errors import PluginError
from attnlab.metrics.collapse import cosine
from attnlab.metrics.metric import METRICS, Metric, Point, metric


def add(measure: object, name: str = "cosine") -> None:
    metric(name, formula="0", source="ours", point=Point.RESIDUAL, collapse="none")(measure)  # type: ignore[arg-type]


def test_a_registered_name_is_refused() -> None:
    def other(x_BTD: Tensor) -> Tensor:
        """Another metric."""
        return x_BTD

    registered = METRICS["cosine"]
    with pytest.raises(PluginError) as error:
        add(other)
    assert error.value.problem == (
        "The metric 'cosine' of tests.metrics.test_metric is already registered by attnlab.metrics.collapse."
    )
    assert METRICS["cosine"] is registered


def test_the_same_function_may_be_registered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "cosine", METRICS["cosine"])
    add(cosine)
    assert isinstance(METRICS["cosine"], Metric)
    assert METRICS["cosine"].measure is cosine
