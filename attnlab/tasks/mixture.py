"""Mixture: several tasks in one stream, learned at once.

    inputs   <copy>  c.3  c.1  c.|  c.3   ·        <parity>  p.1  p.0  p.1  ·  ·
    targets    .      .    .   c.3  c.1   .           .      p.1  p.1  p.0  .  .

Each sequence belongs to one subtask, drawn with the subtask's weight, and begins with a token that names it (where
``token`` is set). Sequences shorter than the longest are padded at the end, where nothing is asked. Subtasks keep their
own tokens (disjoint alphabets), or all use the same low ids (shared). A trained model is scored on the whole and on
every subtask by itself.

    level    all subtasks move together: each is at that level of its own ladder, 0 the easiest; a subtask whose
             complexity is given, as recall:pairs=8, stays where it is
    count    how many of the subtasks take part, counted from the first; the ladder mixture-tasks varies this

Source   ours; the multi-task setting of Gros, "Expressive attention", arXiv:2407.18601, gave the question.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, final

import numpy as np
from pydantic import Field

from attnlab.config.inline_parts import parse_part
from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.tasks.base import IGNORE, TASKS, Batch, Split, Task, Tokens, register

PAD = "·"
PROBE = 256
"""Sequences of each subtask by which its questions are counted."""


@register("mixture", aliases=("medley",), source="ours, after arXiv:2407.18601")
@final
class Mixture(Task):
    """Several tasks in one stream, each sequence of one of them.

    Options:
        tasks: Ladders or tasks, with inline options.
        level: The level of each subtask's own ladder, 0 the easiest.
        count: How many of the subtasks take part; null takes all.
        weights: How often each is drawn; none draws all alike.
        token: Whether a sequence begins with the name of its task.
        alphabet: Whether subtasks have tokens of their own.
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
        self.parts = [_built(subtask, level) for subtask in pinned]
        self.token, self.alphabet = token, alphabet
        sizes = [task.vocabulary for task in self.parts]
        self.offsets = [0] * count if alphabet == "shared" else np.cumsum([0, *sizes[:-1]]).tolist()
        self.first_name = max(sizes) if alphabet == "shared" else sum(sizes)
        self.vocabulary = self.first_name + count * token + 1
        self.length = max(task.length for task in self.parts) + token
        shares = np.array(weights[:count] or [1.0] * count)
        self._draw_with(shares / shares.sum())

    @classmethod
    def resolve_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        """The members' ladders are written out, so that a changed ladder is another run."""
        return {**options, "tasks": [pin(subtask) for subtask in options["tasks"]]}

    def sample(self, random: np.random.Generator, batch: int) -> Batch:
        """Sequences of every member that is drawn, one member after the other."""
        counts = random.multinomial(batch, self.shares).tolist()
        drawn = {index: self.parts[index].sample(random, rows) for index, rows in enumerate(counts) if rows}
        width = self.token + max(part.inputs_BT.shape[1] for part in drawn.values())
        inputs_BT = np.full((batch, width), self.vocabulary - 1)
        targets_BT = np.full((batch, width), IGNORE)
        start = 0
        for index, part in drawn.items():
            rows, columns = part.inputs_BT.shape
            place = np.s_[start : start + rows, self.token : self.token + columns]
            inputs_BT[place] = part.inputs_BT + self.offsets[index]
            targets_BT[place] = np.where(part.targets_BT == IGNORE, IGNORE, part.targets_BT + self.offsets[index])
            if self.token:
                inputs_BT[start : start + rows, 0] = self.first_name + index
            start += rows
        return Batch(inputs_BT, targets_BT, self._accepted(drawn))

    def solve(self, tokens: Sequence[int]) -> list[int] | None:
        """The subtask is known by the first token; what it answers is the subtask's own rule."""
        if not self.token and self.alphabet == "shared" and len(self.parts) > 1:
            return None
        index = tokens[0] - self.first_name if self.token else self._owner(tokens[0])
        own = [token - self.offsets[index] for token in tokens[self.token :] if token != self.vocabulary - 1]
        words = self.parts[index].solve(own)
        if words is None:
            return None
        answers = [answer if answer == IGNORE else answer + self.offsets[index] for answer in words]
        return [IGNORE] * self.token + answers + [IGNORE] * (len(tokens) - self.token - len(own))

    def chance_baseline(self, random: np.random.Generator, batch: Batch) -> Tokens | None:
        """Where there is one subtask only, its own guess in this one's token ids."""
        drawn = np.flatnonzero(self.shares).tolist()
        if len(drawn) > 1:
            return None
        index, start = drawn[0], int(self.token)
        inputs_BT, targets_BT = (tokens_BT[:, start:] - self.offsets[index] for tokens_BT in batch[:2])
        targets_BT = np.where(batch.targets_BT[:, start:] == IGNORE, IGNORE, targets_BT)
        predictions = self.parts[index].chance_baseline(random, Batch(inputs_BT, targets_BT))
        return None if predictions is None else predictions + self.offsets[index]

    def for_split(self, split: Split) -> Self:
        """Every subtask faces that stream."""
        split_task = copy.copy(self)
        split_task.parts = [task.for_split(split) for task in self.parts]
        return split_task

    def subtasks(self) -> Mapping[str, Task]:
        """The same sequences, of one subtask each."""
        return {name: self._alone(index) for index, name in enumerate(self.names)}

    def token_to_str(self, token: int) -> str:
        """Tokens with the name of their task; shared ones as numbers."""
        if token == self.vocabulary - 1:
            return PAD
        if token >= self.first_name:
            return f"<{self.names[token - self.first_name]}>"
        if self.alphabet == "shared":
            return str(token)
        index = self._owner(token)
        return f"{_short(self.names, index)}.{self.parts[index].token_to_str(token - self.offsets[index])}"

    def _alone(self, index: int) -> Self:
        alone = copy.copy(self)
        alone._draw_with(np.eye(len(self.parts))[index])
        alone.length = self.parts[index].length + self.token
        alone.intended_shortcut = self.parts[index].intended_shortcut
        return alone

    def _draw_with(self, shares: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        """Draw subtasks with these shares; chance and ceiling follow from who asks how much."""
        self.shares = shares
        positions = np.array(
            [_questions(task) if share else 0.0 for task, share in zip(self.parts, shares, strict=True)]
        )
        weight = positions * shares / (positions * shares).sum()
        used = [(task, share) for task, share in zip(self.parts, weight, strict=True) if share]
        self.chance = float(sum(task.chance * share for task, share in used))
        self.best_accuracy = float(sum(task.best_accuracy * share for task, share in used))

    def _owner(self, token: int) -> int:
        return max(index for index, offset in enumerate(self.offsets) if token >= offset)

    def _accepted(self, drawn: Mapping[int, Batch]) -> Tokens | None:
        """All right answers of the subtasks that accept several, and the one of the others, in the order of the rows."""
        if all(part.accepted_NW is None for part in drawn.values()):
            return None
        listed = []
        for index, part in drawn.items():
            due = part.targets_BT[part.targets_BT != IGNORE][:, None]
            own = due if part.accepted_NW is None else part.accepted_NW
            listed.append(np.where(own == IGNORE, IGNORE, own + self.offsets[index]))
        width = max(own.shape[1] for own in listed)
        return np.concatenate(
            [np.pad(own, ((0, 0), (0, width - own.shape[1])), constant_values=IGNORE) for own in listed]
        )


def pin(subtask: str | Mapping[str, Any]) -> dict[str, Any]:
    """A subtask with its ladder written out: name, task, version, complexity, levels and fixed options.

    Raises:
        UnknownNameError: neither a ladder nor a task, or no option of it.
        InvalidValueError: a value its task does not accept; a mixture as a subtask of a mixture.
    """
    from attnlab.tasks.io.ladders import find_ladder, task_spec

    if isinstance(subtask, Mapping):
        return dict(subtask)
    part = parse_part(subtask)
    ladder = find_ladder(part.name)
    if ladder.task == "mixture":
        raise InvalidValueError(
            "A mixture cannot be a subtask of a mixture.", "Name its tasks.", where=f"mixture: {subtask}"
        )
    spec = task_spec(ladder, part.options, None)
    levels = [spec.level] if ladder.complexity in part.options else list(ladder.levels)
    return {
        "name": ladder.name,
        "task": spec.name,
        "version": spec.version,
        "complexity": spec.complexity,
        "levels": levels,
        "options": {name: value for name, value in spec.options.items() if name != spec.complexity},
    }


def _built(subtask: Mapping[str, Any], level: int) -> Task:
    """A subtask at its level.

    Raises:
        InvalidValueError: its ladder has no such level.
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


def _questions(task: Task) -> float:
    """Questions of a sequence, on average."""
    batch = task.for_split(Split.TRAIN).sample(np.random.default_rng(0), PROBE)
    return float((batch.targets_BT != IGNORE).sum() / PROBE)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names, the second of its kind called name-2."""
    return [f"{name}-{names[:i].count(name) + 1}" if name in names[:i] else name for i, name in enumerate(names)]


def _short(names: Sequence[str], index: int) -> str:
    """As few first letters of a name as tell it from the others."""
    name, others = names[index], [*names[:index], *names[index + 1 :]]
    fit = (name[:size] for size in range(1, len(name)) if not any(other.startswith(name[:size]) for other in others))
    return next(fit, name)
