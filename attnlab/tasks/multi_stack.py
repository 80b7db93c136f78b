"""Many stacks at once: push values on named stacks, and predict what each pop gives.

    inputs   push s0 v3  push s1 v1  push s0 v2  pop s0 v2  pop s1 v1  pop s0
    targets  .    .  .   .    .  .   .    .  .   .   v2 .   .   v1 .   .   v3

An operation is push or pop, a stack, and a value: the one that is pushed, or the one that pop takes from the top, which
is the target at the name of the stack. Push and pop are equally likely. A pop is from a uniform one of the stacks that
hold something; where none does, the operation is a push. Stacks and values of pushes are uniform. The last operation is
a pop, whose value is a target and no input; the one before it leaves a stack that holds something.

Chance is the best blind guess among the values.

Source   Kimi Team, "Kimi Linear", arXiv:2510.26692: the stack task of its synthetic tests.
Theirs   64 stacks; lengths 256 .. 2048.
Differs  how operations and stacks are drawn; we do not know theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, final

import numpy as np
from pydantic import Field

from attnlab.errors import InvalidValueError
from attnlab.sizes import MAX_STEPS
from attnlab.tasks.base import IGNORE, Batch, Task, register

PUSH, POP = 0, 1
"""Ids of the operations; stacks follow, then values."""

MAX_NUMBERS = 2**17
"""The most random numbers of a sequence: each operation draws one for every stack, of which it takes the highest."""


@register("multi-stack", source="arXiv:2510.26692")
@final
class MultiStack(Task):
    """Given pushes on many stacks, predict the value that each pop takes from the top of a stack.

    Options:
        operations: Pushes and pops of a sequence.
        stacks: Number of stacks.
        values: Values to draw from.
    """

    complexity = "operations"
    max_length = 4 * MAX_STEPS

    def __init__(
        self,
        *,
        operations: Annotated[int, Field(ge=2)] = 16,
        stacks: Annotated[int, Field(ge=1, le=256)] = 4,
        values: Annotated[int, Field(ge=2)] = 16,
    ) -> None:
        if operations * stacks > MAX_NUMBERS:
            problem = f"{operations:,} operations on {stacks:,} stacks need {operations * stacks:,} random numbers."
            hint = f"Use at most {max(1, MAX_NUMBERS // operations):,} stacks, or fewer operations."
            raise InvalidValueError(problem, hint, where="multi-stack")
        self.operations, self.stacks = operations, stacks
        self.first_stack, self.first_value = POP + 1, POP + 1 + stacks
        self.vocabulary = self.first_value + values
        self.values = values
        self.length = 3 * operations - 1

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw operations one by one; the top of a stack is the number of the push that holds it."""
        shape, rows = (batch, self.operations), np.arange(batch)
        wants_pop = random.integers(0, 2, shape) == POP
        stack_BO = random.integers(0, self.stacks, shape)
        values_BO = random.integers(0, self.values, shape)
        luck = random.random((*shape, self.stacks))
        top = np.full((batch, self.stacks), -1)
        below_BO = np.full(shape, -1)
        held = np.zeros(batch, dtype=np.int64)
        is_pop_BO = np.zeros(shape, dtype=np.bool_)
        for index in range(self.operations):
            last = index == self.operations - 1
            needed = 2 if index == self.operations - 2 else 1
            pops = (wants_pop[:, index] | last) & (held >= needed)
            holding = np.where(top >= 0, luck[:, index], -1.0).argmax(axis=1)
            stack = np.where(pops, holding, stack_BO[:, index])
            former = top[rows, stack]
            values_BO[:, index] = np.where(pops, values_BO[rows, former], values_BO[:, index])
            below_BO[:, index] = former
            top[rows, stack] = np.where(pops, below_BO[rows, former], index)
            held += np.where(pops, -1, 1)
            stack_BO[:, index], is_pop_BO[:, index] = stack, pops
        names = np.where(is_pop_BO, POP, PUSH), self.first_stack + stack_BO, self.first_value + values_BO
        tokens = np.stack(names, axis=2)
        targets = np.full_like(tokens, IGNORE)
        targets[:, :, 1] = np.where(is_pop_BO, tokens[:, :, 2], IGNORE)
        return Batch(tokens.reshape(batch, -1)[:, :-1], targets.reshape(batch, -1)[:, :-1])

    def solve(self, tokens: Sequence[int]) -> list[int]:
        """Play the operations on lists."""
        stacks: dict[int, list[int]] = {}
        targets = []
        for start in range(0, len(tokens), 3):
            stack = stacks.setdefault(tokens[start + 1], [])
            if tokens[start] == POP:
                targets += [IGNORE, stack.pop(), IGNORE]
            else:
                targets += [IGNORE] * 3
                stack.append(tokens[start + 2])
        return targets[: len(tokens)]

    def token_to_str(self, token: int) -> str:
        """The operations by name, stacks as s0, s1, ..., values as v0, v1, ..."""
        if token < self.first_stack:
            return "pop" if token == POP else "push"
        return f"s{token - self.first_stack}" if token < self.first_value else f"v{token - self.first_value}"
