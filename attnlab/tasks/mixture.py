"""Mixture: several tasks learned at once, each sequence from one of them.

    inputs   <copy>  c.3  c.1  c.|  c.3   ·        <parity>  p.1  p.0  p.1  ·  ·
    targets    .      .    .   c.3  c.1   .           .      p.1  p.1  p.0  .  .

Each sequence belongs to one subtask, drawn with the subtask's weight, and begins with a token that names it (if
``token`` is set). Sequences shorter than the longest are padded at the end with positions that are not supervised.
Subtasks have separate token ids (disjoint alphabets) or share the lowest ids. A trained model is evaluated on the
mixture and on every subtask separately.

    level    the level of every subtask in its own ladder, 0 the easiest; a subtask with a given complexity, such as
             recall:pairs=8, keeps it
    count    the number of subtasks, counted from the first; the ladder mixture-tasks varies it

Source   ours; the multi-task setting of Gros, "Expressive attention", arXiv:2407.18601, is the motivation.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self, final

import numpy as np
from pydantic import Field

from attnlab.config.inline_parts import parse_part
from attnlab.config.renamed import MIXTURE
from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.tasks.base import IGNORE, TASKS, Batch, Split, Task, Tokens, register
from attnlab.tasks.io.buckets import batch_rows

PAD = "·"
COUNTING_SEQUENCES = 256
"""Sequences of each subtask from which its number of supervised positions is estimated."""


@register("mixture", aliases=MIXTURE, source="ours, after arXiv:2407.18601")
@final
class Mixture(Task):
    """Several tasks at once; each sequence belongs to one of them.

    Options:
        tasks: Ladders or tasks, with inline options.
        level: The level of each subtask's own ladder, 0 the easiest.
        count: Number of subtasks, counted from the first; null takes all.
        weights: Relative frequency of each subtask; equal if none are given.
        token: Whether a sequence begins with a token that names its subtask.
        alphabet: Whether subtasks have separate token ids (``disjoint``) or the same (``shared``).
    """

    complexity = "level"

    def __init__(
        self,
        *,
        tasks: Annotated[tuple[str | dict[str, Any], ...], Field(min_length=1)] = ("copy", "recall", "parity"),
        level: Annotated[int, Field(ge=0)] = 0,
        count: Annotated[int, Field(ge=1)] | None = None,
        weights: tuple[Annotated[float, Field(gt=0)], ...] = (),
        token: bool = True,
        alphabet: Literal["disjoint", "shared"] = "disjoint",
    ) -> None:
        count = count or len(tasks)
        if count > len(tasks):
            hint = f"Use a count of at most {len(tasks)}, or name more tasks."
            raise InvalidValueError(f"A count of {count} is more than the {len(tasks)} tasks.", hint, where="mixture")
        if weights and len(weights) != len(tasks):
            hint = "Give one weight for each task, or none."
            raise InvalidValueError(f"{len(weights)} weights are given for {len(tasks)} tasks.", hint, where="mixture")
        pinned = [pin(subtask) for subtask in tasks[:count]]
        self.names = _distinct([subtask["name"] for subtask in pinned])
        self.parts = [_build(subtask, level) for subtask in pinned]
        self.token, self.alphabet = token, alphabet
        if numbers := [name for name, task in zip(self.names, self.parts, strict=True) if task.features]:
            problem = f"Tokens of '{numbers[0]}' are numbers, and a mixture has one vocabulary of ids."
            raise InvalidValueError(problem, "Leave it out.", where="mixture")
        sizes = [task.vocabulary for task in self.parts]
        self.offsets = [0] * count if alphabet == "shared" else np.cumsum([0, *sizes[:-1]]).tolist()
        self.first_name_token = max(sizes) if alphabet == "shared" else sum(sizes)
        self.vocabulary = self.first_name_token + count * token + 1
        self.length = max(task.length for task in self.parts) + token
        shares = np.array(weights[:count] or [1.0] * count)
        self.splits_are_alike = all(task.splits_are_alike for task in self.parts)
        self._draw_with(shares / shares.sum())

    @classmethod
    def resolve_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Write out the ladders of the subtasks, so that a changed ladder is another run."""
        return {**options, "tasks": [pin(subtask) for subtask in options["tasks"]]}

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Draw the number of sequences of each subtask, then the sequences, subtask by subtask."""
        counts = random.multinomial(batch, self.shares).tolist()
        return self._joined(
            {index: self.parts[index].sample(random, rows) for index, rows in enumerate(counts) if rows}
        )

    def held_out(self, random: np.random.Generator, sequences: int, batch: int) -> Iterator[Batch] | None:
        """Take each sequence of a finite subtask once; None if no subtask is finite."""
        counts = random.multinomial(sequences, self.shares).tolist()
        finite = {index: self.parts[index].held_out(random, rows, batch) for index, rows in enumerate(counts) if rows}
        if all(batches is None for batches in finite.values()):
            return None

        def batches() -> Iterator[Batch]:
            for index, own in finite.items():
                task, rows = self.parts[index], counts[index]
                size = batch_rows(batch, task.length)
                drawn = (task.sample(random, min(size, rows - start)) for start in range(0, rows, size))
                yield from (self._joined({index: part}) for part in own or drawn)

        return batches()

    def _joined(self, drawn: Mapping[int, Batch]) -> Batch:
        """Sequences of the subtasks in the token ids of the mixture, padded to the longest."""
        width = self.token + max(part.inputs_BT.shape[1] for part in drawn.values())
        shape = sum(len(part.inputs_BT) for part in drawn.values()), width
        inputs_BT, targets_BT = np.full(shape, self.vocabulary - 1), np.full(shape, IGNORE)
        start = 0
        for index, part in drawn.items():
            rows, columns = part.inputs_BT.shape
            block = np.s_[start : start + rows, self.token : self.token + columns]
            inputs_BT[block] = part.inputs_BT + self.offsets[index]
            targets_BT[block] = np.where(part.targets_BT == IGNORE, IGNORE, part.targets_BT + self.offsets[index])
            if self.token:
                inputs_BT[start : start + rows, 0] = self.first_name_token + index
            start += rows
        return Batch(inputs_BT, targets_BT, self._accepted(drawn))

    def solve(self, tokens: Sequence[int]) -> list[int] | None:
        """Find the subtask from the first token and use its solver."""
        if not self.token and self.alphabet == "shared" and len(self.parts) > 1:
            return None
        index = tokens[0] - self.first_name_token if self.token else self._owner(tokens[0])
        own = [token - self.offsets[index] for token in tokens[self.token :] if token != self.vocabulary - 1]
        solved = self.parts[index].solve(own)
        if solved is None:
            return None
        targets = [target if target == IGNORE else target + self.offsets[index] for target in solved]
        return [IGNORE] * self.token + targets + [IGNORE] * (len(tokens) - self.token - len(own))

    @cached_property
    def chance(self) -> float:
        """Mean of the chance accuracies of the subtasks over their supervised positions."""
        return float(sum(task.chance * share for task, share in self._answer_shares()))

    @cached_property
    def exact_match_chance(self) -> float:
        """Mean of the subtasks' chance of an exact match over the sequences."""
        used = zip(self.parts, self.shares.tolist(), strict=True)
        return float(sum(task.exact_match_chance * share for task, share in used if share))

    def chance_baseline(self, random: np.random.Generator, batch: Batch) -> Tokens | None:
        """With a single subtask, its own baseline in the token ids of the mixture; otherwise None."""
        drawn = np.flatnonzero(self.shares).tolist()
        if len(drawn) > 1:
            return None
        index, start = drawn[0], int(self.token)
        inputs_BT, targets_BT = (tokens_BT[:, start:] - self.offsets[index] for tokens_BT in batch[:2])
        targets_BT = np.where(batch.targets_BT[:, start:] == IGNORE, IGNORE, targets_BT)
        predictions = self.parts[index].chance_baseline(random, Batch(inputs_BT, targets_BT))
        return None if predictions is None else predictions + self.offsets[index]

    def for_split(self, split: Split) -> Self:
        """Return the mixture with every subtask for that split."""
        split_task = copy.copy(self)
        split_task.parts = [task.for_split(split) for task in self.parts]
        return split_task

    def subtasks(self) -> Mapping[str, Task]:
        """The mixture restricted to each subtask, by name."""
        return {name: self._alone(index) for index, name in enumerate(self.names)}

    def subtask_of(self, batch: Batch) -> Tokens:
        """Read the subtask off the first token: the one that names it, or one of its own alphabet."""
        first_B = batch.inputs_BT[:, 0]
        if len(drawn := np.flatnonzero(self.shares)) == 1:
            return np.full_like(first_B, drawn[0])
        if self.token:
            return first_B - self.first_name_token
        if self.alphabet == "shared":
            problem = "Without a token that names it, and in a shared alphabet, no sequence tells its subtask."
            raise InvalidValueError(problem, "Use token=true, or alphabet=disjoint.", where="mixture")
        return np.searchsorted(self.offsets, first_B, side="right") - 1

    def token_to_str(self, token: int) -> str:
        """Tokens with an abbreviation of their subtask's name; shared ones as numbers."""
        if token == self.vocabulary - 1:
            return PAD
        if token >= self.first_name_token:
            return f"<{self.names[token - self.first_name_token]}>"
        if self.alphabet == "shared":
            return str(token)
        index = self._owner(token)
        return f"{_short(self.names, index)}.{self.parts[index].token_to_str(token - self.offsets[index])}"

    def _alone(self, index: int) -> Self:
        """Return a copy that draws one subtask only."""
        alone = copy.copy(self)
        alone._draw_with(np.eye(len(self.parts))[index])
        alone.length = self.parts[index].length + self.token
        alone.scorers = self.parts[index].scorers
        alone.intended_shortcut, alone.has_rows = self.parts[index].intended_shortcut, self.parts[index].has_rows
        return alone

    def _draw_with(self, shares: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        """Set the shares of the subtasks; the best accuracy is the mean over their supervised positions."""
        self.shares = shares
        for derived in ("chance", "exact_match_chance"):
            vars(self).pop(derived, None)
        self.best_accuracy = float(sum(task.best_accuracy * share for task, share in self._answer_shares()))

    def _answer_shares(self) -> list[tuple[Task, float]]:
        """The subtasks that are drawn, each with its share of the supervised positions."""
        shares = self.shares
        positions = np.array(
            [_supervised_positions(task) if share else 0.0 for task, share in zip(self.parts, shares, strict=True)]
        )
        weight = positions * shares / (positions * shares).sum()
        return [(task, float(share)) for task, share in zip(self.parts, weight, strict=True) if share]

    def _owner(self, token: int) -> int:
        """Return the index of the subtask that a token belongs to, with disjoint alphabets."""
        return max(index for index, offset in enumerate(self.offsets) if token >= offset)

    def _accepted(self, drawn: Mapping[int, Batch]) -> Tokens | None:
        """Join the accepted tokens of all subtasks, in the order of the rows; None if every position accepts one."""
        if all(part.accepted_NW is None for part in drawn.values()):
            return None
        accepted = []
        for index, part in drawn.items():
            own = part.query_targets()[:, None] if part.accepted_NW is None else part.accepted_NW
            accepted.append(np.where(own == IGNORE, IGNORE, own + self.offsets[index]))
        width = max(own.shape[1] for own in accepted)
        return np.concatenate(
            [np.pad(own, ((0, 0), (0, width - own.shape[1])), constant_values=IGNORE) for own in accepted]
        )


def pin(subtask: str | Mapping[str, Any]) -> dict[str, Any]:
    """Write out the ladder of a subtask.

    Args:
        subtask: A ladder or task with inline options, or the result of an earlier call.

    Returns:
        Name, task, version and code, complexity, levels and fixed options.

    Raises:
        UnknownNameError: Neither a ladder nor a task has the name, or the task has no such option.
        InvalidValueError: The task does not accept a value, or the subtask is itself a mixture.
    """
    from attnlab.tasks.io.ladders import find_ladder, task_spec

    if isinstance(subtask, Mapping):
        return dict(subtask)
    part = parse_part(subtask)
    ladder = find_ladder(part.name)
    if ladder.task == "mixture":
        raise InvalidValueError(
            "A mixture cannot be a subtask of a mixture.", "List its tasks instead.", where=f"mixture: {subtask}"
        )
    spec = task_spec(ladder, part.options, None)
    levels = [spec.level] if ladder.complexity in part.options else list(ladder.levels)
    code = {"code_digest": spec.code_digest} if spec.code_digest else {}
    return {
        **code,
        "name": ladder.name,
        "task": spec.name,
        "version": spec.version,
        "complexity": spec.complexity,
        "levels": levels,
        "options": {name: value for name, value in spec.options.items() if name != spec.complexity},
    }


def _build(subtask: Mapping[str, Any], level: int) -> Task:
    """Build a subtask at its level.

    Raises:
        InvalidValueError: Its ladder has no such level.
    """
    levels, name = subtask["levels"], subtask["name"]
    if len(levels) > 1 and level >= len(levels):
        hint = (
            f"Its levels are 0 to {len(levels) - 1}; write {name}:{subtask['complexity']}=... to keep it at one level."
        )
        raise InvalidValueError(f"{name} has no level {level}.", hint, where="mixture")
    entry = TASKS.entry(subtask["task"])
    own_level = levels[min(level, len(levels) - 1)]
    try:
        return entry.cls(**entry.complete({**subtask["options"], subtask["complexity"]: own_level}))
    except AttnlabError as error:
        raise error.at(f"mixture: {name}") from None


def _supervised_positions(task: Task) -> float:
    """Estimate the mean number of supervised positions of a sequence."""
    batch = task.for_split(Split.TRAIN).sample(np.random.default_rng(0), COUNTING_SEQUENCES)
    return float((batch.targets_BT != IGNORE).sum() / COUNTING_SEQUENCES)


def _distinct(names: Sequence[str]) -> list[str]:
    """Make names distinct: the second of the same name becomes name-2."""
    return [f"{name}-{names[:i].count(name) + 1}" if name in names[:i] else name for i, name in enumerate(names)]


def _short(names: Sequence[str], index: int) -> str:
    """Return the shortest prefix of a name that no other name has."""
    name, others = names[index], [*names[:index], *names[index + 1 :]]
    unique = (name[:size] for size in range(1, len(name)) if not any(other.startswith(name[:size]) for other in others))
    return next(unique, name)
