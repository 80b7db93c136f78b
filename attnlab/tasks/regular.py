"""Regular languages in context: predict a letter that may come next.

    inputs   |  b  a  c  |  b  a  |  d        strings of one automaton
    targets  b  a  c  .  b  a  .  d  .        correct: any letter that it allows

Each sequence has strings of its own automaton. They are drawn letter by letter, uniform over the letters that the state
allows. Each state has 1 .. ``edges`` edges with different letters. They lead to different states other than itself,
uniformly; with ``targets: uniform`` each leads to any state, so that an edge may lead back to its own state and two may
lead to one. Every state accepts, and the first state starts. Only minimal automata are kept: every state is reached,
and no two states allow the same strings. All automata of training, validation and test are different languages. A
string has 1 .. ``longest`` letters, uniform; the last string is cut off at the end of the sequence.

A position has a target wherever a letter follows. Training uses the letter that followed; every letter that the state
allows counts as correct. The end of a string is never a target, since it is possible everywhere. Chance is a guess
among the letters so far, at least a uniform one, exact for the automata of the test. The best achievable accuracy is
below 1, since the automaton must first be inferred; its value is not known, so that ``best_accuracy`` is nan.

Source   Akyürek et al., "In-context language learning", arXiv:2401.12973 (RegBench), and its code.
Theirs   4 .. 12 states, 1 .. 3 edges, 18 letters, 10 .. 20 strings of 1 .. 49 letters; 5000 and 500 automata.
Differs  all automata of a task have the same number of states, and as many letters as states unless set; an automaton
         with states that are not reached or not different is drawn again, where theirs goes on with what remains of
         it; sequences have one length instead of a number of strings; accuracy is measured without the separator.
"""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Annotated, Self, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.sizes import MAX_STEPS
from attnlab.tasks.base import IGNORE, Batch, Split, Task, Tokens, no_targets, register
from attnlab.tasks.ops.automata import Targets, minimal_automata
from attnlab.tasks.ops.chance import draw_samples

HELD_OUT = 500
"""Automata of the validation split; the test split has the same number."""

MAX_AUTOMATA, MAX_NUMBERS = 20_000, 2**24
"""The most automata of the training split; and the most next states, of all of them, their states and letters."""


@register("regular", source="arXiv:2401.12973", aliases=("regbench",), version=2)
@final
class Regular(Task):
    """Given strings of an unknown automaton, continue with a letter that it allows.

    Options:
        states: States of each automaton.
        letters: Letters that label its edges; None takes as many as states.
        edges: Largest number of edges that leave a state.
        targets: Where the edges of a state lead: ``distinct``, to different states other than itself, as in RegBench;
            ``uniform``, to any states.
        longest: Largest number of letters of a string.
        length: Tokens of a sequence.
        automata: Automata of the training split.
    """

    complexity = "states"
    max_length = MAX_STEPS
    cheap_to_build = False
    best_accuracy = float("nan")

    def __init__(
        self,
        *,
        states: Annotated[int, Field(ge=2, le=16)] = 4,
        letters: Annotated[int, Field(ge=2, le=256)] | None = None,
        edges: Annotated[int, Field(ge=1)] = 3,
        targets: Targets = "distinct",
        longest: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 12,
        length: Annotated[int, Field(ge=1)] = 64,
        automata: Annotated[int, Field(ge=1, le=MAX_AUTOMATA)] = 5000,
    ) -> None:
        self.letters = letters or states
        if edges > self.letters:
            problem = f"{edges} edges of a state need {edges} different letters, more than {self.letters}."
            raise InvalidValueError(problem, f"Use at most {self.letters} edges.", where="regular")
        if targets == "distinct" and edges >= states:
            problem = f"{edges} edges of a state lead to {edges} different other states, more than {states - 1}."
            hint = f"Use at most {states - 1} edges, at least {edges + 1} states, or targets=uniform."
            raise InvalidValueError(problem, hint, where="regular")
        if (numbers := automata * states * self.letters) > MAX_NUMBERS:
            problem = f"{automata:,} automata of {states} states and {self.letters} letters are {numbers:,} numbers."
            hint = f"Use at most {MAX_NUMBERS // (states * self.letters):,} automata, or fewer letters."
            raise InvalidValueError(problem, hint, where="regular")
        self.length, self.longest, self.automata = length, longest, automata
        self.vocabulary = self.letters + 1
        self.pool = minimal_automata(states, self.letters, edges, automata + 2 * HELD_OUT, targets)
        """For each automaton the next state of each state and letter, -1 where the letter is not allowed."""
        allowed = np.sort(np.where(self.pool >= 0, np.arange(self.letters), self.letters), axis=2)[:, :, :edges]
        self.allowed = np.where(allowed < self.letters, allowed, IGNORE)
        """The letters that each state allows, padded with IGNORE."""
        self.first, self.last = 0, automata

    @cached_property
    def chance(self) -> float:
        """That of the best blind guess; at least that of a uniform letter, exactly for the automata of the test."""
        return max(super().chance, self.uniform_accuracy)

    @cached_property
    def uniform_accuracy(self) -> float:
        """Accuracy of a uniform letter, exactly for the automata of the test."""
        return self._mean_allowed(self.pool[-HELD_OUT:]) / self.letters

    def chance_samples(self) -> tuple[Batch, Batch, Batch]:
        """Sequences of the automata of the test: training may have few automata, which a guess could fit."""
        return draw_samples(self, Split.TEST)

    def for_split(self, split: Split) -> Self:
        """The task with the automata of that split alone."""
        split_task = copy.copy(self)
        if split in (Split.VALIDATION, Split.TEST):
            split_task.first = self.automata + (HELD_OUT if split is Split.TEST else 0)
            split_task.last = split_task.first + HELD_OUT
        return split_task

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw all sequences token by token: a letter that the state allows, or the separator after a string."""
        chosen = random.integers(self.first, self.last, batch)
        uniform = random.random((batch, self.length))
        lengths = random.integers(1, self.longest + 1, (batch, self.length))
        pool, allowed = self.pool[chosen], self.allowed[chosen]
        degrees = (allowed != IGNORE).sum(axis=2)
        rows, state = np.arange(batch), np.zeros(batch, dtype=np.int64)
        remaining = lengths[:, 0]
        tokens = np.full((batch, self.length + 1), self.letters)
        accepted = np.full((batch, self.length, allowed.shape[2]), IGNORE)
        for position in range(self.length):
            pick = (uniform[:, position] * degrees[rows, state]).astype(np.int64)
            letter = allowed[rows, state, pick]
            goes_on = remaining > 0
            tokens[:, position + 1] = np.where(goes_on, letter, self.letters)
            accepted[:, position] = allowed[rows, state]
            state = np.where(goes_on, pool[rows, state, letter], 0)
            remaining = np.where(goes_on, remaining - 1, lengths[:, position])
        following = tokens[:, 1:]
        targets_BT = no_targets(following)
        supervised = following < self.letters
        targets_BT[supervised] = following[supervised]
        return Batch(tokens[:, :-1], targets_BT, accepted[supervised])

    def _mean_allowed(self, pool: Tokens) -> float:
        """Mean number of letters that these automata allow at the supervised positions."""
        moves = np.stack([(pool == state).sum(axis=2) for state in range(pool.shape[1])], axis=2)
        degrees = moves.sum(axis=2)
        probabilities = np.zeros(moves.shape[:2])
        probabilities[:, 0] = 1
        allowed = np.empty(self.longest)
        for step in range(self.longest):
            allowed[step] = (probabilities * degrees).sum(axis=1).mean()
            probabilities = np.einsum("as,ast->at", probabilities / degrees, moves)
        # How often each step of a string is supervised, summed over the tokens, as strings end and begin again.
        goes_on = 1 - 1 / np.arange(self.longest, 0, -1)
        active, supervised, separator = np.eye(1, self.longest)[0], np.zeros(self.longest), 0.0
        for _ in range(self.length):
            supervised += active
            ended = active @ (1 - goes_on)
            active = np.concatenate([[separator], (active * goes_on)[:-1]])
            separator = ended
        return float(supervised @ allowed / supervised.sum())

    def token_to_str(self, token: int) -> str:
        """Letters a .. z, then numbered; a bar for the separator."""
        if token == self.letters:
            return "|"
        return chr(ord("a") + token) if token < 26 else f"a{token}"
