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

from attnlab.config.inline_parts import merged, parse_part, parse_variants
from attnlab.config.yaml import scalar
from attnlab.diagnosis._gain_control import match_gain
from attnlab.errors import InvalidValueError, unknown
from attnlab.experiments.plan import SECTIONS, Known
from attnlab.model.transformer import ModelOutput, Transformer, build
from attnlab.specs import ModelSpec, Part, TaskSpec, Variant
from attnlab.tasks import Split
from attnlab.tasks.base import TASKS, Batch
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source, generator
from attnlab.tensors import ActivationTrace

NOISE = 32
"""Tokens of a sequence of noise, unless told otherwise."""


class ProbeBatch(NamedTuple):
    """Sequences, what is asked of them, and the answers."""

    query_positions_N: Tensor
    targets_N: Tensor
    inputs_BT: Tensor | None = None
    residual_BTD: Tensor | None = None
    """Noise in the place of embedded tokens."""


@dataclass(frozen=True)
class DiagnosisSubject:
    """One model and its sequences; all exhibits of one variant differ by their seed."""

    variant: str
    model: Transformer
    batches: Callable[[int], ProbeBatch]
    """What it is shown, by number."""

    def forward(self, index: int = 0, *, trace: bool = False) -> ModelOutput:
        """What the model says of its sequences."""
        shown = self.batches(index)
        if shown.residual_BTD is not None:
            return self.model.forward_embedded(shown.residual_BTD, shown.query_positions_N, trace)
        return self.model(shown.inputs_BT, shown.query_positions_N, trace)

    def trace(self) -> ActivationTrace:
        """Its inside, without gradients."""
        with torch.no_grad():
            return self.forward(trace=True).trace[0]

    def loss(self, index: int = 0) -> Tensor:
        """Nats per question."""
        answer = self.forward(index)
        return functional.cross_entropy(answer.logits_NV, self.batches(index).targets_N) + answer.auxiliary


@dataclass(frozen=True)
class DiagnosisRequest:
    """Fresh variants and what they are shown.

    Args:
        attentions: Each one part, or a stack of parts that take turns; none keeps the ladder's.
        positions: Likewise.
        task: A ladder's name or file, or a registered task; None shows noise.
        complexity: The level; None takes the ladder's default.
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


def diagnosis_request(
    attention: str | None, position: str | None, *, task: str | None, complexity: Any, **more: Any
) -> DiagnosisRequest:
    """What words ask for: inline variants and positions, a task, a level.

    Raises:
        InvalidValueError: a word that is no part, with its options.
    """
    return DiagnosisRequest(
        attentions=parse_variants(attention) if attention else (),
        positions=[one for stack in parse_variants(position) for one in stack] if position else (),
        task=None if task is None else parse_part(task),
        complexity=scalar(complexity) if isinstance(complexity, str) else complexity,
        **more,
    )


def diagnosis_subjects(request: DiagnosisRequest) -> Iterator[DiagnosisSubject]:
    """Every variant with every seed, in order, each beside its control.

    Raises:
        AttnlabError: a name, value or pairing that does not exist.
    """
    if wrong := set(request.settings) - set(SECTIONS):
        raise unknown("section", min(wrong), SECTIONS, where=f"--set {min(wrong)}")
    task, base = (None, {}) if request.task is None else requested_task(request, request.task)
    base = merged(base, request.settings.get("model", {}))
    known = Known()
    for attention in request.attentions or (None,):
        for position in request.positions or (None,):
            model = known.model(base, attention, position)
            if task is not None:
                known.rehearse(model, task)
            label = "+".join(map(str, model.attention))
            label = f"{label} · {model.position}" if len(request.positions) > 1 else label
            plain = [one.name for one in model.attention] == ["softmax"]
            fresh = [build_subject(model, label, request, task, seed) for seed in request.seeds]
            yield from fresh
            if request.control and not plain:
                softmax = model.model_copy(update={"attention": (Part(name="softmax"),)})
                for seed, subject in zip(request.seeds, fresh, strict=True):
                    twin = build_subject(softmax, f"softmax as loud as {label}", request, task, seed)
                    match_gain(twin.model, subject.model, embedding_of(subject))
                    yield twin


def requested_task(request: DiagnosisRequest, named: Part) -> tuple[TaskSpec, dict[str, Any]]:
    """The task at its level and length, and the ladder's settings of the model."""
    ladder = find_ladder(named.name)
    options = {**named.options, **request.settings.get("task", {})}
    if request.length is not None:
        entry = TASKS.entry(ladder.task)
        if "length" not in entry.options:
            result = f"'{ladder.name}' has no length of its own: its complexity, {ladder.complexity}, decides it."
            raise InvalidValueError(result, "Use --complexity, or noise: --input gaussian --length.", where="--length")
        options["length"] = request.length
    return task_spec(ladder, options, request.complexity), ladder.model


def build_subject(
    model: ModelSpec, label: str, request: DiagnosisRequest, task: TaskSpec | None, seed: int
) -> DiagnosisSubject:
    """One fresh model beside its sequences: equal seeds give equal weights and equal sequences."""
    if task is None:
        length, vocabulary = request.length or NOISE, model.width
        batches = noise_batches(seed, request.batch, length, model.width)
    else:
        source = Source(task, seed)
        length, vocabulary = source.length, source.vocabulary
        batches = validation_batches(source, request.batch)
    drawn = int(generator(seed, Split.INIT).integers(2**63))
    built = build(model, vocabulary=vocabulary, length=length, seed=drawn).double()
    if request.gain is not None:
        rescale_branches(built, request.gain)
    return DiagnosisSubject(label, built, batches)


def validation_batches(source: Source, batch: int) -> Callable[[int], ProbeBatch]:
    """Batches of the validation stream."""

    def one(index: int) -> ProbeBatch:
        result = source.task.for_split(Split.VALIDATION).sample(generator(source.seed, Split.VALIDATION, index), batch)
        return probe_batch(result)

    return one


def probe_batch(batch: Batch) -> ProbeBatch:
    """A batch as tensors."""
    return ProbeBatch(
        torch.from_numpy(batch.query_positions()),
        torch.from_numpy(batch.query_targets()),
        torch.from_numpy(batch.inputs_BT.copy()),
    )


def noise_batches(seed: int, batch: int, length: int, width: int) -> Callable[[int], ProbeBatch]:
    """Batches of tokens drawn from N(0, 1), with answers drawn at random to all of them."""

    def one(index: int) -> ProbeBatch:
        random = generator(seed, Split.VALIDATION, index)
        stream_BTD = torch.from_numpy(random.standard_normal((batch, length, width)))
        targets_N = torch.from_numpy(random.integers(0, width, batch * length))
        return ProbeBatch(torch.arange(batch * length), targets_N, residual_BTD=stream_BTD)

    return one


def embedding_of(subject: DiagnosisSubject) -> Tensor:
    """What the first block reads."""
    return subject.trace().residual_BTD[0]


@torch.no_grad()
def rescale_branches(model: Transformer, gain: float) -> None:
    """Every branch writes with weights of variance ``gain^2 / inputs``, whatever the depth."""
    scale = gain * (2 * len(model.blocks)) ** 0.5
    roles = model.parameter_roles()
    for name, weight in model.named_parameters():
        if roles[name].role in ("output", "mlp_down"):
            weight.mul_(scale)
