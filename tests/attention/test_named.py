"""Attentions by the name of their class: files, packages, and classes that are passed from Python."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import attnlab
from attnlab.attention import ATTENTIONS
from attnlab.attention.named import adopt_class, attention_of, attention_words, known_attention, named_attention
from attnlab.config.inline_parts import parse_part
from attnlab.errors import IncompatiblePartsError, InvalidValueError, PluginError, UnknownNameError
from attnlab.plugins import load_plugin

FILE = '''
from torch import nn
from attnlab import Attention, register_attention

class Mixer(nn.Module):
    """A causal mean."""

    def __init__(self, dim, scale=1.0):
        super().__init__()
        self.linear, self.scale = nn.Linear(dim, dim), scale

    def forward(self, x):
        return self.scale * self.linear(x).cumsum(1)

class Plain(Attention):
    """Softmax, not registered."""

@register_attention("decorated", source="tests")
class Decorated(Attention):
    """Softmax, registered."""

class Nothing:
    pass

VALUE = 3
'''
FAST: dict[str, Any] = {
    "model": {"layers": 1, "width": 8, "heads": 1},
    "train": {"max_steps": 2, "batch_size": 4, "validation_examples": 4, "test_examples": 4},
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    entries = dict(ATTENTIONS._entries)
    yield
    ATTENTIONS._entries.clear()
    ATTENTIONS._entries.update(entries)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("name", "expected"), [("Mixer", "my.py:Mixer"), ("Plain", "my.py:Plain"), ("Decorated", "decorated")]
)
def test_a_class_of_a_file_is_trained_by_its_name(name: str, expected: str, file: Path, tmp_path: Path) -> None:
    (record,) = attnlab.train("copy", f"{file}:{name}", complexity=4, store=tmp_path / "s", **FAST)
    assert (record.status, record.spec.variant) == ("done", expected)
    (code,) = record.environment["code"]
    assert (code["name"], code["path"]) == (expected, str(file))
    assert len(attnlab.evaluate(record, store=tmp_path / "s")) == 1


def test_options_are_arguments_of_the_constructor(file: Path) -> None:
    (record,) = attnlab.train("copy", f"{file}:Mixer:scale=2.0", complexity=4, store=None, **FAST)
    assert record.spec.variant == "my.py:Mixer:scale=2"
    with pytest.raises(UnknownNameError, match=f"'{file}:Mixer' has no option 'scal'; did you mean 'scale'"):
        attnlab.train("copy", f"{file}:Mixer:scal=2.0", complexity=4, store=None, **FAST)


def test_a_changed_file_is_read_again_and_is_another_run(file: Path) -> None:
    ids = set()
    for text in (FILE, FILE.replace("scale=1.0", "scale=3.0"), FILE):
        file.write_text(text)
        (record,) = attnlab.train("copy", f"{file}:Mixer", complexity=4, store=None, **FAST)
        ids.add(record.id)
    assert len(ids) == 2


def test_an_unchanged_file_is_run_once(file: Path) -> None:
    file.write_text(FILE + "\nimport pathlib\nwith open(__file__ + '.log', 'a') as log:\n    log.write('x')\n")
    for _ in range(3):
        named_attention(f"{file}:Mixer")
    assert Path(f"{file}.log").read_text() == "x"


def test_workers_know_classes_of_files_and_packages(file: Path, tmp_path: Path) -> None:
    records = attnlab.sweep(
        "copy",
        f"{file}:Mixer,torch.nn:GRU",
        complexity=[4],
        seeds=1,
        store=tmp_path / "s",
        executor="processes:1",
        **FAST,
    )
    assert [(one.spec.variant, one.status) for one in records] == [("my.py:Mixer", "done"), ("torch.nn:GRU", "done")]


def test_a_class_of_a_package_has_the_version_of_its_package(tmp_path: Path) -> None:
    (record,) = attnlab.train("copy", "torch.nn:GRU", complexity=4, store=None, **FAST)
    (code,) = record.environment["code"]
    assert code["package"].startswith("torch 2.")
    (same,) = attnlab.train("copy", nn.GRU, complexity=4, store=None, **FAST)
    (long,) = attnlab.train("copy", "torch.nn.modules.rnn:GRU", complexity=4, store=None, **FAST)
    assert record.id == same.id == long.id
    assert record.numbers() == same.numbers()


def test_initial_weights_follow_the_seed() -> None:
    losses = [
        attnlab.train("copy", nn.GRU, complexity=4, seed=seed, store=None, **FAST)[0].history[-1].loss
        for seed in (0, 1, 0)
    ]
    assert losses[0] == losses[2] != losses[1]


def test_a_run_is_known_again_once_its_file_is_loaded(file: Path) -> None:
    known_attention("my.py:Mixer")
    assert "my.py:Mixer" not in ATTENTIONS
    load_plugin(file)
    known_attention("my.py:Mixer")
    assert "my.py:Mixer" in ATTENTIONS
    known_attention("torch.nn:GRU")
    assert "torch.nn:GRU" in ATTENTIONS


@pytest.mark.parametrize(
    ("word", "error", "message"),
    [
        (
            "{file}:Mixr",
            UnknownNameError,
            r"has no class 'Mixr'; did you mean 'Mixer'\?",
        ),
        ("{file}:Nothing", InvalidValueError, "Nothing is a class, but no nn.Module"),
        ("{file}:VALUE", PluginError, "It is a int, not a class of modules"),
        ("{folder}/gone.py:Mixer", PluginError, "There is no such Python file"),
        ("no_such_package.mixers:Mixer", PluginError, "There is no module 'no_such_package' here"),
        ("torch.nn:Grus", UnknownNameError, r"torch.nn has no class 'Grus'; did you mean 'GRU'\?"),
        ("softmax:kernel", InvalidValueError, "'kernel' is not an option"),
        ("torch.nn:Conv1d", InvalidValueError, "needs the options 'in_channels', "),
    ],
)
def test_what_cannot_be_named_is_one_block(
    word: str, error: type[Exception], message: str, file: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        attnlab.train("copy", word.format(file=file, folder=tmp_path), complexity=4, store=None, **FAST)


def test_an_error_of_the_file_names_its_line(file: Path) -> None:
    file.write_text(FILE + "\nraise RuntimeError('not today')\n")
    with pytest.raises(PluginError, match=r"RuntimeError: not today\n  at .*my.py:\d+: raise RuntimeError"):
        named_attention(f"{file}:Mixer")


def test_an_error_of_the_constructor_names_its_line(file: Path) -> None:
    file.write_text(FILE.replace("super().__init__()\n", "super().__init__()\n        raise KeyError('weights')\n", 1))
    with pytest.raises(PluginError, match=r"KeyError: 'weights'\n  at .*my.py:\d+: raise KeyError"):
        attnlab.train("copy", f"{file}:Mixer", complexity=4, store=None, **FAST)


def test_two_files_of_one_name_are_told_apart(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "my.py"
    other.parent.mkdir()
    other.write_text(FILE.replace("decorated", "another"))
    named_attention(f"{file}:Mixer")
    with pytest.raises(PluginError, match="names two classes"):
        named_attention(f"{other}:Mixer")


def test_classes_that_are_passed_need_a_name_of_their_own() -> None:
    with pytest.raises(PluginError, match="A function without a name of its own"):
        attention_of(lambda dim: nn.Linear(dim, dim))
    with pytest.raises(PluginError, match="A GRU is no class of modules"):
        attention_of(nn.GRU(4, 4))
    with pytest.raises(PluginError, match="Another attention is registered as 'softmax'"):
        adopt_class(nn.GRU, "softmax", None)
    assert attention_words(["softmax", nn.GRU]) == ["softmax", "torch.nn:GRU"]
    assert attention_words(ATTENTIONS.entry("gpam").cls) == ["gpam"]
    assert attention_words(()) == []


def test_a_partial_is_a_class_with_options() -> None:
    (word,) = attention_words(functools.partial(nn.GRU, bias=False, dropout=0.1))
    assert word == "torch.nn:GRU:bias=false,dropout=0.1"
    assert parse_part(word, classes=True).options == {"bias": False, "dropout": 0.1}
    for value in (
        functools.partial(nn.GRU, 4),
        functools.partial(nn.GRU, device=object()),
        functools.partial(int, a="1"),
    ):
        with pytest.raises(PluginError, match="A partial is no class of modules"):
            attention_words(value)


LAMBDAS = """
import attnlab
from torch import nn

GATES = [lambda dim: nn.GRU(dim, dim, batch_first=True), lambda dim: nn.LSTM(dim, dim, batch_first=True)]
fast = {fast}
print(*[attnlab.train("copy", one, complexity=4, store=None, **fast)[0].id for one in GATES])
try:
    attnlab.train("copy", (lambda kept: lambda dim: nn.Linear(dim, kept))(4), **fast)
except attnlab.AttnlabError as error:
    print(error.problem)
"""


def test_a_lambda_of_a_script_is_named_by_what_it_says() -> None:
    lines = run_script(LAMBDAS.format(fast=FAST)).splitlines()
    assert lines[0] == run_script("# one line more\n" + LAMBDAS.format(fast=FAST)).splitlines()[0]
    assert len(set(lines[0].split())) == 2
    assert lines[1].startswith("A function without a name of its own")


def run_script(text: str) -> str:
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout


def test_a_position_that_needs_queries_and_keys_is_refused() -> None:
    for position in ("rotary", "alibi"):
        with pytest.raises(IncompatiblePartsError, match=r"Combine it with: .*learned"):
            attnlab.train("copy", nn.GRU, position=position, complexity=4, store=None, **FAST)


def test_what_adapt_makes_with_arguments_is_a_part_of_its_own(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    (tmp_path / "adapted.py").write_text(
        "from torch import nn\nfrom attnlab.attention import adapt\nMixer = adapt(nn.GRU, block=8)\n"
    )
    script.write_text(f"""
import attnlab, json
from torch import nn
from adapted import Mixer as Imported

if __name__ == "__main__":
    adapt = attnlab.attention.adapt
    Eight, Four, Same = adapt(nn.GRU, block=8), adapt(nn.GRU, block=4), adapt(nn.GRU)
    First = adapt(nn.GRU, block=4, returns=lambda out: out[0])
    given = [nn.GRU, Same, Eight, Four, First, "adapted.py:Mixer", Imported]
    fast = {FAST!r}
    names = [attnlab.train(attention=one, store="r", **fast)[0] for one in given]
    blocks = [attnlab.load_model(one, store="r").blocks[0].attention.block for one in names]
    Eight = adapt(nn.GRU, block=2)
    names += attnlab.train(attention=Eight, store="r", **fast)
    sweep = attnlab.sweep(attention=[Four, Imported], complexity=[4], store="s", executor="processes:1", **fast)
    print(json.dumps([[one.spec.variant for one in names], [one.id for one in names], blocks,
                      [one.status for one in sweep]]))
""")
    result = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr
    names, ids, blocks, statuses = json.loads(result.stdout)
    assert names[:2] == ["torch.nn:GRU"] * 2
    assert names[2:] == ["Eight", "Four", "First", "adapted.py:Mixer", "adapted:Mixer", "Eight"]
    assert ids[0] == ids[1], "without arguments it is the class"
    assert len(set(ids)) == len(ids) - 1, "other arguments of adapt are another run"
    assert blocks == [1, 1, 8, 4, 4, 8, 8]
    assert set(statuses) == {"done"}


def test_what_adapt_makes_with_arguments_needs_a_name() -> None:
    with pytest.raises(PluginError, match=r"needs a name, by which a record can tell it"):
        attention_of(attnlab.attention.adapt(nn.GRU, block=8))
