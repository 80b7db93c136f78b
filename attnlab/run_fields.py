"""The fields of a run, by the names that reports, claims, labels and filters use.

task, subtask, level, trained, complexity, seed    where a run was tested, and what it was trained on
attention, position, mlp, norm_layer, block, ...   as the command line writes them, such as ``dape:kernel=3``
width, lr, modifiers.gate, task.length, ...        fields of the model, the training, the modifiers and the task
continued                                          ``yes`` for a run that continues another: no further seed
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attnlab.specs import ModelSpec, Part, RunSpec, Section, Variant, variant_text

Fields = Mapping[str, Any]
LOCATION = ("task", "subtask", "level", "trained", "complexity", "seed")
"""Fields that say where a run was tested, and not what it is."""
PARTS = ("attention", "position", "norm_layer", "mlp", "block", "residual_stream")
"""Fields whose values are parts with options."""
Cache = dict[int, tuple[Section, Fields]]
"""Sections that were flattened already, by their id; the section is kept, so that the id stays its own."""


def run_fields(spec: RunSpec, cache: Cache | None = None) -> Fields:
    """List the fields of a run that do not depend on where it is tested.

    Args:
        spec: The run.
        cache: Shared among many runs, of which most have sections in common; None shares nothing.

    Returns:
        Field -> value, ``task`` and ``complexity`` included.
    """
    flat = {} if cache is None else cache
    fields: dict[str, Any] = {"task": spec.task.name, "complexity": spec.task.complexity}
    for section in (spec.model, spec.train, spec.task):
        if id(section) not in flat:
            flat[id(section)] = section, _flattened(section)
        fields |= flat[id(section)][1]
    if spec.continue_from:
        fields["continued"] = "yes"
    return fields


def trained_on(spec: RunSpec) -> Any:
    """Tell what level, or range of levels, a run is trained on.

    Args:
        spec: The run.

    Returns:
        A level, or a range as its ladder writes it: ``"2..40"``.
    """
    return spec.task.train.get(spec.task.complexity, spec.task.level)


def short_name(name: str) -> str:
    """Drop the section of a field of the model or the training.

    >>> short_name("train.lr"), short_name("task.length"), short_name("width")
    ('lr', 'task.length', 'width')

    Args:
        name: The field, with or without its section.

    Returns:
        The name as :func:`run_fields` has it.
    """
    return name.rpartition(".")[2] if name.startswith(("model.", "train.")) else name


def _words(parts: Part | Variant) -> str:
    """A part, or parts that alternate over the layers, as the command line writes them."""
    return str(parts) if isinstance(parts, Part) else variant_text(parts)


def _flattened(section: Section) -> Fields:
    if isinstance(section, ModelSpec) and section.module is not None:
        # A whole model stands among the attentions; the other fields of a transformer are not applicable to it.
        return {"attention": section.variant, **{name: getattr(section, name) for name in section.module.sizes}}
    data: Mapping[str, Any] = section.all_fields
    if "attention" in data:
        parts = {name: _words(getattr(section, name)) for name in PARTS}
        parts["attention"] = section.variant  # type: ignore[attr-defined]
        modifiers = {f"modifiers.{name}": value for name, value in data["modifiers"].items()}
        rest = {k: v for k, v in data.items() if k not in (*PARTS, "modifiers", "matched", "allow_leak", "module")}
        return {**parts, **rest, **modifiers}
    if "complexity" in data:
        options = {f"task.{name}": value for name, value in data["options"].items() if name != data["complexity"]}
        train = [f"{name}={value}" for name, value in data["train"].items() if name != data["complexity"]]
        return {**options, "task.train": ", ".join(train)}
    return data
