"""Commands that must start quickly do not import torch or other modules that they do not use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from attnlab import __version__
from attnlab.cli.app import MODULES, Commands
from attnlab.cli.catalog import _task_rows
from attnlab.specs import ModelSpec, TrainSpec
from attnlab.tasks import regular, text

LIGHT = [
    "--help",
    "ls tasks",
    "ls experiments",
    "ls results",
    "train --help",
    "sample recall",
    "show recall",
    "show quickstart",
    "compare --help",
    "audit copy",
]


UNUSED = {
    "--help": {"pydantic", "numpy", "yaml", "attnlab.specs", "rich.markdown", "rich.traceback"},
    "ls results": {"numpy", "safetensors", "filelock", "yaml"},
    "ls experiments": {"numpy", "attnlab.tasks"},
    "ls tasks": {"scipy", "safetensors", "rich.markdown", "attnlab.cli.train", "attnlab.experiments"},
}
"""Command -> modules that it must not import, beside torch."""


def imported_modules(words: str, folder: object) -> set[str]:
    """Run a command and return the modules that it imports."""
    code = (
        "import sys\n"
        f"sys.argv = ['attnlab', *{words.split()!r}]\n"
        "from attnlab.cli import main\n"
        "try:\n    main()\nexcept SystemExit as error:\n    assert not error.code\n"
        "print('', *sys.modules, sep='\\n', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=str(folder), check=False)
    lines = done.stderr.splitlines()
    assert (done.returncode, lines[0]) == (0, ""), done.stderr
    assert done.stdout
    return set(lines)


@pytest.mark.parametrize("words", LIGHT)
def test_torch_is_not_imported(words: str, tmp_path: object) -> None:
    assert not {"torch", *UNUSED.get(words, ())} & imported_modules(words, tmp_path)


def test_an_uncompiled_step_does_not_import_the_compiler(tmp_path: object) -> None:
    words = "train --task copy --complexity 2 --width 8 --steps 1 --device cpu --quiet"
    assert {"torch", "attnlab.training.stepper"} <= (imported := imported_modules(words, tmp_path))
    assert not {"torch._dynamo", "torch._inductor", "rich.markdown", "scipy.stats"} & imported


def test_the_help_lists_every_command() -> None:
    """Every command is shown with the first line of its docstring."""
    shown = " ".join(printed("--help").split())
    for name in MODULES:
        first = (Commands().get_command(None, name).help or "").splitlines()[0]
        assert f"{name} {first}" in shown
    assert "Did you mean 'ls'?" in printed("lss")


def printed(words: str) -> str:
    """Run a command on a wide screen and return what it prints."""
    line = [sys.executable, "-m", "attnlab", *words.split()]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "400"})
    return (done.stdout + done.stderr).replace("│", "")


def test_a_list_of_all_tasks_builds_no_automata_and_reads_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((regular, "minimal_automata"), (text, "find_text_files")):
        monkeypatch.setattr(module, name, None)
    rows = {row[0]: row[3] for row in _task_rows()}
    assert rows["regular"] == rows["text"] == "see show"
    assert rows["parity"] == "see show", "measured on a sample"
    assert rows["recall-joint"] == "25.0-4.2 %"
    assert rows["dyck"] == "25.0 %"


def test_importing_the_package_is_light() -> None:
    code = "import attnlab, sys; assert not {'torch', 'numpy', 'pydantic', 'rich'} & set(sys.modules); attnlab.train"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_version() -> None:
    assert printed("--version") == f"attnlab {__version__}\n"
    assert "--version" in printed("--help")


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_the_help_has_the_defaults_of_sizes_and_budget(command: str) -> None:
    text = " ".join(printed(f"{command} --help").split())
    model, train = ModelSpec(), TrainSpec()
    for default in (model.layers, model.width, model.heads, train.max_steps, train.batch_size, train.lr):
        assert f"[default: ({default:g}, or the ladder's)]" in text
