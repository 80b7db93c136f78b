"""What must start quickly does not import torch, nor whatever else it has no use for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from attnlab.cli.app import STANDING, Commands
from attnlab.cli.catalog import _task_rows
from attnlab.tasks import regular, text

LIGHT = [
    "--help",
    "ls tasks",
    "ls experiments",
    "ls results",
    "train --help",
    "sample recall",
    "show recall",
    "audit copy",
]


UNUSED = {
    "--help": {"pydantic", "numpy", "yaml", "attnlab.specs", "rich.markdown", "rich.traceback"},
    "ls results": {"numpy", "safetensors", "filelock", "yaml"},
    "ls experiments": {"numpy", "attnlab.tasks"},
    "ls tasks": {"scipy", "safetensors", "rich.markdown", "attnlab.cli.train", "attnlab.experiments"},
}
"""What a command has no use for, beside torch."""


def ran(words: str, folder: object) -> set[str]:
    """The modules that a command imports."""
    code = (
        "import sys\n"
        f"sys.argv = ['attnlab', *{words.split()!r}]\n"
        "from attnlab.cli import main\n"
        "try:\n    main()\nexcept SystemExit as leaving:\n    assert not leaving.code\n"
        "print('', *sys.modules, sep='\\n', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=str(folder), check=False)
    lines = done.stderr.splitlines()
    assert (done.returncode, lines[0]) == (0, ""), done.stderr
    assert done.stdout
    return set(lines)


@pytest.mark.parametrize("words", LIGHT)
def test_torch_is_not_imported(words: str, tmp_path: object) -> None:
    assert not {"torch", *UNUSED.get(words, ())} & ran(words, tmp_path)


def test_a_step_is_taken_without_the_compiler(tmp_path: object) -> None:
    words = "train --task copy --complexity 2 --width 8 --steps 1 --device cpu --quiet"
    assert {"torch", "attnlab.training.stepper"} <= (imported := ran(words, tmp_path))
    assert not {"torch._dynamo", "torch._inductor", "rich.markdown", "scipy.stats"} & imported


def test_the_help_knows_every_command(tmp_path: object) -> None:
    """Each stands in a module of its own, and is told by the first line of its docstring."""
    shown = " ".join(said("--help").split())
    for name in STANDING:
        first = (Commands().get_command(None, name).help or "").splitlines()[0]
        assert f"{name} {first}" in shown
    assert "Did you mean 'ls'?" in said("lss")


def said(words: str) -> str:
    """What a command prints on a wide screen."""
    line = [sys.executable, "-m", "attnlab", *words.split()]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "400"})
    return (done.stdout + done.stderr).replace("│", "")


def test_a_list_of_all_tasks_draws_no_pool_and_reads_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for made in (regular, "minimal_automata"), (text, "gathered"):
        monkeypatch.setattr(*made, None)
    rows = {row[0]: row[3] for row in _task_rows()}
    assert rows["regular"] == rows["text"] == "see show"
    assert rows["parity"] == "50.0 %"
    assert list(rows.values()).count("see show") == 3


def test_importing_the_package_is_light() -> None:
    code = "import attnlab, sys; assert not {'torch', 'numpy', 'pydantic', 'rich'} & set(sys.modules); attnlab.train"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
