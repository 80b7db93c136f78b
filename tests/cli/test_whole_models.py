"""``--model FILE.py:Class`` as a user writes it."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import attnlab
from attnlab.model.module import MODULES
from attnlab.plugins import PREFIX
from attnlab.records import Record
from attnlab.storage import Store
from tests.cli.conftest import TINY, Command
from tests.own_models import FILE

BESIDE = ("--attn", "softmax", "--model", "own.py:Lstm:dropout=0.1,own.py:gpt")
NAMES = ["softmax", "own.py:Lstm:dropout=0.1", "own.py:gpt"]


@pytest.fixture(autouse=True)
def _file(tmp_path: Path) -> Iterator[None]:
    entries = dict(MODULES._entries)
    (tmp_path / "own.py").write_text(FILE)
    yield
    MODULES._entries.clear()
    MODULES._entries.update(entries)


def test_models_stand_beside_attentions_in_one_table(command: Command) -> None:
    result = command("train", *TINY, *BESIDE, "--pos", "learned,rotary")
    assert result.out.count("· rotary") == result.out.count("softmax · ") - 1 == 1
    assert "own.py:gpt " in result.out
    assert result.error.count(" weights on cpu") == 4
    assert "own.py:gpt · seed 0: " in result.error


def test_a_sweep_trains_them_and_is_not_run_twice(command: Command, tmp_path: Path) -> None:
    words = ("sweep", *TINY, *BESIDE, "--seeds", "1", "--executor", "inline")
    assert "· learned" not in command(*words, "--dry-run").out.split("own.py:gpt")[1]
    first = command(*words)
    assert first.status == 0
    positions = [first.out.index(f"\n{name} ") for name in NAMES]
    assert positions == sorted(positions)
    ended = [record.environment["ended"] for record in Store(tmp_path / "results" / "copy").records()]
    assert command(*words).out == first.out
    assert [record.environment["ended"] for record in Store(tmp_path / "results" / "copy").records()] == ended
    opening, _, table = command("report", "results/copy").out.partition("\n\n")
    assert opening.startswith("copy, symbols 2: 99 % is reached ")
    assert all(name in opening for name in NAMES)
    assert [line.split()[0] for line in table.splitlines() if line.startswith(tuple(NAMES))][:3] == NAMES


def test_a_run_is_evaluated_from_its_store(command: Command) -> None:
    record = Record.from_line(command("train", *TINY, "--model", "own.py:Lstm", "--json").out)
    MODULES._entries.clear()
    result = command("evaluate", record.id, "--plugin", "own.py", "--complexity", "4")
    assert (result.status, "own.py:Lstm · seed 0" in result.out) == (0, True)


def test_the_advised_commands_load_a_run_of_a_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "own.py").write_text(FILE)
    record = Record.from_line(command("train", *TINY, "--model", "parts/own.py:Lstm", "--json").out)
    MODULES._entries.clear()
    for name in [name for name in sys.modules if name.startswith(PREFIX)]:  # as in another session
        del sys.modules[name]
    refused = command("evaluate", record.id)
    assert refused.status == 2
    advised = re.search(r"Add --plugin parts/own\.py: attnlab (.*)", refused.error)
    assert advised
    assert command(*advised[1].split()).status == 0
    MODULES._entries.clear()
    for name in [name for name in sys.modules if name.startswith(PREFIX)]:
        del sys.modules[name]
    call = re.search(r"attnlab\.load_plugin\((.*)\)", refused.error)
    assert call
    attnlab.load_plugin(json.loads(call[1]))
    assert type(attnlab.load_model(record)) is MODULES.entry("own.py:Lstm").cls


def test_a_run_of_a_file_is_loaded_once_the_file_is_imported(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imported_own.py").write_text(FILE)
    record = Record.from_line(command("train", *TINY, "--model", "imported_own.py:Lstm", "--json").out)
    MODULES._entries.clear()
    for name in [name for name in sys.modules if name.startswith(PREFIX)]:
        del sys.modules[name]
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("imported_own")
    assert MODULES._entries == {}
    attnlab.load_model(record)
    assert vars(MODULES.entry("imported_own.py:Lstm").cls)["adapted"].__func__ is module.Lstm


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("check", "parts/own.py:gpt"), "named with --model parts/own.py:gpt"),
        (("train", *TINY, "--model", "parts/own.py"), "Name the class: parts/own.py:Lstm, "),
        (("train", *TINY, "--attn", "parts/own.py"), "Name the class: parts/own.py:Lstm, "),
        (("check", "parts/own.py"), "Name the class: parts/own.py:Lstm, "),
        (("train", *TINY, "--attn", "torch.nn"), "Name the class: torch.nn:AdaptiveAvgPool1d, "),
        (("train", *TINY, "--attn", "soft.max"), "did you mean 'softmax'?"),
        (("train", *TINY, "--attn", "parts/needs.py:Needs"), "Write parts/needs.py:Needs:quux=..."),
        (("train", *TINY, "--attn", "parts/leaks.py:Leaks"), "More: attnlab check parts/leaks.py:Leaks. "),
        (("train", *TINY, "--model", "parts/leaks.py:leaks"), "More: attnlab check --model parts/leaks.py:leaks. "),
        (("train", *TINY, "--attn", "parts/fails.py:A"), "attnlab: parts/fails.py:A\n  ModuleNotFoundError"),
    ],
)
def test_advice_has_names_as_they_were_typed(words: tuple[str, ...], said: str, command: Command) -> None:
    parts = Path("parts")
    parts.mkdir()
    (parts / "own.py").write_text(FILE)
    (parts / "fails.py").write_text("import no_such_module_here")
    layer = "from torch import nn\nclass {}(nn.Module):\n    def __init__(self, dim{}):\n        super().__init__()\n"
    (parts / "needs.py").write_text(layer.format("Needs", ", quux"))
    leaks = layer.format("Leaks", "") + "    def forward(self, x):\n        return x + x.flip(1).cumsum(1)\n"
    model = "def leaks(vocab_size, dim):\n    return nn.Sequential(nn.Embedding(vocab_size, dim), Leaks(dim), "
    (parts / "leaks.py").write_text(f"{leaks}{model}nn.Linear(dim, vocab_size))\n")
    refused = command(*words)
    assert (refused.status, said in refused.error) == (2, True), refused.error


def test_check_finds_what_a_model_does(command: Command, tmp_path: Path) -> None:
    assert "future never seen     pass" in command("check", "--model", "own.py:gpt").out
    (tmp_path / "own.py").write_text(FILE.replace("is_causal=True", "is_causal=False"))
    result = command("check", "--model", "own.py:gpt,own.py:Lstm")
    assert result.status == 1
    assert "future never seen: largest change" in " ".join(result.out.split())
    refused = command("train", *TINY, "--model", "own.py:gpt", "--store", "none")
    assert refused.status == 2
    assert refused.error.startswith("attnlab: model.module: own.py:gpt\n  It sees later tokens")
    assert not (tmp_path / "none").exists()
    allowed = command("train", *TINY, "--model", "own.py:gpt", "--allow-leak")
    assert "(leaks)" in allowed.out


DIAGNOSED = ("--model", "own.py:gpt,own.py:Lstm", "--layers", "2", "--width", "8", "--seeds", "1", "--task", "copy")


@pytest.mark.parametrize(
    ("kind", "phrases"),
    [
        ("attention", ["sink of Jacobian row norms", "sink of Jacobian row norms of the block"]),
        (
            "rank-collapse",
            [
                "random initialization, 2 layers, width 8, 2 heads; copy",
                "branch-residual, branch-cosine (its values are not seen)",
            ],
        ),
        ("gradients", ["query-gradient", "own.py:Lstm: Skipped, biases: lstm.bias_ih_l0", "no parameter of the roles"]),
    ],
)
def test_fresh_ones_are_diagnosed(kind: str, phrases: list[str], command: Command) -> None:
    result = command("diagnose", kind, *DIAGNOSED)
    assert result.status == 0
    assert "not measurable" not in result.out.lower()
    for phrase in (*phrases, "own.py:gpt", "own.py:Lstm"):
        assert phrase in " ".join(result.out.split())


def test_runs_of_them_are_diagnosed(command: Command) -> None:
    record = Record.from_line(command("train", *TINY, "--model", "own.py:Lstm", "--json").out)
    result = command("diagnose", "attention", "--run", record.id)
    assert (result.status, f"own.py:Lstm · {record.id[:6]}" in result.out) == (0, True)
    refused = command("diagnose", "attention", "--run", record.id, "--model", "own.py:gpt")
    assert (refused.status, "--model" in refused.error) == (2, True)


@pytest.mark.parametrize("option", [("--norm", "post"), ("--no-mlp",), ("--control", "gain"), ("--pos", "rotary")])
def test_what_they_have_of_their_own_is_refused_in_a_diagnosis(option: tuple[str, ...], command: Command) -> None:
    result = command("diagnose", "rank-collapse", *DIAGNOSED, *option)
    assert (result.status, "of its own" in result.error or "no position of ours" in result.error) == (2, True)
    assert command("diagnose", "rank-collapse", *DIAGNOSED, *option, "--attn", "softmax").status == 0


def test_the_help_names_it(command: Command) -> None:
    for name in ("train", "sweep", "check", "diagnose"):
        assert "--model" in command(name, "--help").out


def test_settings_that_a_model_does_not_use_are_told(command: Command) -> None:
    result = command(
        "train", "--task", "copy", "--complexity", "2", "--steps", "2", "--model", "own.py:Lstm", "--heads", "4"
    )
    assert "own.py:Lstm has no argument for model.heads: not used." in result.error
