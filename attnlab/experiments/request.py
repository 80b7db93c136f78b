"""Step 1 of a plan: the words of a user, parsed. No name in them has been looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from attnlab.choices import Budget
from attnlab.config.auto_position import AUTO, auto_refusal, is_auto
from attnlab.config.inline_experiment import check_sections
from attnlab.config.inline_parts import parse_modules, parse_part, parse_variants
from attnlab.config.recipes import find_recipe
from attnlab.config.renamed import renamed_options, renamed_settings
from attnlab.config.yaml import scalar
from attnlab.specs import Part, Variant, joined


@dataclass(frozen=True)
class Request:
    """Variants at one level of one task, with several seeds.

    Args:
        task: A ladder's name or file, or a registered task; with inline options.
        attentions: Each one part, or several that alternate over the layers; empty keeps the ladder's.
        positions: Positions to combine with every attention; empty keeps the ladder's.
        modules: Whole models of the user's own, beside the attentions; without attentions they stand alone.
        complexity: The level; None takes the ladder's default.
        evaluate: Further levels to test on; None takes the ladder's.
        seeds: Each gives one run.
        match: The budget that every other variant is given; None keeps all sizes equal.
        reference: The variant whose budget it is; None takes the first.
        settings: Nested data that override the ladder's: ``{"model": ..., "train": ..., "task": ...}``.
        recipe: Named settings below the ladder's; None is the default.
    """

    task: Part
    attentions: Sequence[Variant] = ()
    positions: Sequence[Part] = ()
    modules: Sequence[Part] = ()
    complexity: Any = None
    evaluate: Sequence[Any] | None = None
    seeds: Sequence[int] = (0,)
    match: Budget | None = None
    reference: Variant | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    recipe: str | None = None


def parse_request(
    task: str,
    attention: str | Sequence[str] | None = None,
    position: str | Sequence[str] | None = None,
    *,
    modules: str | Sequence[str] | None = None,
    complexity: Any = None,
    seeds: Sequence[int] = (0,),
    match: Budget | None = None,
    settings: dict[str, Any] | None = None,
    recipe: str | None = None,
) -> Request:
    """Parse what the command line and the Python API take.

    Args:
        task: A ladder's name or file, or a registered task; with inline options.
        attention: Variants, as ``"softmax,dape:kernel=3"`` or a list of such words; nothing keeps the default.
        position: Positions, likewise.
        modules: Whole models of the user's own: ``"FILE.py:Class"``, or a list of such words.
        complexity: The level, as a value or as a word; None takes the ladder's default.
        seeds: Each gives one run.
        match: The budget that every other variant is given; None keeps all sizes equal.
        settings: Nested data that override the ladder's; names of attnlab 0.1 are accepted.
        recipe: Named settings below the ladder's; None is the default.

    Returns:
        The request.

    Raises:
        InvalidValueError: A word is no part with its options, or the position is ``auto``.
        UnknownNameError: A section of the settings, or the recipe, does not exist.
    """
    find_recipe(recipe)
    part = parse_part(task)
    positions = [joined(variant) for variant in _variants(position)]
    if AUTO in map(str, positions) or is_auto((settings or {}).get("model", {}).get("position")):
        raise auto_refusal()
    return Request(
        task=part.model_copy(update={"options": renamed_options(part.name, part.options)}),
        attentions=_variants(attention),
        positions=positions,
        modules=parse_modules(modules),
        complexity=scalar(complexity) if isinstance(complexity, str) else complexity,
        seeds=seeds,
        match=match,
        settings=renamed_settings(check_sections(settings or {})),
        recipe=recipe,
    )


def _variants(words: str | Sequence[str] | None) -> list[Variant]:
    listed = [words] if isinstance(words, str) else words or ()
    found: list[Variant] = []
    for variant in (one for word in listed for one in parse_variants(word)):
        if variant not in found:  # a run is trained once, as in a sweep
            found.append(variant)
    return found
