"""Whole models of the user's own as subjects: fresh ones, or of finished runs; what hooks see of them is measured.

They compute in the types of their weights: a model of the user's own may not run in float64.

Letters  B batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from attnlab.choices import DiagnosisKind
from attnlab.diagnosis._measuring import NOISE_BATCHES, Measured
from attnlab.diagnosis._module_measuring import ModuleMeasures, measure_module
from attnlab.diagnosis.quantities import requested_metrics
from attnlab.diagnosis.result import AttentionMap
from attnlab.diagnosis.subjects import DiagnosisRequest, ProbeBatch, requested_base, validation_batches
from attnlab.errors import AttnlabError, IncompatiblePartsError, InvalidValueError
from attnlab.experiments.plan import try_model
from attnlab.experiments.resolve import Resolver
from attnlab.experiments.size_check import check_models
from attnlab.experiments.whole_model import inline_module
from attnlab.metrics.metric import Metric
from attnlab.model.module import ModuleModel
from attnlab.model.transformer import build_model
from attnlab.specs import ModelSpec, TaskSpec
from attnlab.tasks import Split
from attnlab.tasks.io.streams import Source, generator


@dataclass(frozen=True)
class WholeModelSubject:
    """One whole model and its sequences; the subjects of one variant differ by their seed."""

    variant: str
    model: ModuleModel
    batches: Callable[[int], ProbeBatch]
    """Its batches, by index."""

    def loss(self, index: int = 0) -> Tensor:
        """Compute the loss of one batch.

        Args:
            index: The batch.

        Returns:
            Mean cross-entropy in nats per supervised token; a scalar.
        """
        probe = self.batches(index)
        assert probe.inputs_BT is not None, "a whole model has tokens as inputs"
        return self.model.losses(probe.inputs_BT, probe.query_positions_N, probe.targets_N)[0]

    def measure(self, kind: DiagnosisKind, metrics: Sequence[Metric]) -> Measured:
        """Measure what can be.

        Args:
            kind: The diagnosis.
            metrics: The metrics.

        Returns:
            The values, and notes on what was read, and on what was skipped, with the reasons.

        Raises:
            InvalidValueError: The model has no blocks that are recognized.
            PluginError: The model fails.
        """
        found = self._found(kind, metrics)
        labels = tuple(label for label in dict.fromkeys(quantity.label for quantity in found.values))
        return Measured(found.values, found.notes, labels, is_headless=True)

    def not_measurable(self, kind: DiagnosisKind, metric: Metric) -> InvalidValueError:
        """Make the error for a metric that was asked for and cannot be measured.

        Args:
            kind: The diagnosis.
            metric: The metric.

        Returns:
            The error, with the reason.
        """
        found = self._found(kind, requested_metrics(kind))
        names = ", ".join(dict.fromkeys(quantity.metric for quantity in found.values))
        reason = found.reasons.get(metric.name) or self._found(kind, [metric]).reasons[metric.name]
        problem = f"'{metric.name}' does not apply to '{self.variant}': {reason}."
        hint = f"Metrics of it: {names}." if names else "Try: attnlab diagnose rank-collapse."
        return InvalidValueError(problem, hint, where=f"--only {metric.name}")

    def attention_map(self, kind: DiagnosisKind, head: str) -> AttentionMap:
        """Get the map of one head: its returned weights, or row norms.

        Args:
            kind: The diagnosis.
            head: The head, as ``LAYER.HEAD``, both from 1.

        Returns:
            The map, with its kind.

        Raises:
            InvalidValueError: No layer has a matrix, or the model has no such head.
        """
        return self._found(kind, ()).attention_map(self.variant, head)

    def _found(self, kind: DiagnosisKind, metrics: Sequence[Metric]) -> ModuleMeasures:
        """Measure some metrics by what forward hooks see."""
        inputs_BT = self.batches(0).inputs_BT
        has_noise = any(metric.name.endswith("-noise") for metric in metrics)
        count = (NOISE_BATCHES if has_noise else 1) if kind == "gradients" and metrics else 0
        losses = [self._closure(index) for index in range(count)]
        words = "the task's loss"
        try:
            return measure_module(self.model.module, kind, metrics, inputs_BT, losses, words, self.variant)
        except AttnlabError as error:
            raise error.at(f"model.module: {self.model.spec.module}") from None

    def _closure(self, index: int) -> Callable[[], Tensor]:
        """Make the loss of one batch a closure."""
        return lambda: self.loss(index)


def whole_model_subjects(request: DiagnosisRequest) -> Iterator[WholeModelSubject]:
    """Build every whole model of a request with every seed, in order.

    Args:
        request: The request.

    Yields:
        The subjects.

    Raises:
        UnknownNameError: A task, class, option or setting does not exist.
        InvalidValueError: A value is not accepted, or the request has noise, which a whole model does not take.
        IncompatiblePartsError: There is no attention beside them, and positions are given.
        PluginError: A model fails.
    """
    if not request.modules and request.settings.get("model", {}).get("module") is None:
        return
    task, base, _ = requested_base(request)
    parts = request.modules or [inline_module(base["module"])]
    if task is None:
        problem = f"'{parts[0]}' takes tokens, and noise has none."
        raise InvalidValueError(problem, "Choose a task: --task recall.", where="--input gaussian")
    if request.positions and not request.attentions:
        hint = "Leave the positions out: those of a whole model are its own."
        raise IncompatiblePartsError("A whole model has no position of ours.", hint, where="model.position")
    resolver = Resolver()
    for part in parts:
        model = resolver.module(base, part)
        source = resolver.source(task)
        check_models(model, source=source, length=source.length, sequences=request.batch, seeds=request.seeds)
        try_model(model, task, resolver)
        yield from (_fresh(model, request, task, seed) for seed in request.seeds)


def _fresh(model: ModelSpec, request: DiagnosisRequest, task: TaskSpec, seed: int) -> WholeModelSubject:
    """Build one whole model with its sequences; equal seeds give equal weights and equal sequences."""
    source = Source(task, seed)
    init_seed = int(generator(seed, Split.INIT).integers(2**63))
    built = build_model(
        model, vocabulary=source.vocabulary, features=source.features, length=source.length, seed=init_seed
    ).eval()
    assert isinstance(built, ModuleModel), "the spec names a whole model"
    return WholeModelSubject(model.variant, built, validation_batches(source, request.batch))
