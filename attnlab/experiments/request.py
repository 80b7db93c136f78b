"""What a person asks for, before any name in it is looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from attnlab.specs import Budget, Part, Variant


@dataclass(frozen=True)
class Request:
    """Variants on one level of one task, with several seeds.

    Args:
        task: A ladder's name or file, or a registered task; with inline options.
        attentions: Each one part, or a stack of parts that take turns over the layers; none keeps the ladder's.
        positions: As many as wanted; none keeps the ladder's.
        complexity: The level; None takes the ladder's default.
        evaluate: Levels to test beside it; None takes the ladder's.
        seeds: Each gives one run.
        match: The budget that every other variant is brought to; None keeps all sizes equal.
        reference: The variant whose budget it is; None takes the first.
        settings: Nested data over the ladder's: ``{"model": ..., "train": ..., "task": ...}``.
    """

    task: Part
    attentions: Sequence[Variant] = ()
    positions: Sequence[Part] = ()
    complexity: Any = None
    evaluate: Sequence[Any] | None = None
    seeds: Sequence[int] = (0,)
    settings: dict[str, Any] = field(default_factory=dict)
    match: Budget | None = None
    reference: Variant | None = None
