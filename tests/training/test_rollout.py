"""Generation of the answers: equal to one token after another in one sequence after another, and known results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from attnlab.evaluation._levels import evaluate_tasks
from attnlab.model.transformer import Transformer, build
from attnlab.specs import ModelSpec, Part, RunSpec, TaskSpec
from attnlab.tasks import IGNORE, TASKS, Batch, Split
from attnlab.tasks.base import Tokens
from attnlab.tasks.io.fed_back import Bools, FedBackAnswers
from attnlab.tasks.io.streams import generator
from attnlab.tasks.mixture import Mixture
from attnlab.training.eval_levels import at_levels
from attnlab.training.rollout import generate_answers
from attnlab.training.run import train_runs
from attnlab.training.stepper import predict_batch
from tests.training.runs import MemoryCheckpointer, tiny

CPU = torch.device("cpu")


def predicted(model: Transformer, batch: Batch) -> Tokens:
    return predict_batch(model, batch, 1, CPU)[0].numpy()


@torch.no_grad()
def one_by_one(model: Transformer, batch: Batch, fed_back_BT: Bools) -> Tokens:
    """Read each sequence alone, token by token; each prefix is read anew."""
    answers = []
    for row in range(len(batch.inputs_BT)):
        tokens = batch.inputs_BT[row].tolist()
        for position, target in enumerate(batch.targets_BT[row].tolist()):
            if target == IGNORE:
                continue
            logits_V = model(torch.tensor([tokens[: position + 1]]), torch.tensor([position])).logits_NV[0]
            answers.append(int(logits_V.argmax()))
            if fed_back_BT[row, position]:
                tokens[position + 1] = answers[-1]
    return np.array(answers)


@pytest.mark.parametrize(
    ("attention", "position"),
    [("softmax", "rotary"), ("delta", "none"), ("dape", "alibi"), ("selective", "learned"), ("mamba2", "none")],
)
@pytest.mark.parametrize("name", ["reverse", "recall-stream", "stack", "binary-addition", "mixture"])
def test_it_generates_what_reading_token_by_token_does(name: str, attention: str, position: str) -> None:
    entry = TASKS.entry(name)
    options = {"tasks": ("copy:symbols=5", "parity:bits=8", "recall-noisy:keys=4")} if name == "mixture" else {}
    task = entry.cls(**entry.complete(options))
    spec = ModelSpec(layers=2, width=16, attention=(Part(name=attention),), position=Part(name=position))
    model = build(spec, vocabulary=task.vocabulary, length=task.length, seed=1).eval()
    batch = task.sample(generator(0, Split.TEST), 12)
    fed_back_BT = FedBackAnswers(task).of(batch)
    generated_N = generate_answers(batch, fed_back_BT, lambda part: predicted(model, part))
    assert fed_back_BT.any()
    assert (generated_N == one_by_one(model, batch, fed_back_BT)).all()
    assert (generated_N != predicted(model, batch)).any()  # so the inputs were replaced


def test_one_wrong_answer_is_carried_on_and_the_passes_are_counted() -> None:
    """A model that adds 1 to the token before it, and makes one mistake: right from then on only if it is corrected."""
    inputs_BT = np.array([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])
    batch = Batch(inputs_BT, inputs_BT + 1)
    fed_back_BT = np.ones(inputs_BT.shape, bool)
    fed_back_BT[:, -1] = False
    shapes = []

    def predict(part: Batch) -> Tokens:
        shapes.append(part.inputs_BT.shape)
        answers_BT = part.inputs_BT + 1
        answers_BT[part.inputs_BT == 2] = 20
        return answers_BT.ravel()

    assert batch.correct(predict(batch)).tolist() == [True, True, False, True, True] + [True] * 5
    shapes.clear()
    generated_BT = generate_answers(batch, fed_back_BT, predict).reshape(2, 5)
    assert generated_BT.tolist() == [[1, 2, 20, 21, 22], [6, 7, 8, 9, 10]]
    assert shapes == [(2, 5), (1, 5), (1, 5)]  # a pass that changes nothing more is the last


def test_without_answers_among_the_inputs_one_pass_is_enough() -> None:
    batch = Batch(np.array([[1, 2, 3]]), np.array([[IGNORE, 4, 5]]))
    calls = []

    def predict(part: Batch) -> Tokens:
        calls.append(part)
        return np.array([0, 0])

    assert generate_answers(batch, np.zeros((1, 3), bool), predict).tolist() == [0, 0]
    assert len(calls) == 1


def reversing(max_steps: int, **more: Any) -> RunSpec:
    """A run that learns to reverse short strings."""
    task = TaskSpec(
        name="reverse",
        options={"symbols": 4, "alphabet": 2},
        train={"symbols": "1..4"},
        complexity="symbols",
        evaluate=(12,),
    )
    spec = tiny(position="rotary", task=task, max_steps=max_steps, eval_every=100, batch_size=64, **more)
    return spec.model_copy(update={"model": spec.model.model_copy(update={"width": 32, "layers": 2})})


def test_records_say_which_way_they_were_tested_and_training_is_the_same() -> None:
    forced, rolled = reversing(30, test_examples=256), reversing(30, test_examples=256, rollout=True)
    assert forced.id != rolled.id
    (one,), (other,) = train_runs([forced]), train_runs([rolled])
    assert one.history == other.history
    assert (one.rollout, one.evaluations[0].rollout) == (False, False)
    assert (other.rollout, other.evaluations[0].rollout) == (True, True)
    assert other.loss is None
    assert other.exact_match == one.exact_match
    assert other.evaluations[0].exact_match == one.evaluations[0].exact_match
    assert other.accuracy != one.accuracy
    assert other.evaluations[0].accuracy != one.evaluations[0].accuracy


@pytest.mark.parametrize("position", ["learned", "randomized"])
def test_vmapped_runs_are_rolled_out_as_single_ones(position: str) -> None:
    specs = [tiny(position=position, seed=seed, rollout=True) for seed in (0, 1)]
    single, vmapped = train_runs(specs, vmap=1), train_runs(specs, vmap=2)
    assert [one.accuracy for one in single] == [one.accuracy for one in vmapped]
    assert [one.exact_match for one in single] == [one.exact_match for one in vmapped]


def test_the_subtasks_of_a_mixture_are_rolled_out() -> None:
    task = TaskSpec(
        name="mixture",
        options=Mixture.resolve_options({**TASKS.entry("mixture").complete({}), "tasks": ("copy", "parity")}),
        complexity="level",
    )
    forced, rolled = (train_runs([tiny(task=task, rollout=way)])[0] for way in (False, True))
    copy, parity = rolled.evaluations
    assert copy.accuracy != forced.evaluations[0].accuracy
    assert parity.accuracy == forced.evaluations[1].accuracy
    assert all(one.rollout for one in rolled.evaluations)


@pytest.mark.slow
def test_reverse_is_solved_when_short_and_beyond_the_trained_length_generation_differs() -> None:
    spec = reversing(2000, lr=3e-3, early_stop_accuracy=0.998, test_examples=512)
    checkpointer = MemoryCheckpointer()
    (record,) = train_runs([spec], checkpointer=checkpointer)
    assert record.solved
    weights, levels = checkpointer.finished[spec.id], at_levels(spec.task, [4, 6, 8, 12])
    forced = list(evaluate_tasks(spec, weights, levels, rollout=False))
    rolled = list(evaluate_tasks(spec, weights, levels, rollout=True))
    for one, other in zip(forced, rolled, strict=True):
        assert other.exact_match == one.exact_match
    assert forced[0].accuracy.mean == pytest.approx(rolled[0].accuracy.mean, abs=0.01)
    assert all(other.accuracy.correct < one.accuracy.correct for one, other in zip(forced[1:], rolled[1:], strict=True))
