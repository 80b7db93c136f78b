"""When a value of a field is the one that a claim names.

The report and the checks before a sweep use the same functions, so that a claim that is accepted can be judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from attnlab.config.inline_parts import parse_variants
from attnlab.errors import InvalidValueError, UnknownNameError, unknown
from attnlab.run_fields import PARTS
from attnlab.specs import Part, variant_text

ECHO = 200
"""Characters of a value that a message quotes at most."""


def matches(name: str, value: Any, wanted: Any) -> bool:
    """Tell whether the value of a field is the one that is wanted, or one of those.

    >>> matches("attention", "dape:kernel=3", {"name": "dape", "kernel": 3}), matches("level", 8, [4, 8])
    (True, True)

    Args:
        name: The field, without its section.
        value: What a run has.
        wanted: A value, or a list of values of which one suffices. A part is written in any form that YAML accepts.

    Returns:
        Whether they agree.
    """
    if isinstance(wanted, list | tuple) and not isinstance(value, list | tuple):
        return any(matches(name, value, one) for one in wanted)
    if name in PARTS:
        return str(value) == canonical_part(wanted)
    return value == wanted or str(value) == str(wanted)


def canonical_part(wanted: Any) -> str:
    """Write a part, or parts that alternate over the layers, as a spec's own words.

    >>> canonical_part({"name": "dape", "kernel": 3}), canonical_part("softmax + gpam")
    ('dape:kernel=3', 'softmax+gpam')

    Args:
        wanted: Inline words, or a mapping with a name and options.

    Returns:
        Inline words without superfluous spaces.

    Raises:
        InvalidValueError: A mapping has no name, or a word is no part with its options.
    """
    if isinstance(wanted, Part):
        return str(wanted)
    if isinstance(wanted, Mapping) and set(wanted) == {"model"}:
        return canonical_part(wanted["model"])  # a whole model, as it stands among the attentions of a grid
    if isinstance(wanted, Mapping):
        try:
            return str(Part.model_validate(dict(wanted)))
        except ValidationError:
            hint = "Write a name, or a mapping with a name and its options: {name: dape, kernel: 3}."
            raise InvalidValueError(f"{str(dict(wanted))[:ECHO]} names no part.", hint) from None
    variants = parse_variants(str(wanted))
    return ",".join(variant_text(variant) for variant in variants)


def unknown_field(name: str, known: Iterable[str], where: str) -> UnknownNameError:
    """Make the error for a field that no run has.

    Args:
        name: The field.
        known: All fields of the runs.
        where: Where it was named.

    Returns:
        The error, to be raised.
    """
    if name.startswith("task.train."):
        hint = (
            "Name trained: the level that runs were trained on, or the range, as in trained: 1..8.\n"
            "Other options of the training are the text of task.train."
        )
        return UnknownNameError(f"There is no field '{name}'.", hint, where=where)
    return unknown("field", name, known, where=where)
