"""Labels of runs: whatever varies among the runs that are shown together stands in the label of each.

    recall pairs=8 · softmax · learned · width=16 · seed 0

A label names the task with its level, the variant, the position and the seed. Every other field stands in it where runs
differ in that field. Options of a task are compared among the runs on that task. Runs that differ in no field, such as
those of two versions of a part, are told apart by the beginnings of their ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from attnlab.formatting import option_text
from attnlab.run_fields import LOCATION, Cache, Fields, run_fields, trained_on
from attnlab.specs import RunSpec

HEAD = ("attention", "position", "continued")
"""Fields that a label has a place of their own for, beside those of the location."""
TEXTS = {
    "norm": "norm {}",
    "norm_layer": "norm layer {}",
    "mlp": "MLP {}",
    "block": "block {}",
    "residual_stream": "residual stream {}",
    "task.train": "{} in training",
}
"""How some fields are written; the others are written as ``name=value``."""
ID_DIGITS = 6
"""Digits of an id that tell runs apart which differ in no field."""
SEPARATOR = " · "


@dataclass(frozen=True)
class RunLabel:
    """The parts of a run's label."""

    task: str
    """The task and the level."""
    variant: str
    position: str
    """Empty for a whole model."""
    differences: tuple[str, ...]
    """One text for each other field in which the runs differ."""
    seed: str
    origin: str
    """The run that it continues, if it continues one."""
    run: str
    """The beginning of the id, where nothing else tells runs apart."""
    common: frozenset[str]
    """Which of task, variant, position and seed all runs have in common."""

    def __str__(self) -> str:
        return self._joined(self.task, self.variant, self.position, *self.differences, self.seed, self.origin, self.run)

    @property
    def within_level(self) -> str:
        """The label below a heading that names task and level, beside a column of seeds and one of ids."""
        position = "" if "position" in self.common else self.position
        return self._joined(self.variant, position, *self.differences, self.origin)

    @property
    def short(self) -> str:
        """What varies alone, for a line of little room; the variant and the seed where nothing does."""
        names = ("task", "variant", "position")
        head = ["" if name in self.common else str(getattr(self, name)) for name in names]
        tail = [*self.differences, "" if "seed" in self.common else self.seed, self.origin, self.run]
        return self._joined(*head, *tail) or self._joined(self.variant, self.seed)

    @staticmethod
    def _joined(*texts: str) -> str:
        return SEPARATOR.join(filter(None, texts))


def one_of_each(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """Choose one of the runs that differ in their seeds alone, as far as they share their sections.

    Args:
        specs: The runs.

    Returns:
        The first of each, in order.
    """
    found: dict[tuple[int, int, int, str], RunSpec] = {}
    for spec in specs:
        found.setdefault((id(spec.task), id(spec.model), id(spec.train), spec.continue_from), spec)
    return list(found.values())


class RunLabels:
    """The labels of runs that are shown together.

    >>> from attnlab.specs import ModelSpec, TaskSpec
    >>> task = TaskSpec(name="copy", options={"symbols": 4}, complexity="symbols")
    >>> small, large = (RunSpec(task=task, model=ModelSpec(width=width)) for width in (16, 32))
    >>> labels = RunLabels([small, large])
    >>> str(labels.of(small)), labels.of(large).short
    ('copy symbols=4 · softmax · fourier · width=16 · seed 0', 'width=32')

    Args:
        specs: The runs.
    """

    def __init__(self, specs: Iterable[RunSpec]) -> None:
        self._cache: Cache = {}
        self._texts: dict[tuple[int, ...], tuple[Fields, Mapping[str, str]]] = {}
        self._section_texts: dict[int, dict[str, str]] = {}
        runs = {spec.id: spec for spec in specs}
        self._names = self._varying(runs.values())
        self._runs: Mapping[str, str] = {}
        labels = {run: self._label(spec) for run, spec in runs.items()}
        self._common = frozenset(
            name
            for name in ("task", "variant", "position", "seed")
            if len({getattr(label, name) for label in labels.values()} - {""}) <= 1  # a whole model has no position
        )
        equal = Counter(map(str, labels.values()))
        self._runs = {run: f"run {run[:ID_DIGITS]}" for run, label in labels.items() if equal[str(label)] > 1}

    def of(self, spec: RunSpec) -> RunLabel:
        """Label one of the runs.

        Args:
            spec: The run; one that is not among them is labeled by the fields in which they differ.

        Returns:
            Its label.
        """
        return self._label(spec, self._common)

    def of_group(self, specs: Sequence[RunSpec]) -> str:
        """Label several of the runs together, such as those that are trained as one program.

        Args:
            specs: Runs of one task, level and variant.

        Returns:
            What they have in common, and how many values a field has in which they differ.
        """
        texts = [self._of_sections(spec)[1] for spec in one_of_each(specs)]
        differences = []
        for name in self._names:
            values = sorted({own[name] for own in texts if own.get(name)})
            differences.append(values[0] if len(values) == 1 else f"{len(values)} values of {name}" if values else "")
        first = self._label(specs[0])
        return SEPARATOR.join(filter(None, (first.task, first.variant, first.position, *differences)))

    def _label(self, spec: RunSpec, common: frozenset[str] = frozenset()) -> RunLabel:
        task = spec.task
        _, texts = self._of_sections(spec)
        return RunLabel(
            task=f"{task.name} {task.complexity}={task.level}" if task.complexity else task.name,
            variant=spec.variant,
            position=str(spec.model.position) if spec.model.module is None else "",
            differences=tuple(texts[name] for name in self._names if texts.get(name)),
            seed=f"seed {spec.seed}",
            origin=f"continues {spec.continue_from}" if spec.continue_from else "",
            run=self._runs.get(spec.id, ""),
            common=common,
        )

    def _varying(self, specs: Iterable[RunSpec]) -> list[str]:
        """The fields in which runs differ, in the order model, training, task."""
        distinct = {self._key(spec): spec for spec in specs}
        values: dict[str, dict[str, set[str]]] = {}
        for spec in distinct.values():
            for name, text in self._of_sections(spec)[1].items():
                owner = spec.task.name if name.startswith("task.") else ""
                values.setdefault(name, {}).setdefault(owner, set()).add(text)
        names = [name for name, by_owner in values.items() if any(len(texts) > 1 for texts in by_owner.values())]
        return sorted(names, key=lambda name: name.startswith("task."))

    def _of_sections(self, spec: RunSpec) -> tuple[Fields, Mapping[str, str]]:
        """The fields of a run, and their texts; runs that differ in their seed alone share them."""
        key = self._key(spec)
        if key not in self._texts:
            fields = run_fields(spec, self._cache)
            self._texts[key] = fields, field_texts(fields, spec, self._plain_texts(spec))
        return self._texts[key]

    def _plain_texts(self, spec: RunSpec) -> dict[str, str]:
        """The texts of the fields of a run; those of a section are made once for all runs that share it."""
        texts: dict[str, str] = {}
        for section in (spec.model, spec.train, spec.task):
            key = id(section)
            if key not in self._section_texts:
                self._section_texts[key] = plain_texts(self._cache[key][1])
            texts |= self._section_texts[key]
        return texts

    @staticmethod
    def _key(spec: RunSpec) -> tuple[int, ...]:
        return id(spec.task), id(spec.model), id(spec.train), int(bool(spec.continue_from))


def plain_texts(fields: Fields) -> dict[str, str]:
    """Write fields one by one, as far as labels name them.

    Args:
        fields: The fields.

    Returns:
        Field -> text.
    """
    return {name: _text(name, value) for name, value in fields.items() if name not in (*LOCATION, *HEAD)}


def field_texts(fields: Fields, spec: RunSpec, plain: Mapping[str, str] | None = None) -> dict[str, str]:
    """Write the fields of a run that its label may need beside task, level, variant, position and seed.

    Args:
        fields: The fields.
        spec: The run.
        plain: What :func:`plain_texts` gives of the fields, where it is known.

    Returns:
        Field -> text; empty where the field says nothing.
    """
    texts = plain_texts(fields) if plain is None else dict(plain)
    if "mlp" in fields and not fields["mlp_ratio"]:
        texts |= {"mlp": "no MLP", "mlp_ratio": ""}
    if "residual" in fields:
        texts["residual"] = "residual" if fields["residual"] else "no residual"
    if "task.train" in fields:
        training = trained_on(spec)
        trained = "" if training == spec.task.level else f"trained on {spec.task.complexity}={training}"
        texts["task.train"] = ", ".join(filter(None, [trained, texts["task.train"]]))
    return texts


def _text(name: str, value: object) -> str:
    plain = option_text(value)
    if name.startswith("modifiers.") and isinstance(value, bool):
        return f"{'' if value else 'no '}{name.removeprefix('modifiers.')}"
    if name in TEXTS:
        return TEXTS[name].format(plain) if plain else ""
    return f"{name}={plain or 'none'}"


def labels_of(specs: Sequence[RunSpec]) -> list[str]:
    """Label runs that are shown together.

    Args:
        specs: The runs.

    Returns:
        Their labels, in the same order; equal only for equal runs.
    """
    labels = RunLabels(specs)
    return [str(labels.of(spec)) for spec in specs]
