"""What an audit compares with a task whose tokens and targets are numbers, in place of guesses and tables of ids.

    zero             the number 0; a blind guess
    mean target      the mean of the targets; a blind guess, and a shortcut
    previous target  the target before, in the same sequence, or else the mean target
    linear           the best linear map of the token itself, by least squares on the training sample

Letters  N supervised positions of a batch, in row-major order; B sequences, T tokens, F numbers per token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlab.tasks import Batch
from attnlab.testing._shortcuts import Predictor


def fit_number_guesses(fitted_on: Sequence[Batch]) -> dict[str, Callable[[Batch], NDArray[np.float64]]]:
    """Fit the blind guesses.

    Args:
        fitted_on: Sequences that they are fitted on.

    Returns:
        Whether each guess is right at each supervised position, N, by the name of the guess.
    """
    mean = _mean_target(fitted_on)
    guesses = {"zero": 0.0, "mean target": mean}
    return {name: partial(_is_right, value) for name, value in guesses.items()}


def fit_number_shortcuts(training: Sequence[Batch]) -> dict[str, Predictor]:
    """Fit the shortcuts.

    Args:
        training: Batches of the training split.

    Returns:
        The predictors by name.
    """
    mean = _mean_target(training)
    tokens_NF = np.concatenate([_asked_tokens(batch) for batch in training])
    targets_N = np.concatenate([batch.query_targets() for batch in training])
    weights_F = np.linalg.lstsq(tokens_NF, targets_N, rcond=None)[0]

    def previous(batch: Batch) -> Any:
        row_N, targets = batch.query_positions() // batch.targets_BT.shape[1], batch.query_targets()
        is_first_N = np.diff(row_N, prepend=-1) > 0
        return np.where(is_first_N, mean, np.roll(targets, 1))

    return {
        "mean target": lambda batch: np.full_like(batch.query_targets(), mean),
        "previous target": previous,
        "linear": lambda batch: _asked_tokens(batch) @ weights_F,
    }


def _mean_target(batches: Sequence[Batch]) -> float:
    return float(np.concatenate([batch.query_targets() for batch in batches]).mean())


def _is_right(value: float, batch: Batch) -> NDArray[np.float64]:
    return batch.correct(np.full_like(batch.query_targets(), value)).astype(np.float64)


def _asked_tokens(batch: Batch) -> NDArray[np.float64]:
    """The numbers of the token at each supervised position, N x F."""
    flat: NDArray[Any] = batch.inputs_BT.reshape(-1, batch.inputs_BT.shape[-1])
    return flat[batch.query_positions()].astype(np.float64)
