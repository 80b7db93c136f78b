"""A trained model on sequences that it was not trained on: longer ones, or harder ones.

Batches are evaluated one after the other, and attentions hold a bounded number of rows of scores at a time. Memory
therefore grows with one sequence, not with the test split.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from attnlab.choices import ExtrapolationMode
from attnlab.errors import InvalidValueError
from attnlab.evaluation.level_score import LevelScore
from attnlab.model.transformer import Transformer
from attnlab.records import Score
from attnlab.specs import RunSpec, Split, TaskSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.eval_levels import trained_length
from attnlab.training.extrapolation import check_length, check_mode
from attnlab.training.load_model import Arrays, rebuild_model
from attnlab.training.scoring import Scored, score
from attnlab.training.stepper import predict_batch


def evaluate_tasks(
    spec: RunSpec,
    weights: Arrays,
    tasks: list[TaskSpec],
    *,
    mode: ExtrapolationMode = "trained",
    sequences: int | None = None,
    device: torch.device | None = None,
) -> Iterator[LevelScore]:
    """Score a run's model on each of some tasks, one after the other.

    Args:
        spec: The run.
        weights: Its trained weights.
        tasks: Its own task at other lengths or levels; see :mod:`attnlab.training.eval_levels`.
        mode: How positions are extrapolated beyond the trained length.
        sequences: Test sequences of each task; None takes as many as the run's own test had.
        device: The device; None takes the CPU.

    Yields:
        One score per task.

    Raises:
        IncompatiblePartsError: The mode does not fit the run's position.
        InvalidValueError: The sequences are longer than the model's tables, or hold tokens outside its vocabulary.
    """
    device = device or torch.device("cpu")
    own_source = Source(spec.task, spec.seed, spec.train.train_examples)
    check_mode(spec.model.position, mode)
    sources = [Source(task, spec.seed) for task in tasks]
    for source in sources:
        check_vocabulary(source, own_source.vocabulary)
    models = {
        task.length: rebuild_model(spec, weights, own_source, mode, task.length)
        for task in (source.task for source in sources)
    }
    for length, model in sorted(models.items()):
        check_length(model, length, own_source.length)
    for source in sources:
        model = models[source.task.length].to(device)
        examples = sequences or spec.train.test_examples
        scored = score_test_split(model, source, examples, spec.train.batch_size, device)
        yield LevelScore(
            source.task.length,
            source.spec.level,
            trained_length(spec.task),
            **scored._asdict(),
            best_accuracy=source.task.best_accuracy,
        )


def check_vocabulary(source: Source, vocabulary: int) -> None:
    """Refuse sequences with tokens that the model does not have."""
    if source.task.vocabulary > vocabulary:
        problem = f"{source.spec.complexity} {source.spec.level} needs a vocabulary of {source.task.vocabulary} tokens."
        hint = f"The run was trained with {vocabulary}. Choose a lower level."
        raise InvalidValueError(problem, hint, where="--complexity")


def score_test_split(
    model: Transformer, source: Source, sequences: int, batch_size: int, device: torch.device
) -> Scored:
    """Score a model on the test split, batch by batch."""
    correct = total = exact_correct = exact_total = 0
    nats = exact_chance = 0.0
    for index, batch in enumerate(source.iter_held_out(Split.TEST, sequences, batch_size), start=1):
        predicted_N, loss = predict_batch(model, batch, index, device)
        part = score([batch], [predicted_N.cpu().numpy()], source.task.chance)
        correct, total = correct + part.accuracy.correct, total + part.accuracy.total
        exact_correct, exact_total = exact_correct + part.exact_match.correct, exact_total + part.exact_match.total
        nats, exact_chance = nats + float(loss), exact_chance + part.exact_match.chance * part.exact_match.total
    chance = exact_chance / exact_total if exact_total else source.task.chance
    accuracy = Score(correct=correct, total=total, chance=source.task.chance)
    exact_match = Score(correct=exact_correct, total=exact_total, chance=chance)
    return Scored(accuracy, exact_match, nats / total if total and np.isfinite(nats) else None)
