"""In-context regression: pairs of a vector and a number, by one linear map that is new in each sequence.

    inputs   x_1  y_1  x_2  y_2  x_3  y_3  x_4        y_i = w.x_i + noise
    targets   .    .    .    .   y_3   .   y_4        at d = 2; in training also y_1 and y_2

x ~ N(0, I) and w ~ N(0, I/d) in d dimensions, so that y has unit variance without noise. A token is d + 1 numbers: y
has the first one, and x the others; what a token does not have is zero. Training asks for y at every x. The test asks
where at least d pairs came before: without noise y then follows from them, and before it does not. The level is d.

An answer counts as right within ``tolerance`` of y. The mean squared error is reported beside it. The best predictor is
the posterior mean of w, which is ridge regression,

    w = (X^T X + d s^2 I)^{-1} X^T y        s the standard deviation of the noise; least squares at s = 0

whose error at a test position is normal with variance s^2 + s^2 x^T (X^T X + d s^2 I)^{-1} x. The guess 0 has the mean
squared error 1 + s^2, and its accuracy is that of y ~ N(0, |w|^2 + s^2), averaged over |w|^2.

Source   Garg, Tsipras, Liang, Valiant, "What can transformers learn in-context?", arXiv:2208.01066.
Theirs   n_dims -> dimensions, n_points -> examples, normalized squared error / d -> the squared error here.
Differs  they draw w ~ N(0, I) and divide the error by d. They write y into the first of the d numbers of x, where only
         the place of a token tells the two apart. They ask at every x in the test too: here, ``known`` asks after a
         given number of pairs. A curriculum over the dimension, as theirs, is `--curriculum '1..2 -> 1..8'`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Self, cast, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Cell, Split, Task, Tokens, register
from attnlab.tasks.ops.chance import draw_samples

Numbers = NDArray[np.float64]
QUANTILES = 4096
"""Values of |w|^2 over which an expectation is taken."""
DRAWN = 1024
"""Sequences over which the accuracy of the posterior mean is averaged."""
MOST_NUMBERS, MOST_PLACES = 2**21, 64
"""The most numbers drawn for it, in fewer sequences where they are long, and the most places that are asked."""


@register("in-context-regression", source="arXiv:2208.01066")
@final
class InContextRegression(Task):
    """Given pairs of a vector and a number, predict the number of the next vector by the same linear map.

    Options:
        dimensions: Numbers of a vector, d.
        examples: Vectors of a sequence; 0 takes 2 d + 1.
        noise: Standard deviation of what is added to each y.
        known: Pairs before the one place that the test asks; 0 asks wherever at least d pairs came before.
        tolerance: How far a right answer may be from y.
    """

    complexity = "dimensions"
    vocabulary = 1
    asks_more_in_training = True
    scorers = ("mean_squared_error",)
    chance_guess = "the number 0"

    def __init__(
        self,
        *,
        dimensions: Annotated[int, Field(ge=1)] = 2,
        examples: Annotated[int, Field(ge=0)] = 0,
        noise: Annotated[float, Field(ge=0)] = 0.0,
        known: Annotated[int, Field(ge=0)] = 0,
        tolerance: Annotated[float, Field(gt=0)] = 0.25,
    ) -> None:
        self.dimensions, self.noise, self.known, self.tolerance = dimensions, noise, known, tolerance
        self.examples = examples or 2 * dimensions + 1
        self.first = known or dimensions
        if self.first >= self.examples:
            problem = f"A test after {self.first} pairs needs more than {self.examples} examples."
            hint = f"Use at least {self.first + 1} examples; 0 takes {2 * dimensions + 1}."
            raise InvalidValueError(problem, hint, where="in-context-regression")
        self.features = dimensions + 1
        self.length = 2 * self.examples - 1
        self.asks_every_vector = False
        self.best_accuracy = self._posterior_accuracy()

    @cached_property
    def chance(self) -> float:
        """The accuracy of the guess 0."""
        return self._zero_is_right(1)

    @cached_property
    def exact_match_chance(self) -> float:
        """The probability that 0 is right at all places of a sequence, which have one w."""
        return self._zero_is_right(1 if self.known else self.examples - self.first)

    def for_split(self, split: Split) -> Self:
        """The task itself; for training, the task with a target at every vector."""
        split_task = copy.copy(self)
        split_task.asks_every_vector = split is Split.TRAIN
        return split_task

    def chance_samples(self) -> tuple[Batch, Batch, Batch]:
        """Sequences of the test: those of training have further targets."""
        return draw_samples(self, Split.TEST)

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw maps, vectors and noise."""
        xs_BKD, ys_BK = self._draw(random, batch)
        inputs = np.zeros((batch, self.length, self.features), np.float32)
        inputs[:, ::2, 1:], inputs[:, 1::2, 0] = xs_BKD, ys_BK[:, :-1]
        targets = np.full((batch, self.length), IGNORE, np.float32)
        asked = slice(0, None) if self.asks_every_vector else slice(self.first, self.first + 1 if self.known else None)
        targets[:, ::2][:, asked] = ys_BK[:, asked]
        asked_N = targets[targets != IGNORE]
        accepted = np.stack([asked_N - self.tolerance, asked_N + self.tolerance], axis=1)
        return Batch(*(cast("Tokens", numbers) for numbers in (inputs, targets, accepted)))

    def solve(self, tokens: Sequence[Any]) -> list[Any]:
        """Ridge regression on the pairs before each place that is asked."""
        targets: list[float] = [IGNORE] * len(tokens)
        xs, ys = [token[1:] for token in tokens[::2]], [token[0] for token in tokens[1::2]]
        ridge = self.dimensions * self.noise**2
        for place in [self.first] if self.known else range(self.first, self.examples):
            matrix, numbers = np.array(xs[:place], np.float64), np.array(ys[:place], np.float64)
            padded = np.vstack([matrix, np.sqrt(ridge) * np.eye(self.dimensions)])
            weights = np.linalg.lstsq(padded, np.append(numbers, np.zeros(self.dimensions)), rcond=None)[0]
            targets[2 * place] = float(weights @ np.array(xs[place]))
        return targets

    def token_to_str(self, token: int) -> str:
        """The name of a token; its numbers are written by ``render``."""
        return "x"

    def render(self, batch: Batch, row: int) -> list[Cell]:
        """The numbers of each token with two decimals, those of a vector in parentheses."""
        cells = []
        for place, (numbers, target) in enumerate(zip(batch.inputs_BT[row], batch.targets_BT[row], strict=True)):
            vector = ",".join(f"{number:.2f}" for number in numbers[1:])
            text = f"{numbers[0]:.2f}" if place % 2 else f"({vector})"
            cells.append(Cell(text, "" if target == IGNORE else f"{target:.2f}"))
        return cells

    def _draw(self, random: np.random.Generator, batch: int) -> tuple[Numbers, Numbers]:
        """Vectors, B x K x D, and their numbers, B x K."""
        weights_BD = random.standard_normal((batch, self.dimensions)) / np.sqrt(self.dimensions)
        xs_BKD = random.standard_normal((batch, self.examples, self.dimensions))
        noise_BK = self.noise * random.standard_normal((batch, self.examples))
        return xs_BKD, (xs_BKD @ weights_BD[..., None])[..., 0] + noise_BK

    def _posterior_accuracy(self) -> float:
        """The accuracy of the posterior mean: 1 without noise where d pairs are known, else over drawn sequences."""
        if not self.noise and self.first >= self.dimensions:
            return 1.0
        drawn = max(8, min(DRAWN, MOST_NUMBERS // (self.examples * self.dimensions)))
        xs_BKD, _ = self._draw(np.random.default_rng([0, 1]), drawn)
        apart = 1 + self.examples // MOST_PLACES
        places = [self.first] if self.known else range(self.first, self.examples, apart)
        return float(np.mean([self._posterior_is_right(xs_BKD[:, : place + 1]) for place in places]))

    def _zero_is_right(self, places: int) -> float:
        """The probability that 0 is right at some places of one sequence: |w|^2 is chi-squared over d."""
        from scipy.special import erf, gammaincinv  # late: a list of tasks needs none of it

        share = (np.arange(QUANTILES) + 0.5) / QUANTILES
        squares = 2 * gammaincinv(self.dimensions / 2, share) / self.dimensions + self.noise**2
        return float((erf(self.tolerance / np.sqrt(2 * squares)) ** places).mean())

    def _posterior_is_right(self, xs_BKD: Numbers) -> float:
        """The probability that the posterior mean at the last vector is right, given the others."""
        from scipy.special import erf

        before, asked = xs_BKD[:, :-1], xs_BKD[:, -1, :, None]
        ridge = max(self.dimensions * self.noise**2, 1e-9) * np.eye(self.dimensions)
        solved = np.linalg.solve(before.swapaxes(1, 2) @ before + ridge, asked)
        explained = (before.swapaxes(1, 2) @ before) @ solved
        variance = ((asked - explained) * asked).sum((1, 2)) / self.dimensions + self.noise**2
        return float(erf(self.tolerance / np.sqrt(2 * np.maximum(variance, 1e-18))).mean())
