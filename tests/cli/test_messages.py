"""Messages on the standard error are wrapped on a terminal, and whole in a pipe."""

from __future__ import annotations

import os
import pty
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import pytest

from attnlab.cli.messages import wrapped

WORDS = "The quick reader of a long message wants its words whole, whatever the terminal's width may be. "


@pytest.mark.parametrize("columns", [40, 79, 80])
def test_lines_end_at_words_and_keep_their_indent(columns: int) -> None:
    lines = wrapped(f"  {WORDS * 3}".rstrip(), columns).splitlines()
    assert all(len(line) <= columns for line in lines)
    assert all(line.startswith("  ") and line[2] != " " for line in lines)
    assert " ".join(line.strip() for line in lines) == (WORDS * 3).rstrip()


def test_commands_and_long_words_are_not_broken() -> None:
    command = "attnlab sweep --task recall --attn softmax,linear,delta --grid model.width=8,16,32,64,128 --seeds 5"
    assert wrapped(f"  Try: {command}", 80).splitlines() == ["  Try:", f"  {command}"]
    assert wrapped(f"  {command}", 80) == f"  {command}"
    path = "/".join(["folder"] * 20)
    assert path in wrapped(f"  It cannot be written: {path} is a folder, not a file.", 80).splitlines()[1]


def test_short_lines_stay_as_they_are() -> None:
    assert wrapped("  3f2a  recall   softmax", 80) == "  3f2a  recall   softmax"


def _error(tmp_path: Path, stream: int) -> None:
    words = [sys.executable, "-m", "attnlab", "diagnose", "attention", "--attn", "softmax", "--run", "3f2a"]
    done = subprocess.run(words, stderr=stream, stdout=subprocess.DEVNULL, cwd=tmp_path, check=False)
    assert done.returncode == 2


def test_a_terminal_has_wrapped_lines_and_a_pipe_whole_ones(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    _error(tmp_path, theirs)
    terminal = os.read(ours, 10_000).decode().replace("\r\n", "\n")
    os.close(theirs)
    os.close(ours)
    reader, writer = os.pipe()
    _error(tmp_path, writer)
    os.close(writer)
    with os.fdopen(reader) as piped:
        whole = piped.read()
    assert max(map(len, terminal.splitlines())) <= 60 < max(map(len, whole.splitlines()))
    assert terminal.split() == whole.split()
