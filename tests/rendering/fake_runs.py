"""Records as a sweep writes them, made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from attnlab.records import Evaluation, HistoryPoint, Record, Score
from attnlab.specs import ModelSpec, Part, RunSpec, TaskSpec, TrainSpec

TOTAL = 1000
CHANCE = 0.25


def score(share: float, chance: float = CHANCE) -> Score:
    return Score(correct=round(share * TOTAL), total=TOTAL, chance=chance)


def run(
    attention: str = "softmax",
    pairs: Any = 4,
    seed: int = 0,
    accuracy: float = 0.5,
    *,
    position: str = "learned",
    task: str = "recall",
    lr: float = 3e-3,
    width: int = 64,
    validation: float | None = None,
    status: Literal["done", "diverged", "failed"] = "done",
    other_levels: dict[Any, float] | None = None,
    subtasks: dict[str, float] | None = None,
    trained: str = "",
    options: dict[str, Any] | None = None,
    **more: Any,
) -> Record:
    """One run with its test accuracy; the validation accuracy is the same unless it is given."""
    spec = RunSpec(
        task=TaskSpec(
            name=task,
            options={"pairs": pairs, **(options or {})},
            complexity="pairs",
            train={"pairs": trained} if trained else {},
        ),
        model=ModelSpec(attention=(Part(name=attention),), position=Part(name=position), width=width),
        train=TrainSpec(lr=lr),
        seed=seed,
    )
    evaluations = [("", level, share) for level, share in (other_levels or {}).items()]
    evaluations += [(name, pairs, share) for name, share in (subtasks or {}).items()]
    last = accuracy if validation is None else validation
    history = (HistoryPoint(step=100, loss=2.0, accuracy=0.1), HistoryPoint(step=1200, loss=1.0, accuracy=last))
    return Record(
        id=spec.id,
        spec=spec,
        status=status,
        steps=1200,
        parameters=1000,
        accuracy=score(accuracy),
        exact_match=score(accuracy / 2),
        evaluations=tuple(
            Evaluation(subtask=name, level=level, length=8, accuracy=score(share), exact_match=score(share), loss=2.0)
            for name, level, share in evaluations
        ),
        **{"loss": 1.0, "history": history, "environment": {"seconds": 20.0 + seed}, **more},
    )


def seeds(accuracies: Sequence[float], **what: Any) -> list[Record]:
    """One run for each accuracy, with rising seeds."""
    return [run(seed=seed, accuracy=accuracy, **what) for seed, accuracy in enumerate(accuracies)]
