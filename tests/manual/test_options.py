"""Every option of attnlab that the manual names exists, in blocks that are run and in those that are not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from attnlab.cli.app import MODULES, app
from manual.blocks import blocks, console_steps
from manual.pages import DOCS

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*\w")
CALL = re.compile(r"\battnlab\s+([a-z]+)((?:\\\n|[^\n|;&#`])*)")
"""A command of attnlab and its words, up to the end of the line, of its code or of the command in a pipe."""
OF_OTHERS = {"--address", "--backend-store-uri", "--head", "--logdir", "--port", "--project", "--write"}
"""Options of ray, mlflow, tensorboard, trackio and of ``python -m manual.blocks``."""
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def options() -> dict[str, set[str]]:
    """Command -> the ways to write its options, hidden ones left out."""
    group: Any = typer.main.get_command(app)
    commands = {name: group.get_command(None, name) for name in MODULES}
    return {
        name: {
            word
            for one in command.params
            if not getattr(one, "hidden", False)
            for word in [*one.opts, *one.secondary_opts]
        }
        | {"--help"}
        for name, command in commands.items()
    }


def words_of(name: str) -> str:
    """A page without what its commands print: that is checked where they are run."""
    text = (DOCS / name).read_text()
    for block in blocks(text):
        if block.language == "console":
            commands = "\n".join(step.command for step in console_steps(block.body))
            text = text.replace(block.body, commands + "\n")
    return text


def calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of attnlab in a text, each with its options."""
    for found in CALL.finditer(text):
        if found[1] in MODULES:
            yield found[1], OPTION.findall(found[2])


KNOWN = options()
ALL = set().union(*KNOWN.values())


@pytest.mark.parametrize("name", PAGES)
def test_a_command_has_the_options_that_a_page_gives_it(name: str) -> None:
    found = list(calls(words_of(name)))
    wrong = [f"attnlab {command} {word}" for command, words in found for word in words if word not in KNOWN[command]]
    assert wrong == []


@pytest.mark.parametrize("name", PAGES)
def test_every_option_that_a_page_names_exists(name: str) -> None:
    assert sorted(set(OPTION.findall(words_of(name))) - ALL - OF_OTHERS) == []


def test_calls_are_found_over_lines_and_in_prose() -> None:
    text = "`attnlab ls tasks --json`\n```console\n$ attnlab train --task a \\\n    --seeds 5 | head --lines 3\n```\n"
    assert list(calls(text)) == [("ls", ["--json"]), ("train", ["--task", "--seeds"])]
