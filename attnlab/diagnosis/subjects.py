"""The subjects of a diagnosis: models in float64, each with the sequences that it is measured on.

Fresh variants are built once for every seed and get the validation split of a task, or noise. A finished run is built
from its record with its trained weights, and gets its own validation split.

Letters  B batch, T tokens, D width, N supervised positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attnlab.choices import DIAGNOSED_SEQUENCES
from attnlab.config.inline_experiment import SECTIONS, unknown_section
from attnlab.config.inline_parts import parse_modules, parse_part, parse_variants
from attnlab.config.recipes import with_recipe
from attnlab.config.yaml import scalar
from attnlab.diagnosis._gain_control import match_gain
from attnlab.errors import InvalidValueError
from attnlab.experiments.plan import check_parts, try_model
from attnlab.experiments.recipe_modifiers import modifiers_of_recipe
from attnlab.experiments.resolve import Resolver
from attnlab.experiments.size_check import check_models
from attnlab.model.transformer import ModelOutput, Transformer, build
from attnlab.specs import ModelSpec, Part, TaskSpec, Variant, joined, variant_text
from attnlab.tasks import Split, Task
from attnlab.tasks.base import TASKS, Batch
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source, generator
from attnlab.tensors import ActivationTrace

NOISE_LENGTH = 32
"""Tokens of a sequence of noise, unless the request has a length."""


class ProbeBatch(NamedTuple):
    """Sequences, their supervised positions and the targets there."""

    query_positions_N: Tensor
    targets_N: Tensor
    inputs_BT: Tensor | None = None
    residual_BTD: Tensor | None = None
    """Noise that replaces the embedded tokens."""


@dataclass(frozen=True)
class DiagnosisSubject:
    """One model and its sequences; the subjects of one variant differ by their seed."""

    variant: str
    model: Transformer
    batches: Callable[[int], ProbeBatch]
    """Its batches, by index."""

    def forward(self, index: int = 0, *, trace: bool = False) -> ModelOutput:
        """Run the model on one batch.

        Args:
            index: The batch.
            trace: Whether to return an activation trace.

        Returns:
            The output of the model.
        """
        probe = self.batches(index)
        if probe.residual_BTD is not None:
            return self.model.forward_embedded(probe.residual_BTD, probe.query_positions_N, trace)
        return self.model(probe.inputs_BT, probe.query_positions_N, trace)

    def trace(self) -> ActivationTrace:
        """Trace the model on the first batch, without gradients."""
        with torch.no_grad():
            return self.forward(trace=True).trace[0]

    def loss(self, index: int = 0) -> Tensor:
        """Compute the loss of one batch.

        Args:
            index: The batch.

        Returns:
            Mean cross-entropy in nats per supervised token, plus the auxiliary loss; a scalar.
        """
        output = self.forward(index)
        return functional.cross_entropy(output.logits_NV, self.batches(index).targets_N) + output.auxiliary


@dataclass(frozen=True)
class DiagnosisRequest:
    """Fresh variants, and the sequences that they are measured on.

    Args:
        attentions: Each one part, or a stack of parts that alternate over the layers; none keeps the ladder's.
        positions: Each one part; none keeps the ladder's.
        modules: Whole models of the user's own, beside the attentions; without attentions they stand alone.
        task: A ladder's name or file, or a registered task; None takes noise.
        complexity: The level; None takes the ladder's default.
        length: Tokens of a sequence; None takes the task's own length.
        batch: Number of sequences.
        seeds: One model for each.
        settings: Nested data over the ladder's.
        recipe: Named settings below the ladder's, of which those of the model count; None is the default.
        control: Whether to add, for each other variant, a softmax with the same branch gain (gain-matched control).
        branch_gain: Scale of the weights of every branch's last map, against variance ``1 / inputs``; None keeps the
            model's initialization.
    """

    attentions: Sequence[Variant] = ()
    positions: Sequence[Part] = ()
    modules: Sequence[Part] = ()
    task: Part | None = field(default_factory=lambda: Part(name="recall"))
    complexity: Any = None
    length: int | None = None
    batch: int = DIAGNOSED_SEQUENCES
    seeds: Sequence[int] = range(5)
    settings: dict[str, Any] = field(default_factory=dict)
    recipe: str | None = None
    control: bool = False
    branch_gain: float | None = None


def diagnosis_request(
    attention: str | None,
    position: str | None,
    *,
    modules: str | Sequence[str] | None = None,
    task: str | None,
    complexity: Any,
    **more: Any,
) -> DiagnosisRequest:
    """Make a request from text: inline variants and positions, a task, a level.

    Args:
        attention: Attentions, such as ``softmax,dape:kernel=3``; None keeps the ladder's.
        position: Positions, likewise; None keeps the ladder's.
        modules: Whole models of the user's own: ``FILE.py:Class``, with commas, or a list; None takes none.
        task: A ladder's name or file, or a registered task, with inline options; None takes noise.
        complexity: The level, as text or as a value; None takes the ladder's default.
        **more: Further fields of :class:`DiagnosisRequest`.

    Returns:
        The request.

    Raises:
        InvalidValueError: The text is not a part with options.
    """
    return DiagnosisRequest(
        attentions=parse_variants(attention) if attention else (),
        positions=[joined(stack) for stack in parse_variants(position)] if position else (),
        modules=parse_modules(modules) if modules else (),
        task=None if task is None else parse_part(task),
        complexity=scalar(complexity) if isinstance(complexity, str) else complexity,
        **more,
    )


def diagnosis_subjects(request: DiagnosisRequest) -> Iterator[DiagnosisSubject]:
    """Build every variant with every seed, in order, followed by its gain-matched control where requested.

    Whole models of the user's own are other subjects: :func:`attnlab.diagnosis.whole_models.whole_model_subjects`.

    Args:
        request: The request.

    Yields:
        The subjects.

    Raises:
        UnknownNameError: A task, attention, position, option or setting does not exist.
        InvalidValueError: A value has the wrong type or is out of range.
        IncompatiblePartsError: An attention cannot be combined with the position or with a modifier.
    """
    task, base, of_recipe = requested_base(request)
    resolver = Resolver()
    if (request.modules or base.get("module") is not None) and not request.attentions:
        return
    for attention in request.attentions or (None,):
        for position in request.positions or (None,):
            model = resolver.model(base, attention, position, of_recipe)
            check_parts(model, resolver)
            source = None if task is None else resolver.source(task)
            length = request.length or NOISE_LENGTH
            check_models(model, source=source, length=length, sequences=request.batch, seeds=request.seeds)
            if task is not None:
                try_model(model, task, resolver)
            label = variant_text(model.attention)
            label = f"{label} · {model.position}" if len(request.positions) > 1 else label
            is_softmax = [part.name for part in model.attention] == ["softmax"]
            subjects = [build_subject(model, label, request, task, seed) for seed in request.seeds]
            yield from subjects
            if request.control and not is_softmax:
                softmax = model.model_copy(update={"attention": (Part(name="softmax"),)})
                for seed, subject in zip(request.seeds, subjects, strict=True):
                    control = build_subject(softmax, f"softmax, gain of {label}", request, task, seed)
                    match_gain(control.model, subject.model, subject.trace().residual_BTD[0])
                    yield control


def requested_base(request: DiagnosisRequest) -> tuple[TaskSpec | None, dict[str, Any], tuple[str, ...]]:
    """Make the spec of the task, and the settings of the models before parts are chosen.

    Args:
        request: The request.

    Returns:
        The spec, None for noise; field -> value; and the modifiers among them that the recipe alone sets.

    Raises:
        UnknownNameError: The task, an option, the recipe or a section of the settings does not exist.
        InvalidValueError: The task does not accept a value, or its length cannot be chosen.
    """
    if wrong := set(request.settings) - set(SECTIONS):
        raise unknown_section(min(wrong), request.settings[min(wrong)])
    task, base = (None, {}) if request.task is None else requested_task(request, request.task)
    given = (base, request.settings.get("model", {}))
    return task, with_recipe(request.recipe, "model", *given), modifiers_of_recipe(request.recipe, *given)


def requested_task(request: DiagnosisRequest, part: Part) -> tuple[TaskSpec, dict[str, Any]]:
    """Make the spec of the task at the requested level and length.

    Args:
        request: The request.
        part: Its task.

    Returns:
        The spec, and the ladder's settings of the model.

    Raises:
        UnknownNameError: The task or an option does not exist.
        InvalidValueError: The task does not accept a value, or its length cannot be chosen.
    """
    ladder = find_ladder(part.name)
    options = {**part.options, **request.settings.get("task", {})}
    if request.length is not None:
        entry = TASKS.entry(ladder.task)
        if "length" not in entry.options:
            problem = (
                f"'{ladder.name}' has no option length: its length follows from its complexity, {ladder.complexity}."
            )
            hint = "Use --complexity, or noise: --input gaussian --length."
            raise InvalidValueError(problem, hint, where="--length")
        options["length"] = request.length
    return task_spec(ladder, options, request.complexity), ladder.model


def build_subject(
    model: ModelSpec, label: str, request: DiagnosisRequest, task: TaskSpec | None, seed: int
) -> DiagnosisSubject:
    """Build one fresh model with its sequences; equal seeds give equal weights and equal sequences.

    Args:
        model: The model.
        label: The name of the variant in tables.
        request: The request, for length, batch and branch gain.
        task: The task; None takes noise.
        seed: The seed.

    Returns:
        The subject, in float64.
    """
    if task is None:
        length, vocabulary = request.length or NOISE_LENGTH, model.width
        batches = noise_batches(seed, request.batch, length, model.width)
    else:
        source = Source(task, seed)
        refuse_numbers(source.task, label)
        length, vocabulary = source.length, source.vocabulary
        batches = validation_batches(source, request.batch)
    init_seed = int(generator(seed, Split.INIT).integers(2**63))
    built = build(model, vocabulary=vocabulary, length=length, seed=init_seed).double().eval()
    if request.branch_gain is not None:
        _rescale_branches(built, request.branch_gain)
    return DiagnosisSubject(label, built, batches)


def refuse_numbers(task: Task, where: str) -> None:
    """Refuse a task whose tokens are numbers: diagnoses look tokens up and take cross-entropies.

    Args:
        task: The task.
        where: What is diagnosed.

    Raises:
        InvalidValueError: Its tokens are numbers.
    """
    if task.features:
        problem = "Tokens of this task are numbers, and a diagnosis reads ids."
        hint = "Log diagnostics while it is trained: --watch rank,attention."
        raise InvalidValueError(problem, hint, where=where)


def validation_batches(source: Source, batch: int) -> Callable[[int], ProbeBatch]:
    """Make the batches of the validation split.

    Args:
        source: The sequences of a task.
        batch: Number of sequences per batch.

    Returns:
        The batches, by index.
    """

    def sample(index: int) -> ProbeBatch:
        task = source.task.for_split(Split.VALIDATION)
        return _probe_batch(task.sample(generator(source.seed, Split.VALIDATION, index), batch))

    return sample


def noise_batches(seed: int, batch: int, length: int, width: int) -> Callable[[int], ProbeBatch]:
    """Make batches of tokens drawn from N(0, 1), with random targets at every position.

    Args:
        seed: The seed.
        batch: Number of sequences per batch.
        length: Tokens per sequence.
        width: Width of the residual stream, and number of classes of the targets.

    Returns:
        The batches, by index.
    """

    def sample(index: int) -> ProbeBatch:
        random = generator(seed, Split.VALIDATION, index)
        residual_BTD = torch.from_numpy(random.standard_normal((batch, length, width)))
        targets_N = torch.from_numpy(random.integers(0, width, batch * length))
        return ProbeBatch(torch.arange(batch * length), targets_N, residual_BTD=residual_BTD)

    return sample


def _probe_batch(batch: Batch) -> ProbeBatch:
    """Convert a batch to tensors."""
    return ProbeBatch(
        torch.from_numpy(batch.query_positions()),
        torch.from_numpy(batch.query_targets()),
        torch.from_numpy(batch.inputs_BT.copy()),
    )


@torch.no_grad()
def _rescale_branches(model: Transformer, gain: float) -> None:
    """Give the last map of every branch weights of variance ``gain^2 / inputs``, for any depth."""
    scale = gain * (2 * len(model.blocks)) ** 0.5
    roles = model.parameter_roles()
    for name, weight in model.named_parameters():
        if roles[name].role in ("output", "mlp_down"):
            weight.mul_(scale)
