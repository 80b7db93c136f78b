"""Words of the command line: inline parts, lists of parts, ``--set dotted.key=value``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from attnlab.config.yaml import scalar
from attnlab.errors import InvalidValueError, plain_reason
from attnlab.sizes import MAX_LAYERS, check_count, whole_number
from attnlab.specs import Part, Variant

CLASS = re.compile(r"(?P<place>[^:=]*\.[^:=]*|[^:=]+(?=:[A-Z])):(?P<name>[A-Za-z_][\w.]*)(:(?P<options>.*))?")
"""A class by its file or module, and options: ``FILE.py:Class:key=value``.

A name without a dot before the colon is that of a module if what follows begins with a capital letter: otherwise a slip
in an option would be read as a class.
"""


def parse_part(text: str, *, classes: bool = False) -> Part:
    """Read one part with its options.

    >>> part = parse_part("dape:kernel=3,width=16")
    >>> part.name, part.options
    ('dape', {'kernel': 3, 'width': 16})
    >>> parse_part("grouped:groups=[[0],[1,2]]").options
    {'groups': [[0], [1, 2]]}

    Args:
        text: ``name`` or ``name:key=value,key=value``.
        classes: Whether the name may be that of a class, ``FILE.py:Class`` or ``package.module:Class``.

    Returns:
        The part; its name and options have not been looked up.

    Raises:
        InvalidValueError: There is no name, an option is not written as ``key=value``, or an option is given twice.
    """
    name, _, rest = text.strip().partition(":")
    if classes and (found := CLASS.fullmatch(text.strip())):
        name, rest = f"{found['place']}:{found['name']}", found["options"] or ""
    options: dict[str, Any] = {}
    for word in split_outside_brackets(rest, ",") if rest else []:
        key, equals, value = word.partition("=")
        if not (key.strip() and equals):
            hint = (
                f"Write {name}:path={word}." if name == "file" and not options else f"Write {name}:key=value,key=value."
            )
            raise InvalidValueError(f"'{word}' is not an option.", hint, where=text)
        if key.strip() in options:
            raise InvalidValueError(f"The option '{key.strip()}' is given twice.", where=text)
        options[key.strip()] = scalar(value.strip())
    if not name:
        raise InvalidValueError("A name is missing.", "Write name, or name:key=value.", where=text or "''")
    return made_part({"name": name, "options": options}, where=text)


def made_part(data: Mapping[str, Any], where: str) -> Part:
    """Make a part of what a user wrote.

    Args:
        data: ``name`` and ``options``, or what a part is written as in YAML.
        where: Where it stands, for a message.

    Returns:
        The part; its name and options have not been looked up.

    Raises:
        InvalidValueError: Options are nested too deeply, are too many, or have numbers that nothing can hold.
    """
    try:
        return Part.model_validate(data)
    except ValidationError as error:
        reason = plain_reason(error.errors()[0]["msg"])
        raise InvalidValueError(f"{reason.rstrip('.')}.", "Use plain options: key=value.", where=where) from None


def parse_variants(text: str) -> list[Variant]:
    """Read several variants, each one part or several that alternate over the layers.

    A comma separates variants, unless what follows it is one more option of the part before it.

    >>> [[str(p) for p in variant] for variant in parse_variants("softmax,dape:kernel=3,width=16,softmax+gpam")]
    [['softmax'], ['dape:kernel=3,width=16'], ['softmax', 'gpam']]

    Args:
        text: Variants with commas between them, the parts of one with ``+`` between them; ``*N`` after a part repeats
            it, so that ``softmax*3+delta`` is three layers of softmax, then one of delta.

    Returns:
        The parts of each variant; their names and options have not been looked up.

    Raises:
        InvalidValueError: A word is no part with its options.
    """
    words: list[str] = []
    for piece in split_outside_brackets(text, ","):
        if words and "=" in piece and ":" not in piece.split("=")[0]:
            words[-1] += f",{piece}"
        else:
            words.append(piece)
    return [_parse_alternating(variant) for variant in words]


def parse_modules(words: str | Sequence[str] | None) -> list[Part]:
    """Read whole models of the user's own.

    >>> [str(part) for part in parse_modules("my.py:Lstm,my.py:Gpt:dropout=0.1")]
    ['my.py:Lstm', 'my.py:Gpt:dropout=0.1']

    Args:
        words: ``FILE.py:Class`` or ``package.module:Class`` with options, with commas between them; or a list of such
            words; None where there are none.

    Returns:
        One part for each; their names and options have not been looked up.

    Raises:
        InvalidValueError: A word is no part with its options, or models that alternate over layers.
    """
    listed = [words] if isinstance(words, str) else words or ()
    variants = [variant for word in listed for variant in parse_variants(word)]
    for variant in variants:
        if len(variant) > 1:
            problem = "Whole models do not alternate over layers."
            hint = "Write a comma between several, or name attentions with --attn."
            raise InvalidValueError(problem, hint, where="+".join(map(str, variant)))
    return [variant[0] for variant in variants]


def _parse_alternating(text: str) -> Variant:
    """Read the parts of one variant; a ``+`` must have a name on both sides."""
    words = _alternating(text)
    empty = [index for index, word in enumerate(words) if not word.strip()]
    if empty and len(words) > 1:
        side = "after" if empty[0] else "before"
        raise InvalidValueError(f"A name is missing {side} '+'.", "Write name+name, or leave '+' out.", where=text)
    counted = [_repeated(word, text) for word in words]
    if len(counted) == 1:
        counted = [(counted[0][0], 1)]  # all layers have the part, however often it is repeated
    return tuple(part for word, count in counted for part in [parse_part(word, classes=True)] * count)


def _repeated(word: str, text: str) -> tuple[str, int]:
    """Split a word at a final ``*N``: so many layers in a row have the part."""
    part, star, count = word.rpartition("*")
    if not star or "]" in count or "}" in count:
        return word, 1
    if not ((number := whole_number(count)) and part.strip()):
        problem = f"'{word.strip()}' does not say how many layers in a row have the part."
        raise InvalidValueError(problem, "Write name*N with N of 1 or more, as in softmax*3+delta.", where=text)
    check_count(number, MAX_LAYERS, what="layers", where=text)
    return part, number


def parse_settings(words: list[str]) -> dict[str, Any]:
    """Read the words of ``--set``.

    >>> parse_settings(["train.weight_decay=0.1", "model.norm=post"])
    {'train': {'weight_decay': 0.1}, 'model': {'norm': 'post'}}

    Args:
        words: ``dotted.key=value`` each.

    Returns:
        Nested data.

    Raises:
        InvalidValueError: A word is not ``dotted.key=value``, or leads through a value that is no mapping.
    """
    data: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        steps = key.strip().split(".")
        if not equals or not all(steps):
            raise InvalidValueError(f"'{word}' is not a setting.", "Write dotted.key=value.", where="--set")
        inner = data
        for step in steps[:-1]:
            inner = inner.setdefault(step, {})
            if not isinstance(inner, dict):
                problem = f"'{step}' is set to a value already."
                raise InvalidValueError(problem, "Set either the value or its keys.", where=f"--set {word}")
        inner[steps[-1]] = scalar(value.strip())
    return data


def merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge nested data.

    >>> merged({"lr": 1, "betas": {"a": 1}}, {"lr": 2, "betas": {"b": 2}})
    {'lr': 2, 'betas': {'a': 1, 'b': 2}}

    Args:
        under: The data that are overridden.
        over: The data that override.

    Returns:
        New nested data.
    """
    both = {
        key: merged(under[key], over[key]) for key in under.keys() & over.keys() if _mappings(under[key], over[key])
    }
    return {**under, **over, **both}


def _mappings(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


def _alternating(text: str) -> list[str]:
    """Split at ``+``, but not inside a number such as 1e+3."""
    pieces: list[str] = []
    for piece in split_outside_brackets(text, "+"):
        if pieces and pieces[-1][-1:] in "eE" and "=" in pieces[-1] and piece[:1].isdigit():
            pieces[-1] += f"+{piece}"
        else:
            pieces.append(piece)
    return pieces


def split_outside_brackets(text: str, separator: str) -> list[str]:
    """Split a text, but not inside brackets or braces.

    >>> split_outside_brackets("a=[1,2],b", ",")
    ['a=[1,2]', 'b']

    Args:
        text: The text.
        separator: One character.

    Returns:
        The pieces, of which there is at least one.
    """
    pieces, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == separator and not depth:
            pieces.append("")
        else:
            pieces[-1] += letter
    return pieces
