"""Options of the command line in messages, as a caller of a function writes them.

``--steps 9`` is ``train={'max_steps': 9}``. Commands stay as they are: what follows ``attnlab`` on a line is for a
terminal.
"""

from __future__ import annotations

import re
from collections.abc import Container

ALIASES = {"attn": "attention", "pos": "position", "sequences": "batch", "run": "subject"}
"""Option -> argument, where their names differ."""
FIELDS = {
    "layers": ("model", "layers"),
    "width": ("model", "width"),
    "heads": ("model", "heads"),
    "allow-leak": ("model", "allow_leak"),
    "steps": ("train", "max_steps"),
    "batch": ("train", "batch_size"),
    "lr": ("train", "lr"),
    "rollout": ("train", "rollout"),
    "watch": ("train", "log_diagnostics"),
}
"""Option -> the argument that is a mapping, and the key in it."""
SECTIONS = {"model": "model", "train": "train", "task": "options"}
"""Section of ``--set`` -> argument."""
SWITCHES = ("allow-leak", "published", "resume", "rollout")
"""Options without a value."""
TEXTS = ("attention-map", "continue-from")
"""Options whose values are text, whatever they look like."""
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
WORDS = re.compile(
    r"`attnlab [^`]*`|\battnlab [a-z].*"
    r"|--set (?P<field>\w+(?:\.\w+)+)(?:=(?P<set>[^\s;)]*[^\s.,;)]))?"
    r"|(?P<noise>--input gaussian)"
    r"|(?<![\w-])--(?P<option>[a-z][a-z-]*)(?: (?P<value>(?!out\b)[^\s;)]*[^\s.,;:)])(?=[.,;)](?:\s|$)|\s*$))?",
    re.MULTILINE,
)


def python_text(text: str, names: Container[str]) -> str:
    """Rewrite the options in a problem or a hint.

    >>> python_text("Add --until decided, or --set train.lr=0.1.", ("until", "train"))
    "Add until='decided', or train={'lr': 0.1}."
    >>> python_text("Leave --vmap out, or run: attnlab check --vmap 2", ("vmap",))
    'Leave vmap out, or run: attnlab check --vmap 2'

    Args:
        text: The text.
        names: The arguments of the function.

    Returns:
        The text; options for which the function has no argument stay.
    """

    def rewritten(found: re.Match[str]) -> str:
        if found["noise"]:
            return "task=None" if "task" in names else found[0]
        if found["field"]:
            return _setting(found["field"], found["set"], names) or found[0]
        if not found["option"]:
            return found[0]
        value = found["value"]
        if value is None and found["option"] in SWITCHES:
            value = "True"
        return _argument(found["option"], value, names) or found[0]

    return WORDS.sub(rewritten, text)


def python_where(where: str, names: Container[str]) -> str:
    """Rewrite a location that is an option.

    >>> python_where("--vmap 3", ("vmap",)), python_where("--attn", ("attention",)), python_where("a.yaml:3", ())
    ('vmap=3', 'attention', 'a.yaml:3')

    Args:
        where: The location.
        names: The arguments of the function.

    Returns:
        The argument, with its value where the option has one; any other location as it is.
    """
    option, _, value = where.removeprefix("--").partition(" ")
    if not where.startswith("--"):
        return where
    if option == "set":
        field, equals, given = value.partition("=")
        return _setting(field, given if equals else None, names) or where
    return _argument(option, value or None, names) or where


def _argument(option: str, value: str | None, names: Container[str]) -> str:
    """An option as an argument; empty where the function has none for it."""
    name = option.replace("-", "_")
    for argument in (name, ALIASES.get(option, "")):
        if argument in names:
            return argument if value is None else f"{argument}={_literal(option, value)}"
    argument, key = FIELDS.get(option, ("", ""))
    if option.startswith("slurm-"):
        argument, key = "slurm", option.removeprefix("slurm-")
    return _item(argument, key, None if value is None else _literal(option, value)) if argument in names else ""


def _setting(field: str, value: str | None, names: Container[str]) -> str:
    """A setting as an item of an argument; empty where the function has none for it."""
    section, _, key = field.partition(".")
    argument = SECTIONS.get(section, "")
    if argument not in names:
        return ""
    first, *inner = key.split(".")
    literal = None if value is None else _literal(field, value)
    for step in reversed(inner):
        literal = f"{{{step!r}: {'...' if literal is None else literal}}}"
    return _item(argument, first, literal) if first else argument


def _item(argument: str, key: str, value: str | None) -> str:
    return f"{argument}[{key!r}]" if value is None else f"{argument}={{{key!r}: {value}}}"


def _literal(option: str, text: str) -> str:
    """The value of an option as Python."""
    if option == "watch":
        return repr(text.split(","))
    if option not in TEXTS and NUMBER.fullmatch(text):
        return text
    return text.capitalize() if text in ("true", "True", "false", "False") else repr(text)
