"""The command blocks of the manual: found, run in order in an empty folder, and compared with what the page shows.

    console           lines that begin with $ are commands, the others what they print
    bash              commands whose output is not shown
    python            run as a script; a block of text with the title Output right below it has what it prints
    title="FILE"      whatever the language: the block is written to this file
    shell             never run: installation, and what needs a cluster

A comment right above a block says more: ``<!-- varies -->``: its numbers differ from machine to machine, and only the
exit status is compared; ``<!-- exits 2 -->``: the status of its last command; ``<!-- first 12 -->``: so many lines are
shown.

    python -m manual.blocks            run all pages, or those that are named, and say what differs
    python -m manual.blocks --write    write what the commands print into the pages
"""

from __future__ import annotations

import argparse
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from manual.pages import DOCS, ROOT

BLOCK = re.compile(
    r"(?:^<!-- (?P<notes>[^\n]*?) -->\n)?^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
WAITING = re.compile(r"[a-z][^$]* \.\.\.")
"""A line that tells of what lasts; it appears on a slow machine alone, and is left out."""
NUMBER = re.compile(r"\d[\d.,:e+-]*")
SECONDS = 3600
"""Longest time of one block."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    title: str
    notes: str
    body: str
    start: int
    """Where the body begins in the page."""

    @property
    def varies(self) -> bool:
        """Whether only the exit status is compared."""
        return "varies" in self.notes

    @property
    def status(self) -> int:
        """The exit status of its last command."""
        found = re.search(r"exits (\d+)", self.notes)
        return int(found[1]) if found else 0

    @property
    def first(self) -> int | None:
        """How many lines of the output are shown; None shows all."""
        found = re.search(r"first (\d+)", self.notes)
        return int(found[1]) if found else None


class Step(NamedTuple):
    """Something that is run, and the output that the page shows of it; None where it shows none."""

    command: str
    shown: str | None


class Difference(NamedTuple):
    """A command whose status or output is not what the page says."""

    command: str
    problem: str


def blocks(text: str) -> list[Block]:
    """Find the fenced blocks of a page.

    Args:
        text: Markdown.

    Returns:
        The blocks in order.
    """
    return [
        Block(one["language"], one["title"] or "", one["notes"] or "", one["body"], one.start("body"))
        for one in BLOCK.finditer(text)
    ]


def console_steps(body: str) -> Iterator[Step]:
    r"""Split a console block into its commands, with what each prints.

    >>> list(console_steps("$ echo a \\\n    b\na b\n"))
    [Step(command='echo a \\\n    b', shown='a b')]

    Args:
        body: The block.

    Yields:
        The commands in order.
    """
    command: list[str] = []
    output: list[str] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            if command:
                yield Step("\n".join(command), "\n".join(output))
            command, output = [line.removeprefix("$ ")], []
        elif command and not output and command[-1].endswith("\\"):
            command.append(line)
        else:
            output.append(line)
    if command:
        yield Step("\n".join(command), "\n".join(output))


def run_page(text: str, folder: Path) -> tuple[str, list[Difference]]:
    """Run the blocks of a page in order.

    Args:
        text: Markdown.
        folder: An empty folder in which they are run.

    Returns:
        The page with what was printed, and what differs from the page as it was.
    """
    env = _environment(folder)
    work = folder / "work"
    work.mkdir()
    differences: list[Difference] = []
    written, end = [], 0
    printed = ""
    for block in blocks(text):
        body = block.body
        if block.title == "Output":
            body = _shortened(printed, block.first) + "\n"
            if not block.varies and not alike(block.body, body):
                differences.append(Difference("python", f"printed:\n{body}\nand not:\n{block.body}"))
        elif block.title:
            (work / block.title).write_text(body)
        elif block.language == "console":
            body = ""
            steps = list(console_steps(block.body))
            for index, step in enumerate(steps):
                status, printed = _run(["bash", "-c", step.command], work, env)
                shown = _shortened(printed, block.first)
                body += f"$ {step.command}\n" + (shown + "\n" if shown else "")
                expected = block.status if index == len(steps) - 1 else 0
                if status != expected:
                    differences.append(Difference(step.command, f"exit status {status}, not {expected}:\n{printed}"))
                elif not block.varies and not alike(step.shown or "", shown):
                    differences.append(Difference(step.command, f"printed:\n{shown}\nand not:\n{step.shown}"))
        elif block.language in ("bash", "python"):
            call = ["bash", "-ec", body] if block.language == "bash" else [sys.executable, "-c", body]
            status, printed = _run(call, work, env)
            if status != block.status:
                differences.append(Difference(body, f"exit status {status}, not {block.status}:\n{printed}"))
        written.append(text[end : block.start] + body)
        end = block.start + len(block.body)
    return "".join([*written, text[end:]]), differences


def alike(one: str, other: str) -> bool:
    """Tell whether two outputs are the same but for numbers, ids and the spaces between.

    >>> alike("accuracy  99.8 %", "accuracy 100.0 %"), alike("solved", "unsolved")
    (True, False)

    Args:
        one: An output.
        other: Another.

    Returns:
        Whether they are alike.
    """
    return _masked(one) == _masked(other)


def _masked(text: str) -> str:
    words = re.sub(r"\b[0-9a-f]{12}\b", "ID", text)
    return " ".join(NUMBER.sub("#", words).replace("─", "").split())


def _run(call: list[str], folder: Path, env: dict[str, str]) -> tuple[int, str]:
    """Run a command; what it prints, on both streams, without spaces at the ends of lines."""
    done = subprocess.run(
        call,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    lines = [line.rstrip() for line in done.stdout.replace(f"{folder}/", "").splitlines()]
    return done.returncode, "\n".join(line for line in lines if not WAITING.fullmatch(line)).strip("\n")


def _shortened(output: str, first: int | None) -> str:
    lines = output.splitlines()
    return output if first is None or len(lines) <= first else "\n".join([*lines[:first], "..."])


def _environment(folder: Path) -> dict[str, str]:
    """The environment of a user: 80 columns, no colors, and the attnlab of this Python as the command."""
    programs = folder / "bin"
    programs.mkdir()
    for name, module in (("attnlab", " -m attnlab"), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}"{module} "$@"\n')
        program.chmod(program.stat().st_mode | stat.S_IEXEC)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    own = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": path, "COLUMNS": "80", "NO_COLOR": "1"}
    return {**os.environ, **own}


def main() -> None:
    """Run pages, and write them anew or say what differs; exit with 1 if anything does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", help="names of pages, such as tutorial; all, if none is given")
    parser.add_argument("--write", action="store_true", help="write what is printed into the pages")
    given = parser.parse_args()
    paths = [DOCS / f"{name}.md" for name in given.pages] or sorted(DOCS.rglob("*.md"))
    failed = False
    for path in paths:
        with TemporaryDirectory() as folder:
            text, differences = run_page(path.read_text(), Path(folder))
        wrong = [one for one in differences if not given.write or "exit status" in one.problem]
        failed |= bool(wrong)
        for one in wrong:
            print(f"{path.name}: {one.command}\n{one.problem}\n")
        if given.write:
            path.write_text(text)
    sys.exit(failed)


if __name__ == "__main__":
    main()
