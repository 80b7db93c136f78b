"""Modules that cannot be used: one block each, with the line of the user's code and what to do next."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.cli.conftest import TINY, Command

MODULES = """\
import torch
from torch import nn

class Base(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.linear = nn.Linear(dim, 2 * dim)

class Cuda(Base):
    def forward(self, x):
        return x.cuda()

class Wide(Base):
    def forward(self, x):
        return self.linear(x)

class Nothing(Base):
    def forward(self, x):
        x + 1

class Two(Base):
    def forward(self, x, context):
        return x + context

class NoForward(Base):
    pass

class NoModule:
    def forward(self, x):
        return x

class Needs(nn.Module):
    def __init__(self, dim, quux, zork):
        super().__init__()

class Raises(nn.Module):
    def __init__(self, dim):
        raise RuntimeError("bad weather")

class Late(Base):
    def forward(self, x):
        raise KeyError("mixer")

class NotANumber(Base):
    def forward(self, x):
        return self.linear(x)[..., : x.shape[-1]] * float("nan")
"""
SHAPES = "A module maps (batch, tokens, width) to the same shape"


def refused(command: Command, *words: str) -> list[str]:
    """The lines of the error, without their indent."""
    result = command("train", *TINY, *words)
    assert (result.status, result.out) == (2, "")
    assert "Traceback" not in result.error
    return [line.strip() for line in result.error.splitlines()]


@pytest.mark.parametrize(
    ("name", "problem", "code", "advice"),
    [
        ("Wide", "it maps [3, 6, 8] to [3, 6, 16]", "class Wide", SHAPES),
        ("Nothing", "it returns None", "class Nothing", SHAPES),
        ("Two", "missing 1 required positional argument: 'context'", "class Two", "Give 'context' a default"),
        ("NoForward", "NotImplementedError", "class NoForward", "Write def forward(self, x)"),
        ("NoModule", "no nn.Module", "class NoModule", "Derive it from torch.nn.Module"),
        ("Needs", "needs the options 'quux', 'zork'", "class Needs", ":quux=...,zork=..."),
        ("Raises", "RuntimeError: bad weather", "class Raises", "Correct the constructor"),
        ("Late", "KeyError: 'mixer'", "class Late", SHAPES),
        ("NotANumber", "(NotANumber)", "class NotANumber", "attnlab check mine.py:NotANumber tells"),
    ],
)
def test_a_bad_module_is_refused_at_its_line(
    name: str, problem: str, code: str, advice: str, command: Command, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MODULES)
    where, found, line, *hint = refused(command, "--attn", f"mine.py:{name}")
    assert f"mine.py:{name}" in where
    assert problem in found
    assert line.startswith(f"at {path}:")
    number = int(line.removeprefix("at ").split(":")[1])
    source = MODULES.splitlines()
    assert line.endswith(source[number - 1].strip())
    owner = next(index for index, text in enumerate(source) if text.startswith(code))
    assert owner < number <= owner + 3
    assert advice in " ".join(hint)


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU .cuda() is refused with another message")
def test_a_module_that_asks_for_a_gpu_is_told_to_leave_it_to_attnlab(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODULES)
    _, _, line, advice = refused(command, "--attn", "mine.py:Cuda")
    assert line.endswith("return x.cuda()")
    assert "leave out .cuda()" in advice
    assert SHAPES not in advice


@pytest.mark.parametrize(
    ("text", "problem", "line", "advice"),
    [
        ("import no_such_package", "ModuleNotFoundError", "1: import no_such_package", "pip install no_such_package"),
        ("from os import no_such_name", "ImportError", "1: from os import no_such_name", "Correct the import"),
        ("x = 1\nclass A(:\n", "SyntaxError", "2: class A(:", "must be valid Python 3"),
        ("x = 1 / 0", "ZeroDivisionError", "1: x = 1 / 0", "Correct this line"),
    ],
)
def test_a_file_that_cannot_be_imported_says_what_to_do(
    text: str, problem: str, line: str, advice: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(text)
    _, found, place, *hint = refused(command, "--attn", "mine.py:A")
    assert found.startswith(problem)
    assert place.endswith(f"mine.py:{line}")
    assert advice in " ".join(hint)


@pytest.mark.parametrize(
    ("words", "file", "advice"),
    [
        (("--model", "torch.nn:Transformer"), "torch/nn/modules/transformer.py:", "Give 'tgt' a default"),
        (("--model", "torch.nn:Linear"), "torch/nn/modules/linear.py:", "A whole model maps tokens"),
        (("--attn", "torch.nn:GRU:num_layers=x"), "torch/nn/modules/rnn.py:", "give it other arguments"),
    ],
)
def test_a_class_of_a_package_is_refused_at_a_line_of_the_package(
    words: tuple[str, ...], file: str, advice: str, command: Command
) -> None:
    _, _, line, hint = refused(command, *words)
    assert file in line
    assert advice in hint


def test_a_whole_model_that_is_no_module_or_needs_more_is_refused_at_its_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODULES)
    for name, code in (("NoModule", "class NoModule:"), ("Needs", "def __init__(self, dim, quux, zork):")):
        assert refused(command, "--model", f"mine.py:{name}")[2].endswith(code)
    lines = refused(command, "--model", "mine.py:Wide")
    assert lines[2].endswith("return self.linear(x)")
    assert lines[3].startswith("A whole model maps tokens")


@pytest.mark.parametrize("given", ["/", ""])
def test_operators_are_told_in_words(given: str, command: Command) -> None:
    result = command("train", "--task", f"modular-arithmetic:operators={given}")
    assert result.status == 2
    assert f"cannot be {repr(given) if given else 'empty'}." in result.error
    assert "one or more of the operators + - *" in result.error
    assert "^[" not in result.error


def test_an_option_of_the_original_code_is_told_by_its_name_here(command: Command) -> None:
    result = command("train", "--task", "modular-arithmetic-brackets:mult=false")
    assert result.status == 2
    assert "Write operators='+-' for mult=False" in result.error
