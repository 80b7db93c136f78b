"""Records for the tests of tables."""

from __future__ import annotations

from typing import Any, Literal

from attnlab.records import Record, Score, SequenceSums
from attnlab.specs import ModelSpec, Part, RunSpec, TaskSpec


def spec(
    *, attention: str = "softmax", position: str = "fourier", seed: int = 0, pairs: int = 4, **options: Any
) -> RunSpec:
    return RunSpec(
        task=TaskSpec(name="recall", options={"pairs": pairs}, complexity="pairs"),
        model=ModelSpec(attention=(Part(name=attention, options=options),), position=Part(name=position)),
        seed=seed,
    )


def one_each(correct: int, total: int) -> SequenceSums:
    """One question per sequence, so that the interval is Wilson's."""
    return SequenceSums(count=total, correct_squared=correct, correct_questions=correct, questions_squared=total)


def record(
    run: RunSpec, correct: int = 1000, *, status: Literal["done", "diverged"] = "done", reason: str = ""
) -> Record:
    return Record(
        id=run.id,
        spec=run,
        status=status,
        reason=reason,
        steps=1200,
        parameters=119_424,
        accuracy=Score(correct=correct, total=1000, chance=0.25, sequences=one_each(correct, 1000)),
        exact_match=Score(correct=correct // 5, total=250, chance=0.004),
        environment={"seconds": 75.2},
    )
