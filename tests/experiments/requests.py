"""Shared by the tests of a plan: requests of one run."""

from __future__ import annotations

from typing import Any

from attnlab.experiments.plan import plan
from attnlab.experiments.request import Request
from attnlab.specs import Part, RunSpec

COPY = Part(name="copy")


def stack(*parts: Part | str) -> tuple[Part, ...]:
    """Attentions that alternate over the layers."""
    return tuple(part if isinstance(part, Part) else Part(name=part) for part in parts)


def one(**requested: Any) -> RunSpec:
    """The only run of a request, of copy unless another task is named."""
    (spec,) = plan(Request(**{"task": COPY, **requested}))
    return spec
