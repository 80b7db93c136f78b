"""Pages of the commands, from what ``attnlab COMMAND --help`` prints."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from typing import Any

import typer

from attnlab.cli.app import MODULES, app
from manual.markdown import block, code, inline, table

FOLDER = "reference/commands"


def command_pages() -> Iterator[tuple[str, str]]:
    """Write a page for each command.

    Yields:
        Path and Markdown; the list of commands first.
    """
    group: Any = typer.main.get_command(app)
    commands = {name: group.get_command(None, name) for name in MODULES}
    rows = [(f"[{code(name)}]({name}.md)", _summary(command)) for name, command in commands.items()]
    intro = "`attnlab COMMAND --help` prints what stands here. The same option has the same name in every command."
    status = (
        "The exit status is 0 where all is done; 1 where a run failed, a claim did not hold or a check failed; "
        "and 2 where the command cannot be run as it was written."
    )
    yield (
        f"{FOLDER}/index.md",
        "\n\n".join(["# Commands", intro, table(("command", "what it does"), rows), status]) + "\n",
    )
    for name, command in commands.items():
        yield f"{FOLDER}/{name}.md", _page(name, command)


def _page(name: str, command: Any) -> str:
    """What it does, its arguments and its options."""
    arguments = [one for one in command.params if _is_argument(one)]
    usage = " ".join(["attnlab", name, *(f"{_metavar(one)}" for one in arguments), "[OPTIONS]"])
    parts = [f"# {name}", *map(_words, (command.help or "").split("\n\n")), block(usage)]
    if arguments:
        rows = [(code(_metavar(one)), _described(one)) for one in arguments]
        parts += ["## Arguments", table(("argument", "meaning"), rows)]
    options = [one for one in command.params if not _is_argument(one) and not getattr(one, "hidden", False)]
    if options:
        parts += ["## Options", table(("option", "meaning"), [(_names(one), _described(one)) for one in options])]
    return "\n\n".join(parts) + "\n"


def _is_argument(parameter: Any) -> bool:
    return type(parameter).__name__ == "TyperArgument"


def _names(option: Any) -> str:
    """The ways to write an option, with what it takes."""
    names = [code(one) for one in option.opts] + [code(one) for one in option.secondary_opts]
    return " ".join([*names, *([code(_metavar(option))] if not option.is_flag else [])])


def _metavar(parameter: Any) -> str:
    """What stands for the value of a parameter."""
    if parameter.metavar:
        return str(parameter.metavar)
    if _is_argument(parameter):
        many = "..." if parameter.nargs == -1 else ""
        name = parameter.name.upper() + many
        return name if parameter.required else f"[{name}]"
    return _type_name(parameter.type_descriptor.annotation)


def _type_name(annotation: Any) -> str:
    """A type in a word."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return "|".join(map(str, inner))
    if origin in (list, typing.Union, types.UnionType, typing.Annotated):
        return next(_type_name(one) for one in inner if one is not type(None))
    return {"str": "TEXT", "int": "N", "float": "NUMBER", "Path": "PATH"}.get(annotation.__name__, annotation.__name__)


def _described(parameter: Any) -> str:
    """The help of a parameter, with its default and whether it may be repeated."""
    words = [_words(parameter.help or "")]
    default = parameter.default
    shown = parameter.show_default
    if isinstance(shown, str):
        words.append(f"Default: {inline(shown)}.")
    elif shown and default not in (None, False, (), []) and not callable(default) and default is not True:
        words.append(f"Default: {code(str(getattr(default, 'value', default)))}.")
    return " ".join(filter(None, words))


def _summary(command: Any) -> str:
    return _words((command.help or "").split("\n\n")[0])


def _words(text: str) -> str:
    """Help, in which bold words are what a user writes."""
    text = re.sub(r"\[dim\]\\?\[default: (.*?)\]\[/dim\]", r"Default: ``\1``.", text)
    text = " ".join(re.sub(r"\[b\](.*?)\[/b\]", r"``\1``", text, flags=re.DOTALL).split())
    return inline(text.replace("\\[", "["))
