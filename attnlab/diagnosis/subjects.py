"""What a diagnosis looks at: models, each beside the sequences it is shown, in float64.

Fresh variants are built once for every seed and shown the validation stream of a task, or noise. A finished run is
built from its record, given the weights it learned, and shown its own validation stream.

Letters  B batch, T tokens, D width, N supervised positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attnlab.config.inline_parts import merged, part, variants
from attnlab.config.yaml import scalar
from attnlab.diagnosis._gain_control import turned_up
from attnlab.errors import BadValue, unknown
from attnlab.experiments.plan import SECTIONS, Known
from attnlab.experiments.request import Variant
from attnlab.model.transformer import Answer, Transformer, build
from attnlab.specs import ModelSpec, Part, TaskSpec
from attnlab.tasks import Stream
from attnlab.tasks.base import TASKS, Batch
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source, generator
from attnlab.tensors import Trace
from attnlab.training.scoring import asked, due

NOISE = 32
"""Tokens of a sequence of noise, unless told otherwise."""


class Shown(NamedTuple):
    """Sequences, what is asked of them, and the answers."""

    asked_N: Tensor
    due_N: Tensor
    inputs_BT: Tensor | None = None
    stream_BTD: Tensor | None = None
    """Noise in the place of embedded tokens."""


@dataclass(frozen=True)
class Exhibit:
    """One model and its sequences; all exhibits of one variant differ by their seed."""

    variant: str
    model: Transformer
    batches: Callable[[int], Shown]
    """What it is shown, by number."""

    def answer(self, index: int = 0, *, trace: bool = False) -> Answer:
        """What the model says of its sequences."""
        shown = self.batches(index)
        if shown.stream_BTD is not None:
            return self.model.answered(shown.stream_BTD, shown.asked_N, trace)
        return self.model(shown.inputs_BT, shown.asked_N, trace)

    def trace(self) -> Trace:
        """Its inside, without gradients."""
        with torch.no_grad():
            return self.answer(trace=True).trace[0]

    def loss(self, index: int = 0) -> Tensor:
        """Nats per question."""
        answer = self.answer(index)
        return functional.cross_entropy(answer.logits_NV, self.batches(index).due_N) + answer.auxiliary


@dataclass(frozen=True)
class Wanted:
    """Fresh variants and what they are shown.

    Args:
        attentions: Each one part, or a stack of parts that take turns; none keeps the ladder's.
        positions: Likewise.
        task: A ladder's name or file, or a registered task; None shows noise.
        complexity: The rung; None takes the ladder's default.
        length: Tokens of a sequence; None leaves it to the task.
        batch: Sequences.
        seeds: One model for each.
        settings: Nested data over the ladder's.
        control: Whether a softmax as loud as each other variant stands beside it.
        gain: Scale of what every branch writes, against weights of variance ``1 / inputs``; None keeps the model's.
    """

    attentions: Sequence[Variant] = ()
    positions: Sequence[Part] = ()
    task: Part | None = field(default_factory=lambda: Part(name="recall"))
    complexity: Any = None
    length: int | None = None
    batch: int = 16
    seeds: Sequence[int] = range(5)
    settings: dict[str, Any] = field(default_factory=dict)
    control: bool = False
    gain: float | None = None


def wanted(attention: str | None, position: str | None, *, task: str | None, complexity: Any, **more: Any) -> Wanted:
    """What words ask for: inline variants and positions, a task, a rung.

    Raises:
        BadValue: a word that is no part, with its options.
    """
    return Wanted(
        attentions=variants(attention) if attention else (),
        positions=[one for stack in variants(position) for one in stack] if position else (),
        task=None if task is None else part(task),
        complexity=scalar(complexity) if isinstance(complexity, str) else complexity,
        **more,
    )


def exhibits(wanted: Wanted) -> Iterator[Exhibit]:
    """Every variant with every seed, in order, each beside its control.

    Raises:
        AttnlabError: a name, value or pairing that does not exist.
    """
    if wrong := set(wanted.settings) - set(SECTIONS):
        raise unknown("section", min(wrong), SECTIONS, where=f"--set {min(wrong)}")
    task, base = (None, {}) if wanted.task is None else asked_task(wanted, wanted.task)
    base = merged(base, wanted.settings.get("model", {}))
    known = Known()
    for attention in wanted.attentions or (None,):
        for position in wanted.positions or (None,):
            model = known.model(base, attention, position)
            if task is not None:
                known.rehearse(model, task)
            label = "+".join(map(str, model.attention))
            label = f"{label} · {model.position}" if len(wanted.positions) > 1 else label
            plain = [one.name for one in model.attention] == ["softmax"]
            fresh = [made(model, label, wanted, task, seed) for seed in wanted.seeds]
            yield from fresh
            if wanted.control and not plain:
                softmax = model.model_copy(update={"attention": (Part(name="softmax"),)})
                for seed, exhibit in zip(wanted.seeds, fresh, strict=True):
                    twin = made(softmax, f"softmax as loud as {label}", wanted, task, seed)
                    turned_up(twin.model, exhibit.model, stream_of(exhibit))
                    yield twin


def asked_task(wanted: Wanted, named: Part) -> tuple[TaskSpec, dict[str, Any]]:
    """The task at its rung and length, and the ladder's settings of the model."""
    climbed = find_ladder(named.name)
    options = {**named.options, **wanted.settings.get("task", {})}
    if wanted.length is not None:
        entry = TASKS.entry(climbed.task)
        if "length" not in entry.options:
            found = f"'{climbed.name}' has no length of its own: its complexity, {climbed.complexity}, decides it."
            raise BadValue(found, "Use --complexity, or noise: --input gaussian --length.", where="--length")
        options["length"] = wanted.length
    return task_spec(climbed, options, wanted.complexity), climbed.model


def made(model: ModelSpec, label: str, wanted: Wanted, task: TaskSpec | None, seed: int) -> Exhibit:
    """One fresh model beside its sequences: equal seeds give equal weights and equal sequences."""
    if task is None:
        length, vocabulary = wanted.length or NOISE, model.width
        batches = noise(seed, wanted.batch, length, model.width)
    else:
        source = Source(task, seed)
        length, vocabulary = source.length, source.vocabulary
        batches = validation(source, wanted.batch)
    drawn = int(generator(seed, Stream.INIT).integers(2**63))
    built = build(model, vocabulary=vocabulary, length=length, seed=drawn).double()
    if wanted.gain is not None:
        rescaled(built, wanted.gain)
    return Exhibit(label, built, batches)


def validation(source: Source, batch: int) -> Callable[[int], Shown]:
    """Batches of the validation stream."""

    def one(index: int) -> Shown:
        found = source.task.facing(Stream.VALIDATION).sample(generator(source.seed, Stream.VALIDATION, index), batch)
        return shown(found)

    return one


def shown(batch: Batch) -> Shown:
    """A batch as tensors."""
    return Shown(torch.from_numpy(asked(batch)), torch.from_numpy(due(batch)), torch.from_numpy(batch.inputs_BT.copy()))


def noise(seed: int, batch: int, length: int, width: int) -> Callable[[int], Shown]:
    """Batches of tokens drawn from N(0, 1), with answers drawn at random to all of them."""

    def one(index: int) -> Shown:
        random = generator(seed, Stream.VALIDATION, index)
        stream_BTD = torch.from_numpy(random.standard_normal((batch, length, width)))
        due_N = torch.from_numpy(random.integers(0, width, batch * length))
        return Shown(torch.arange(batch * length), due_N, stream_BTD=stream_BTD)

    return one


def stream_of(exhibit: Exhibit) -> Tensor:
    """What the first block reads."""
    return exhibit.trace().stream_BTD[0]


@torch.no_grad()
def rescaled(model: Transformer, gain: float) -> None:
    """Every branch writes with weights of variance ``gain^2 / inputs``, whatever the depth."""
    scale = gain * (2 * len(model.blocks)) ** 0.5
    for name, weight in model.named_parameters():
        if name.endswith(("attention.output.weight", "mlp.fall.weight")):
            weight.mul_(scale)
