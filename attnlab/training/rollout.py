"""Greedy generation of the answers: where an earlier answer is an input, the model's own answer takes its place.

    a_0 = argmax f(x)               x with the right answers, as in teacher forcing
    a_n = argmax f(x(a_{n-1}))      x with the answers of the pass before
    until x(a_n) = x(a_{n-1})

Each pass answers all questions. The model is causal: after n passes at least the first n answers are those of a
generation token by token, and a pass that changes no input has reached its end. So there are at most as many passes as
answers, and only the sequences that still change take part. A sequence that is answered correctly given the right
earlier answers takes one pass and is generated alike; exact match is therefore the same both ways, and accuracy is not.
Where several answers are right, a sequence may go on from another one than that of its targets: the task then tells
which answers are right given those that were generated (``Task.verify``).

Source   Song, Meng, Liao, Ermon, "Accelerating feedforward computation via parallel nonlinear equation solving",
         arXiv:2002.03629, algorithm 1 (Jacobi iteration), here from the right answers as the first guess.

Letters  B sequences, R sequences that still change, T tokens, N query positions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from attnlab.tasks.base import IGNORE, Batch, Tokens
from attnlab.tasks.io.fed_back import Bools


def generate_answers(batch: Batch, fed_back_BT: Bools, predict: Callable[[Batch], Tokens]) -> Tokens:
    """Answer the questions of one batch, each given the answers generated before it.

    Args:
        batch: The batch.
        fed_back_BT: The questions whose answers stand in the next input, as
            :class:`attnlab.tasks.io.fed_back.FedBackAnswers` finds them.
        predict: Computes the most likely tokens at the query positions of a batch, N, by a causal model in evaluation
            mode. It is given some sequences of the batch at their full length, with other answers in them.

    Returns:
        The answers at the query positions, N.
    """
    inputs_BT, answers_BT = batch.inputs_BT.copy(), np.full_like(batch.targets_BT, IGNORE)
    changing_R = np.arange(len(inputs_BT))
    for _ in range(1 + int(fed_back_BT.sum(axis=1).max(initial=0))):
        targets_RT = batch.targets_BT[changing_R]
        answers_RT = np.full_like(targets_RT, IGNORE)
        answers_RT[targets_RT != IGNORE] = predict(Batch(inputs_BT[changing_R], targets_RT))
        answers_BT[changing_R] = answers_RT
        before_RT = inputs_BT[changing_R, 1:]
        after_RT = np.where(fed_back_BT[changing_R, :-1], answers_RT[:, :-1], before_RT)
        inputs_BT[changing_R, 1:] = after_RT
        changing_R = changing_R[(after_RT != before_RT).any(axis=1)]
        if not len(changing_R):
            break
    return answers_BT[batch.targets_BT != IGNORE]
