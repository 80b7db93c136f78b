"""Regular languages in context: which letter may come next?

    inputs   |  b  a  c  |  b  a  |  d        strings of one automaton
    answers  b  a  c  .  b  a  .  d  .        right: whatever it allows

Each sequence holds strings of an automaton of its own, drawn letter by letter, uniform over the letters that its state
allows. From each state lead 1 .. ``edges`` edges with different letters, to states that are uniform; every state
accepts, the first one starts. Kept are the automata that are minimal: every state is reached, and no two of them allow
the same strings. All automata of training, validation and test are different languages. A string has 1 .. ``longest``
letters, all as likely; the last one is cut off where the sequence ends.

A letter is due wherever one follows. The one that followed is what a model is trained on; every letter that the state
allows is accepted. The end of a string is never asked: it is possible everywhere. Chance is a uniform guess over the
letters, exact for the automata of the test. The best guess that looks at everything is below 1, since the automaton
must first be seen; how good it is we do not know, so that the ceiling is nan.

Source   Akyürek et al., "In-context language learning", arXiv:2401.12973 (RegBench), and its code.
Theirs   4 .. 12 states, 1 .. 3 edges, 18 letters, 10 .. 20 strings of 1 .. 49 letters; 5000 and 500 automata.
Differs  all automata of a task have as many states, and as many letters as states if nothing else is said; sequences
         have one length instead of a number of strings; validity is scored without the separator.
"""

from __future__ import annotations

import copy
from typing import Annotated, Self, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.tasks.base import IGNORE, Batch, Split, Task, Tokens, no_targets, register
from attnlab.tasks.ops.automata import minimal_automata

HELD_OUT = 500
"""Automata of the validation stream, and as many of the test stream."""


@register("regular", source="arXiv:2401.12973", aliases=("regbench",))
@final
class Regular(Task):
    """Given strings of an unknown automaton, continue with a letter that it allows.

    Options:
        states: States of each automaton.
        letters: Letters that label its edges; as many as states if none are given.
        edges: Edges that leave a state, at most.
        longest: Letters of a string, at most.
        length: Tokens of a sequence.
        automata: Automata of the training stream.
    """

    complexity = "states"
    cheap_to_build = False
    best_accuracy = float("nan")

    def __init__(
        self,
        *,
        states: Annotated[int, Field(ge=2, le=16)] = 4,
        letters: Annotated[int, Field(ge=2)] | None = None,
        edges: Annotated[int, Field(ge=1)] = 3,
        longest: Annotated[int, Field(ge=1)] = 12,
        length: Annotated[int, Field(ge=1)] = 64,
        automata: Annotated[int, Field(ge=1)] = 5000,
    ) -> None:
        self.letters = letters or states
        if edges > self.letters:
            result = f"{edges} edges of a state need {edges} different letters, more than {self.letters}."
            raise InvalidValueError(result, f"Use at most {self.letters} edges.", where="regular")
        self.length, self.longest, self.automata = length, longest, automata
        self.vocabulary = self.letters + 1
        self.pool = minimal_automata(states, self.letters, edges, automata + 2 * HELD_OUT)
        """For each automaton where each letter leads from each state, -1 where it is not allowed."""
        allowed = np.sort(np.where(self.pool >= 0, np.arange(self.letters), self.letters), axis=2)[:, :, :edges]
        self.allowed = np.where(allowed < self.letters, allowed, IGNORE)
        """The letters that each state allows, padded with IGNORE."""
        self.first, self.last = 0, automata
        self.chance = self._allowed_on_average(self.pool[-HELD_OUT:]) / self.letters

    def for_split(self, split: Split) -> Self:
        """The task with the automata of that stream alone."""
        split_task = copy.copy(self)
        if split in (Split.VALIDATION, Split.TEST):
            split_task.first = self.automata + (HELD_OUT if split is Split.TEST else 0)
            split_task.last = split_task.first + HELD_OUT
        return split_task

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """All sequences at once, token by token: a letter that the state allows, or the separator after a string."""
        chosen = random.integers(self.first, self.last, batch)
        luck = random.random((batch, self.length))
        lengths = random.integers(1, self.longest + 1, (batch, self.length))
        pool, allowed = self.pool[chosen], self.allowed[chosen]
        degrees = (allowed != IGNORE).sum(axis=2)
        rows, state = np.arange(batch), np.zeros(batch, dtype=np.int64)
        left = lengths[:, 0]
        tokens = np.full((batch, self.length + 1), self.letters)
        accepted = np.full((batch, self.length, allowed.shape[2]), IGNORE)
        for place in range(self.length):
            pick = (luck[:, place] * degrees[rows, state]).astype(np.int64)
            letter = allowed[rows, state, pick]
            goes_on = left > 0
            tokens[:, place + 1] = np.where(goes_on, letter, self.letters)
            accepted[:, place] = allowed[rows, state]
            state = np.where(goes_on, pool[rows, state, letter], 0)
            left = np.where(goes_on, left - 1, lengths[:, place])
        following = tokens[:, 1:]
        targets_BT = no_targets(following)
        targets = following < self.letters
        targets_BT[targets] = following[targets]
        return Batch(tokens[:, :-1], targets_BT, accepted[targets])

    def _allowed_on_average(self, pool: Tokens) -> float:
        """How many letters some automata allow on average where one is due."""
        moves = np.stack([(pool == state).sum(axis=2) for state in range(pool.shape[1])], axis=2)
        degrees = moves.sum(axis=2)
        share = np.zeros(moves.shape[:2])
        share[:, 0] = 1
        allowed = np.empty(self.longest)
        for step in range(self.longest):
            allowed[step] = (share * degrees).sum(axis=1).mean()
            share = np.einsum("as,ast->at", share / degrees, moves)
        # How often each step of a string is due: walked over the tokens, as strings end and begin anew.
        goes_on = 1 - 1 / np.arange(self.longest, 0, -1)
        at, targets, resting = np.eye(1, self.longest)[0], np.zeros(self.longest), 0.0
        for _ in range(self.length):
            targets += at
            ended = at @ (1 - goes_on)
            at = np.concatenate([[resting], (at * goes_on)[:-1]])
            resting = ended
        return float(targets @ allowed / targets.sum())

    def token_to_str(self, token: int) -> str:
        """Letters a .. z, then numbered; a bar for the separator."""
        if token == self.letters:
            return "|"
        return chr(ord("a") + token) if token < 26 else f"a{token}"
