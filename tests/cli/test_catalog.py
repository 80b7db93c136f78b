"""``attnlab ls``, ``show`` and ``sample``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from attnlab.attention import ATTENTIONS
from attnlab.model.module import MODULES
from attnlab.tasks import IGNORE
from tests.cli.conftest import TINY, Command
from tests.own_models import FILE


def test_ls_tasks_shows_complexity_levels_chance_and_source(command: Command) -> None:
    lines = command("ls", "tasks").out.splitlines()
    assert lines[0].split() == ["task", "complexity", "levels", "chance"]
    index = next(index for index, line in enumerate(lines) if line.startswith("recall "))
    recall, below = lines[index], " ".join(" ".join(lines[index + 1 : index + 3]).split())
    assert recall.split(maxsplit=6)[-1] == "50.0-6.2 %"
    summary = "Given pairs of keys and values, predict the value of each key that occurs again."
    assert below.startswith(f"{summary} · arXiv:2312.04927")
    assert recall.split()[:6] == ["recall", "pairs", "2", "4", "8", "16"]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("kind", ["attention", "position"])
def test_ls_filters_by_words(kind: str, command: Command) -> None:
    every = json.loads(command("ls", kind, "--json").out)
    some = json.loads(command("ls", kind, "2108.12409", "slope", "--json").out)
    assert [row[kind] for row in some] == (["alibi"] if kind == "position" else [])
    assert len(every) > 3
    assert all(row["summary"] and row["source"] for row in every)


@pytest.mark.parametrize("kind", ["attention", "position", "norm", "mlp", "block", "residual-stream"])
def test_ls_accepts_the_plural(kind: str, command: Command) -> None:
    assert command("ls", f"{kind}s") == command("ls", kind)


def test_ls_recipes_shows_the_settings_of_each(command: Command) -> None:
    rows = json.loads(command("ls", "recipes", "--json").out)
    assert [row["recipe"] for row in rows] == ["default", "plain", "qk-norm", "muon", "muon-qk-norm"]
    assert [row["settings"] for row in rows[:4]] == [
        "-",
        "model.position=learned",
        "model.modifiers.qk_norm=true",
        "train.optimizer=muon train.lr=0.01",
    ]
    shown = " ".join(command("ls", "recipes", "expressive").out.split())
    assert "expressive takes 1.5 times the steps;" in shown
    assert "qk-norm" not in shown


def test_an_empty_list_is_one_sentence(command: Command) -> None:
    assert command("ls", "experiments", "no-such-word").out == "There are no experiments with those words.\n"
    for kind in ("attention", "position"):
        assert command("ls", kind, "no-such-word").out == f"There are no {kind}s with those words.\n"
    hint = "Try: attnlab train --task recall --attn expressive"
    assert command("ls", "results").out == f"There are no results in results/ yet. {hint}\n"


def test_ls_results_lists_finished_runs(command: Command) -> None:
    command("train", *TINY, "--quiet")
    result = command("ls", "results")
    lines = [line.split() for line in result.out.splitlines()]
    assert ["store", "done", "missing", "failed", "diverged", "stale"] in lines
    assert ["results/", "1", "-", "-", "-", "-"] in lines
    assert "copy, symbols 2 (chance 53.1 %)" in result.out
    assert len(command("ls", "results", "--json").out.splitlines()) == 1


def test_ls_of_an_unknown_kind_is_refused(command: Command) -> None:
    result = command("ls", "taks")
    assert result.status == 2
    assert result.error.startswith("attnlab: ls\n  There is no list 'taks'; did you mean 'tasks'?")


@pytest.mark.parametrize(
    ("name", "phrases"),
    [
        ("expressive", ["z^2 / (1 + z^2)", "Source", "arXiv:2407.18601", "Differs", "scale", "Weights of the default"]),
        ("dagpam", ["gpam  attention, version 1, also dagpam", "trainable-untied"]),
        ("alibi", ["octaves  8.0", "slope"]),
        ("swiglu", ["swiglu  mlp, version 1, also glu", "arXiv:2002.05202", "activation  silu", "Weights of the"]),
        ("parallel", ["parallel  block, version 1", "PaLM", "shared_norm  true"]),
        ("norm:none", ["none  norm, version 1", "No options."]),
        ("recall", ["k1 v1 k2 v2", "Chance at the default options: 25.0 %", "Ladder recall: pairs 2, 4, 8, 16"]),
        ("parity-last", ["Ladder parity-last: bits"]),
    ],
)
def test_show_prints_formula_options_source_and_size(name: str, phrases: list[str], command: Command) -> None:
    result = command("show", name)
    assert result.status == 0
    assert [phrase for phrase in phrases if phrase not in result.out] == []
    assert max(map(len, result.out.splitlines())) <= 80


def test_every_registered_part_has_a_card(command: Command) -> None:
    for kind in ("attention", "position", "norm", "mlp", "block", "residual-stream", "tasks"):
        for row in json.loads(command("ls", kind, "--json").out):
            name = row["task"] if kind == "tasks" else f"{kind}:{row[kind]}"
            card = json.loads(command("show", name, "--json").out)
            assert card["kind"] == kind.removesuffix("s")
            assert "Source" in card["text"]
            assert card["summary"]
            assert card["version"] >= 1


def test_show_suggests_the_closest(command: Command) -> None:
    result = command("show", "sofmax")
    assert result.status == 2
    assert "There is no part 'sofmax'; did you mean 'softmax'?" in result.error
    assert "There is no norm 'rmsnrm'; did you mean 'rmsnorm'?" in command("show", "norm:rmsnrm").error


def test_sample_prints_the_targets_below_the_inputs(command: Command) -> None:
    result = command("sample", "copy", "--complexity", "3", "--sequences", "2", "--seed", "1")
    inputs, targets, blank, *_ = result.out.splitlines()
    tokens = inputs.split()[1:]
    assert tokens[3] == "|"
    assert targets.split()[1:] == [".", ".", ".", *tokens[:3]]
    assert blank == ""
    assert result.out == command("sample", "copy", "--complexity", "3", "--sequences", "2", "--seed", "1").out


def test_sample_as_json_is_the_batch(command: Command) -> None:
    batch = json.loads(command("sample", "recall", "--sequences", "4", "--set", "task.filler=zeros", "--json").out)
    assert [len(batch["inputs"]), len(batch["inputs"][0])] == [4, 64]
    assert sum(target != IGNORE for row in batch["targets"] for target in row) == 16
    assert sum(token == 0 for token in batch["inputs"][0]) == 64 - 12


MIXER = """
from torch import nn
class Mixer(nn.Module):
    '''The sum of the past.'''
    def __init__(self, dim, num_heads=4, causal=False, decay=0.5):
        super().__init__()
        self.out = nn.Linear(dim, dim)
    def forward(self, x):
        return self.out(x.cumsum(1))
class Needs(nn.Module):
    def __init__(self, anything):
        super().__init__()
"""


@pytest.fixture
def _own_files(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "my.py").write_text(MIXER)
    (tmp_path / "mods.py").write_text(FILE)
    with patch.dict(ATTENTIONS._entries), patch.dict(MODULES._entries):
        yield


@pytest.mark.usefixtures("_own_files")
def test_show_tells_what_is_known_of_a_class_of_the_users_own(command: Command) -> None:
    text = " ".join(command("show", "my.py:Mixer").out.split())
    for phrase in ("The sum of the past.", "dim the width: 64", "num_heads the number of heads: 2"):
        assert phrase in text
    for phrase in ("causal always true", "decay its default: 0.5", "Called as module(x), x: batch x tokens x width"):
        assert phrase in text
    assert f"Weights of one layer at width 64 and 2 heads: {64 * 64 + 64:,}" in text
    assert "It declares nothing more" in text
    assert text.endswith("attnlab check my.py:Mixer")
    assert " ".join(command("show", "my.py:Mixer").out.split()) == text, "a second card in the same process"
    card = json.loads(command("show", "mods.py:gpt", "--json").out)
    assert (card["kind"], Path(card["file"]).name) == ("model", "mods.py")
    matched = {one["name"] for one in card["arguments"] if one["matched"]}
    assert matched == {"vocab_size", "n_positions", "n_embd", "n_layer", "n_head"}
    assert card["parameters"] > 2 * 12 * 64**2


@pytest.mark.usefixtures("_own_files")
def test_show_tells_why_a_class_is_not_built(command: Command) -> None:
    text = " ".join(command("show", "my.py:Needs").out.split())
    assert "anything must be given" in text
    assert "Not built: " in text
    refused = command("show", "my.py:Mixr")
    assert (refused.status, "did you mean 'Mixer'?" in refused.error) == (2, True)
    assert re.search(r", and \d{3} more\.", " ".join(command("show", "torch.nn:Foo").error.split()))


@pytest.mark.usefixtures("_own_files")
def test_show_knows_a_class_of_a_module_without_a_dot_and_passes_over_options(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dotless_package.py").write_text(MIXER)
    monkeypatch.syspath_prepend(str(tmp_path))
    text = command("show", "dotless_package:Mixer").out
    assert text.startswith("dotless_package:Mixer  attention of your own")
    assert command("show", "dotless_package:Mixer:decay=0.25").out == text
    assert command("show", "my.py:Mixer:decay=0.25").out == command("show", "my.py:Mixer").out
    assert command("show", "dape:kernel=3").out == command("show", "dape").out
    refused = command("show", "no_such_package:Mixer")
    assert (refused.status, "There is no module 'no_such_package' here." in refused.error) == (2, True)


def test_ls_results_tells_that_a_folder_is_missing(command: Command) -> None:
    result = command("ls", "results", "my runs")
    assert (result.status, result.out) == (2, "")
    assert (
        result.error == "attnlab: ls results\n  There is no folder 'my runs'.\n  Name a store, or a folder of stores.\n"
    )
