"""A trained model on sequences it was not trained on: longer ones, or harder ones.

Batches are answered one after the other, and attentions hold a bounded number of rows of scores at a time, so memory
grows with one sequence, not with the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from attnlab.errors import InvalidValueError
from attnlab.model.transformer import Transformer
from attnlab.records import Score
from attnlab.specs import RunSpec, Split, TaskSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.eval_levels import trained_length
from attnlab.training.extrapolation import Mode, check_length, check_mode
from attnlab.training.load_model import Arrays, rebuild_model
from attnlab.training.scoring import Scored, score
from attnlab.training.stepper import predict_batch


@dataclass(frozen=True)
class LevelScore:
    """What a model answered at one length or level."""

    length: int
    """Tokens of the longest sequence."""
    level: Any
    trained_length: int
    """Tokens of the longest sequence it was trained on."""
    accuracy: Score
    exact_match: Score
    """Whole answers."""
    loss: float | None
    """Nats per question."""
    best_accuracy: float = 1.0
    """The best that can be done; nan where nobody knows it."""


def evaluate(
    spec: RunSpec,
    weights: Arrays,
    tasks: list[TaskSpec],
    *,
    mode: Mode = "trained",
    sequences: int | None = None,
    device: torch.device | None = None,
) -> Iterator[LevelScore]:
    """What a run's model answers to each of some tasks, one after the other.

    Args:
        spec: The run.
        weights: What it learned.
        tasks: Its own task at other lengths or levels; see :func:`longer` and :func:`harder`.
        mode: How positions reach beyond the trained length.
        sequences: Test sequences of each; None takes as many as the run's own test had.
        device: Where; the CPU if none is given.

    Raises:
        IncompatiblePartsError: the mode does not fit the run's position.
        InvalidValueError: sequences longer than the model's tables, or with tokens it never saw.
    """
    machine = device or torch.device("cpu")
    home = Source(spec.task, spec.seed, spec.train.train_examples)
    check_mode(spec.model.position, mode)
    sources = [Source(task, spec.seed) for task in tasks]
    for source in sources:
        if source.task.vocabulary > home.vocabulary:
            result = f"At {source.spec.complexity} {source.spec.level} there are {source.task.vocabulary} tokens."
            raise InvalidValueError(
                result, f"The run knows {home.vocabulary}: take a lower level.", where="--complexity"
            )
    models = {
        task.length: rebuild_model(spec, weights, home, mode, task.length) for task in (one.task for one in sources)
    }
    for length, model in sorted(models.items()):
        check_length(model, length, home.length)
    for source in sources:
        scored = tested(
            models[source.task.length].to(machine),
            source,
            sequences or spec.train.test_examples,
            spec.train.batch_size,
            machine,
        )
        ceiling, trained = source.task.best_accuracy, trained_length(spec.task)
        yield LevelScore(source.task.length, source.spec.level, trained, **scored._asdict(), best_accuracy=ceiling)


def tested(model: Transformer, source: Source, sequences: int, batch: int, device: torch.device) -> Scored:
    """Scores on the test stream, batch by batch."""
    right = questions = perfect = asked = 0
    nats = lucky = 0.0
    for index, one in enumerate(source.iter_held_out(Split.TEST, sequences, batch), start=1):
        predicted_N, loss = predict_batch(model, one, index, device)
        part = score([one], [predicted_N.cpu().numpy()], source.task.chance)
        right, questions = right + part.accuracy.correct, questions + part.accuracy.total
        perfect, asked = perfect + part.exact_match.correct, asked + part.exact_match.total
        nats, lucky = nats + float(loss), lucky + part.exact_match.chance * part.exact_match.total
    tokens = Score(correct=right, total=questions, chance=source.task.chance)
    whole = Score(correct=perfect, total=asked, chance=lucky / asked if asked else source.task.chance)
    return Scored(tokens, whole, nats / questions if questions and np.isfinite(nats) else None)
