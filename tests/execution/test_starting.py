"""Processes that are started: with Ctrl-C blocked, and with nothing imported from the current folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from multiprocessing.spawn import get_preparation_data
from pathlib import Path
from types import ModuleType

import pytest

from attnlab.execution.starting import main_not_imported
from attnlab.experiments import machine_bench
from attnlab.tasks.io import gym_items
from tests.experiments.sweeps import ROOT, drive

OUTSIDE = ("torch", "numpy", "pydantic", "yaml", "rich", "psutil", "safetensors", "cloudpickle", "submitit", "ray")
TRAP = """\
import os
found = os.open({found!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(found, {name!r}.encode() + b" ")
"""
SWEEP = "sweep --task copy --attn softmax --complexity 2 --seeds 1 --steps 4 --width 16 --layers 1 --executor"


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes the current folder one that holds a module by every name that Python and packages have.

    Each of them writes its name to this file when it is imported.
    """
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in (*sys.stdlib_module_names, *OUTSIDE):
        (folder / f"{name}.py").write_text(TRAP.format(found=str(tmp_path / "found"), name=name))
    monkeypatch.chdir(folder)
    return tmp_path / "found"


def run(words: str, scripts: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as its console script does: the folder of scripts is on the path, the current one is not."""
    script = scripts / "run.py"
    script.write_text("from attnlab.__main__ import main\n\nif __name__ == '__main__':\n    main()\n")
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    variables.pop("PYTHONSAFEPATH", None)
    command = [sys.executable, str(script), *words.split()]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=500, check=False)


def test_a_trap_is_found_where_nothing_guards(found: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    subprocess.run([sys.executable, "-c", "import socket"], env=variables, check=True)
    assert found.read_text() == "socket "


@pytest.mark.parametrize(
    ("words", "package"),
    [
        (f"{SWEEP} processes:1 --store store", ""),
        (f"{SWEEP} slurm:1,cluster=local --store store", "submitit"),
        (f"{SWEEP} ray:1 --store store", "ray"),
        ("check softmax linear", ""),
    ],
)
def test_processes_import_nothing_from_the_current_folder(
    words: str, package: str, tmp_path: Path, found: Path
) -> None:
    if package and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    done = run(words, tmp_path)
    assert done.returncode == 0, done.stderr
    assert not found.exists(), found.read_text()


def test_the_process_that_makes_items_imports_nothing_from_the_current_folder(
    found: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    serve = 'import socket, sys; [print(\'[["q", "a"]]\', flush=True) for line in sys.stdin]'
    monkeypatch.setattr(gym_items, "SERVE", serve)
    assert gym_items.WorkerItems("any", 0, json.dumps({})).items([0]) == [("q", "a")]
    assert not found.exists(), found.read_text()


def test_what_the_bench_starts_imports_nothing_from_the_current_folder(
    found: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    assert machine_bench._python("import socket, sys; sys.stderr.write(sys.argv[1])", "said") == "said"
    assert not found.exists(), found.read_text()


@pytest.mark.parametrize("attributes", [{"__file__": "<stdin>"}, {"__file__": "script.py"}, {"__spec__": "module"}])
def test_workers_never_import_the_main_module(monkeypatch: pytest.MonkeyPatch, attributes: dict[str, str]) -> None:
    """It may be standard input, or begin its sweep anew: classes are sent by their code."""
    main = ModuleType("__main__")
    for name, value in attributes.items():
        setattr(main, name, ModuleSpec(value, None) if name == "__spec__" else value)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert {name for name in get_preparation_data("worker") if name.startswith("init_main")}
    with main_not_imported():
        assert not {name for name in get_preparation_data("worker") if name.startswith("init_main")}
    assert sys.modules["__main__"] is main


def test_workers_start_with_ctrl_c_blocked_even_the_first(tmp_path: Path) -> None:
    """Starting the resource tracker of Python, which the first of them needs, unblocks it."""
    script = (
        "import os, signal; from multiprocessing import resource_tracker\n"
        "from attnlab.execution.starting import sigint_blocked\n"
        "with sigint_blocked():\n"
        "    resource_tracker.ensure_running()\n"
        "    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))\n"
        "print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()), 'PYTHONSAFEPATH' in os.environ)\n"
    )
    assert drive(script, tmp_path).communicate(timeout=120)[0].split() == ["True", "False", "False"]
