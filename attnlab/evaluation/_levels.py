"""A trained model on sequences that it was not trained on: longer ones, or harder ones.

Batches are evaluated one after the other, and attentions hold a bounded number of rows of scores at a time. Memory
therefore grows with one sequence, not with the test split.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch

from attnlab.choices import ExtrapolationMode
from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.evaluation.level_score import LevelScore
from attnlab.experiments.size_check import check_evaluation
from attnlab.model.base import Model
from attnlab.specs import RunSpec, Split, TaskSpec
from attnlab.storage.arrays import Arrays
from attnlab.tasks.base import Batch, Tokens
from attnlab.tasks.io.fed_back import FedBackAnswers
from attnlab.tasks.io.streams import Source
from attnlab.training.eval_levels import trained_length
from attnlab.training.extrapolation import check_length, check_mode
from attnlab.training.load_model import rebuild_model
from attnlab.training.rollout import generate_answers
from attnlab.training.scoring import Scored, joined, score
from attnlab.training.stepper import predict_batch

BatchProgress = Callable[[int, int, int], None]
"""Called with the length of a level in tokens, its sequences that are done, and all of them."""


def evaluate_tasks(
    spec: RunSpec,
    weights: Arrays,
    tasks: list[TaskSpec],
    *,
    mode: ExtrapolationMode = "trained",
    sequences: int | None = None,
    rollout: bool | None = None,
    device: torch.device | None = None,
    progress: BatchProgress = lambda length, done, total: None,
) -> Iterator[LevelScore]:
    """Score a run's model on each of some tasks, one after the other.

    Args:
        spec: The run.
        weights: Its trained weights.
        tasks: Its own task at other lengths or levels; see :mod:`attnlab.training.eval_levels`.
        mode: How positions are extrapolated beyond the trained length.
        sequences: Test sequences of each task; None takes as many as the run's own test had.
        rollout: Whether each question is asked given the answers generated before it, instead of the right ones; None
            does as the run's own test.
        device: The device; None takes the CPU.
        progress: Called after each batch.

    Yields:
        One score per task.

    Raises:
        IncompatiblePartsError: The mode does not fit the run's position.
        InvalidValueError: The sequences are longer than the model's tables, or hold tokens outside its vocabulary;
            one of them does not fit the memory, or there are more than ``MAX_SEQUENCES``; or generated answers of the
            task cannot be scored.
    """
    rollout = spec.train.rollout if rollout is None else rollout
    device = device or torch.device("cpu")
    own_source = Source(spec.task, spec.seed, spec.train.train_examples)
    check_mode(spec.model.position, mode)
    sources = [Source(task, spec.seed) for task in tasks]
    check_evaluation(spec.model, (source.task.length for source in sources), sequences, where="evaluate")
    for source in sources:
        check_vocabulary(source, own_source.vocabulary)
        _check_features(source, own_source.features)
    models = {
        task.length: rebuild_model(spec, weights, own_source, mode, task.length)
        for task in (source.task for source in sources)
    }
    _check_lengths(models, own_source.length)
    fed_back = [_fed_back_answers(source) if rollout else None for source in sources]
    for source, answers in zip(sources, fed_back, strict=True):
        model, length = models[source.task.length].to(device), source.task.length
        examples, batch_size = sequences or spec.train.test_examples, spec.train.batch_size
        done = partial(progress, length)
        yield LevelScore(
            length,
            source.spec.level,
            trained_length(spec.task),
            **score_test_split(model, source, examples, batch_size, device, answers, done)._asdict(),
            best_accuracy=source.task.best_accuracy,
            rollout=rollout,
            fed_back=answers is not None and answers.any,
        )


def _check_lengths(models: Mapping[int, Model], trained: int) -> None:
    """Refuse lengths that a model does not read before any is measured, and tell which could be."""
    for length, model in sorted(models.items()):
        try:
            check_length(model, length, trained)
        except InvalidValueError as error:
            shorter = ", ".join(str(one) for one in sorted(models) if one < length)
            more = f" Nothing was measured: leave out what is longer, and ask for {shorter}." if shorter else ""
            raise InvalidValueError(error.problem, f"{error.hint}{more}", where=error.where) from None


def check_vocabulary(source: Source, vocabulary: int) -> None:
    """Refuse sequences with tokens that the model does not have."""
    if source.task.vocabulary > vocabulary:
        problem = f"{source.spec.complexity} {source.spec.level} needs a vocabulary of {source.task.vocabulary} tokens."
        hint = f"The run was trained with {vocabulary}. Choose a lower level."
        raise InvalidValueError(problem, hint, where="--complexity")


def _check_features(source: Source, features: int) -> None:
    """Refuse tokens of more numbers than the model reads; missing ones are zeros."""
    if source.task.features > features:
        problem = f"{source.spec.complexity} {source.spec.level} has tokens of {source.task.features} numbers."
        hint = f"The run was trained with {features}. Choose a lower level."
        raise InvalidValueError(problem, hint, where="--complexity")


def score_test_split(
    model: Model,
    source: Source,
    sequences: int,
    batch_size: int,
    device: torch.device,
    fed_back: FedBackAnswers | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scored:
    """Score a model on the test split, batch by batch; with ``fed_back``, given its own earlier answers."""
    whole, nats, done = list[Scored](), 0.0, 0  # joined after each batch: however many there are, they take no memory
    chance, match_chance = source.task.chance, source.task.exact_match_chance
    for index, batch in enumerate(source.iter_held_out(Split.TEST, sequences, batch_size), start=1):
        if fed_back is None:
            tokens_N, loss = _predict(model, index, device, batch)
        else:
            predict = partial(_most_likely, model, index, device)
            tokens_N, loss = generate_answers(batch, fed_back.of(batch), predict), math.nan
        scored = score(
            [batch],
            [tokens_N],
            chance,
            exact_match_chance=match_chance,
            correct=None if fed_back is None else [source.task.verify(batch, tokens_N)],
            scorers=source.task.scorers,
        )
        whole = [joined([*whole, scored], chance)]
        nats += loss
        done += len(batch.inputs_BT)
        progress(done, sequences)
    return joined(whole, chance, math.nan if source.task.features else nats)  # squared errors are in the scores


def _predict(model: Model, number: int, device: torch.device, batch: Batch) -> tuple[Tokens, float]:
    """The most likely tokens at the query positions of a batch, and the sum of their cross-entropy."""
    predicted_N, loss = predict_batch(model, batch, number, device)
    return predicted_N.cpu().numpy(), float(loss)


def _most_likely(model: Model, number: int, device: torch.device, batch: Batch) -> Tokens:
    """The most likely tokens at the query positions of a batch, N."""
    return _predict(model, number, device, batch)[0]


def _fed_back_answers(source: Source) -> FedBackAnswers:
    """The inputs of a task that are earlier answers."""
    try:
        return FedBackAnswers(source.task)
    except AttnlabError as error:
        raise error.at("--rollout") from None
