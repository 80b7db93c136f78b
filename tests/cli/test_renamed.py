"""Options and words of attnlab 0.1: accepted, with one line on the standard error for each."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from attnlab.cli.app import MODULES
from attnlab.cli.renamed import LEVELS, RENAMED, WITH_LEVELS, renamed_options
from attnlab.records import Record
from tests.cli.conftest import TINY, Command
from tests.cli.test_options import options

FLAGS = {"--skip", "--no-skip"}
"""Old options without a value."""
SWEEP: tuple[str, ...] = (
    "sweep",
    "--task",
    "copy",
    "--complexity",
    "2",
    "--seeds",
    "1",
    "--executor",
    "inline",
    "--device",
    "cpu",
)
SWEEP += ("--width", "8", "--steps", "2", "--set", "train.test_examples=8", "--set", "train.validation_examples=4")
DIAGNOSE = (
    "diagnose",
    "attention",
    "--task",
    "copy",
    "--layers",
    "2",
    "--width",
    "8",
    "--seeds",
    "1",
    "--sequences",
    "2",
)
PLUGIN = """\
from attnlab.attention import Attention, register

@register("mine", source="me")
class Mine(Attention):
    \"\"\"Mine.\"\"\"
"""
OLD = """\
name: mine
question: Does it?
ladders: [{ladder: copy, rungs: [1, 2]}]
vary: {attention: [softmax, gpam], decay: [0.0, 0.1]}
select: [decay]
taken: 0.5
seeds: 1
model: {width: 8, layers: 1, mlp: 2, skip: false, tie: true, scale: 0.1}
train:
  steps: 3
  batch: 4
  test: 8
  validation: 4
  examples: 8
  stop_at: 0.9
  validate_every: 2
  warmup: 0.1
  floor: 0.2
  clip: 0.5
  optimiser: adamw
  watch: [rank]
report: {rows: [attention, member], value: answers}
claims: [{says: Up, of: {attention: gpam, complexity: 2}, than: {attention: softmax}, value: answers, expect: greater}]
scales: {smoke: {train: {steps: 2}}}
"""
NEW = """\
name: mine
question: Does it?
ladders: [{ladder: copy, levels: [1, 2]}]
grid: {attention: [softmax, gpam], weight_decay: [0.0, 0.1]}
tune: [weight_decay]
expected_steps: 0.5
seeds: 1
model: {width: 8, layers: 1, mlp_ratio: 2, residual: false, tie_embeddings: true, init_scale: 0.1}
train:
  max_steps: 3
  batch_size: 4
  test_examples: 8
  validation_examples: 4
  train_examples: 8
  early_stop_accuracy: 0.9
  eval_every: 2
  warmup_ratio: 0.1
  min_lr_ratio: 0.2
  grad_clip: 0.5
  optimizer: adamw
  log_diagnostics: [rank]
report: {index: [attention, subtask], metric: exact_match}
claims: [{says: Up, of: {attention: gpam, level: 2}, than: {attention: softmax}, metric: exact_match, expect: greater}]
presets: {smoke: {train: {max_steps: 2}}}
"""
LADDER = """\
name: mine
summary: A ladder of mine.
task: copy
complexity: symbols
rungs: [1, 2]
default: 1
source: me
train: {steps: 2}
"""
WORDS = {
    "rungs": "levels",
    "vary": "grid",
    "select": "tune",
    "taken": "expected_steps",
    "decay": "weight_decay",
    "mlp": "mlp_ratio",
    "skip": "residual",
    "tie": "tie_embeddings",
    "scale": "init_scale",
    "steps": "max_steps",
    "batch": "batch_size",
    "test": "test_examples",
    "validation": "validation_examples",
    "examples": "train_examples",
    "stop_at": "early_stop_accuracy",
    "validate_every": "eval_every",
    "warmup": "warmup_ratio",
    "floor": "min_lr_ratio",
    "clip": "grad_clip",
    "optimiser": "optimizer",
    "watch": "log_diagnostics",
    "rows": "index",
    "member": "subtask",
    "value": "metric",
    "answers": "exact_match",
    "complexity": "level",
    "scales": "presets",
}
"""Old words of the file, and what they are called now."""


@pytest.mark.parametrize(
    ("name", "old", "new"), [(name, old, new) for name, names in RENAMED.items() for old, new in names.items()]
)
def test_an_old_option_is_accepted_with_one_line(
    name: str, old: str, new: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser refuses an option that it does not have before it shows the help."""
    monkeypatch.setenv("COLUMNS", "200")
    for words in [(old,)] if old in FLAGS else [(old, "1"), (f"{old}=1",)]:
        result = command(name, *words, "--help")
        assert (result.status, result.error) == (0, f"attnlab: {old} is now called {new}.\n")
        assert new in result.out
    assert new in options(name)
    assert old not in options(name)


def test_every_command_with_plugins_accepts_the_old_option() -> None:
    assert {name for name in MODULES if "--plugin" in options(name)} == {
        name for name, names in RENAMED.items() if "--with" in names
    }


def test_levels_are_accepted_by_the_word_of_the_tables() -> None:
    assert {name for name in MODULES if "--complexity" in options(name)} == WITH_LEVELS
    for word in LEVELS:
        assert renamed_options("train", [word, "4", f"{word}=8"]) == (["--complexity", "4", "--complexity=8"], [])
        assert renamed_options("ls", [word, "4"]) == ([word, "4"], [])


def test_other_words_stay() -> None:
    words = ["copy", "--seed", "3", "--set", "--with=1", "--", "--with", "x"]
    assert renamed_options("sample", words)[0] == ["copy", "--seed", "3", "--set", "--plugin=1", "--", "--with", "x"]
    assert renamed_options("cp", ["--with", "x"]) == (["--with", "x"], [])
    twice = renamed_options("train", ["--with", "a.py", "--with", "b.py"])
    assert twice == (["--plugin", "a.py", "--plugin", "b.py"], ["--with is now called --plugin."])


@pytest.mark.parametrize(
    ("words", "old", "new"),
    [
        (("train", *TINY, "--attn", "mine"), "--with mine.py --lanes 1", "--plugin mine.py --vmap 1"),
        ((*SWEEP, "--attn", "mine"), "--with mine.py --lanes 1", "--plugin mine.py --vmap 1"),
        (SWEEP, "--vary lr=1e-3,3e-3", "--grid lr=1e-3,3e-3"),
        (("sweep", "mine.yaml", "--executor", "inline"), "--scale smoke", "--preset smoke"),
        (
            (*DIAGNOSE, "--no-mlp"),
            "--no-skip --gain 0.5 --map 1.1",
            "--no-residual --branch-gain 0.5 --attention-map 1.1",
        ),
        (DIAGNOSE, "--skip", "--residual"),
        (DIAGNOSE[:-2], "--batch 2", "--sequences 2"),
        (("sample", "copy"), "--rows 2", "--sequences 2"),
        (("generate", "copy", "--out", "b.jsonl", "--force"), "--n=4", "--sequences=4"),
        (("audit", "copy", "--complexity", "1"), "--samples 64", "--sequences 64"),
        (("generate", "copy", "--sequences", "4", "--out", "a.jsonl", "--force"), "--stream test", "--split test"),
    ],
)
def test_an_old_option_has_the_effect_of_the_new_one(
    words: tuple[str, ...], old: str, new: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "mine.yaml").write_text(NEW)
    words = (*words, "--json", "--quiet") if words[0] in ("train", "sweep") else (*words, "--json")
    first, second = command(*words, *old.split()), command(*words, *new.split())
    names = [name for name in RENAMED[words[0]] if name in {word.partition("=")[0] for word in old.split()}]
    notes = [f"attnlab: {name} is now called {RENAMED[words[0]][name]}." for name in names]
    assert (sorted(first.error.splitlines()), second.error) == (sorted(notes), "")
    assert first.status == second.status != 2
    if words[0] in ("train", "sweep"):
        assert numbers(first.out) == numbers(second.out)
    else:
        assert first.out == second.out != ""


def test_evaluate_has_the_old_option_of_extrapolation(command: Command) -> None:
    run = Record.from_line(command("train", *TINY, "--pos", "rotary", "--quiet", "--json").out).id
    words = ("evaluate", run, "--length", "8", "--sequences", "4", "--json", "--quiet")
    old, new = command(*words, "--as", "yarn"), command(*words, "--extrapolation", "yarn")
    assert old.error == "attnlab: --as is now called --extrapolation.\n"
    assert old.out == new.out
    assert (old.status, new.status, new.error) == (0, 0, "")


def test_the_program_prints_the_line_and_goes_on(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "attnlab",
        "train",
        *TINY,
        "--lanes",
        "1",
        "--set",
        "train.batch=4",
        "--json",
        "--quiet",
    ]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "attnlab: --lanes is now called --vmap.",
        "attnlab: --set: 'batch' is called 'batch_size' in Python and in YAML; "
        "--batch is the option of the command line.",
    ]
    assert Record.from_line(done.stdout).spec.train.batch_size == 4


def test_old_words_of_an_experiment_work_with_one_line_each(command: Command, tmp_path: Path) -> None:
    results = []
    for name, text in (("old.yaml", OLD), ("new.yaml", NEW)):
        (tmp_path / name).write_text(text)
        words = (
            "--preset",
            "smoke",
            "--executor",
            "inline",
            "--device",
            "cpu",
            "--json",
            "--quiet",
            "--store",
            name[:3],
        )
        results.append(command("sweep", name, *words))
    old, new = results
    assert old.status == new.status != 2
    assert new.error == ""
    assert numbers(old.out) == numbers(new.out)
    lines = old.error.splitlines()
    assert len(lines) == len(set(lines)) == len(WORDS) + 4  # decay, steps, value and answers occur twice
    assert all(line.startswith("attnlab: old.yaml:") for line in lines)
    for word, now in WORDS.items():
        told = f"'{word}' is now called '{now}'."
        if word in ("steps", "batch"):
            told = f"'{word}' is called '{now}' in Python and in YAML; --{word} is the option of the command line."
        assert [line for line in lines if line.endswith(told)], word


def test_a_store_has_the_new_words_of_an_old_experiment(command: Command, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(OLD)
    command("sweep", "old.yaml", "--preset", "smoke", "--executor", "inline", "--quiet", "--store", "here")
    stored = json.loads((tmp_path / "here" / "experiment.json").read_text())
    assert stored["grid"].keys() == {"attention", "weight_decay"}
    assert stored["train"]["max_steps"] == 2
    result = command("report", "here", "--index", "attention")
    assert "is now called" not in result.error
    assert "copy  exact match in % by symbols" in result.out


def test_the_same_line_is_printed_by_the_next_command_too(command: Command, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(LADDER)
    for name in ("train", "sweep"):
        words: tuple[str, ...] = (
            name,
            "--task",
            "./old.yaml",
            "--device",
            "cpu",
            "--json",
            "--quiet",
            "--set",
            "model.width=8",
        )
        words += ("--seeds", "1", "--set", "train.test=8", "--set", "train.validation=4")
        result = command(*words, *(("--executor", "inline", "--complexity", "1") if name == "sweep" else ()))
        assert result.status == 0
        assert sorted(line.rpartition(": ")[2] for line in result.error.splitlines()) == [
            "'rungs' is now called 'levels'.",
            "'steps' is called 'max_steps' in Python and in YAML; --steps is the option of the command line.",
            "'test' is now called 'test_examples'.",
            "'validation' is now called 'validation_examples'.",
        ]


def test_the_old_name_of_a_mixture_and_its_options(command: Command) -> None:
    words = (*SWEEP[:1], *SWEEP[5:], "--complexity", "0", "--json", "--quiet")
    old = command(*words, "--task", "medley:members=[copy,parity]", "--store", "old")
    new = command(*words, "--task", "mixture:tasks=[copy,parity]", "--store", "new")
    assert (old.status, new.status, new.error) == (0, 0, "")
    assert sorted(line.rpartition(": ")[2] for line in old.error.splitlines()) == [
        "'medley' is now called 'mixture'.",
        "'members' is now called 'tasks'.",
    ]
    assert numbers(old.out) == numbers(new.out)


def test_an_old_word_beside_its_new_one_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text(NEW.replace("  max_steps: 3\n", "  max_steps: 3\n  steps: 4\n"))
    result = command("sweep", "both.yaml", "--executor", "inline")
    assert result.status == 2
    assert "'steps' is now called 'max_steps', and both are given." in result.error


def test_other_warnings_are_shown_as_usual(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    def warn(files: object) -> None:
        warnings.warn("something else", UserWarning, stacklevel=1)

    monkeypatch.setattr("attnlab.cli.catalog.load_plugins", warn)
    with pytest.warns(UserWarning, match="something else"):
        command("ls", "tasks")


def numbers(lines: str) -> list[tuple[object, object]]:
    """The specs and the results of the records that a command printed."""
    records = [Record.from_line(line) for line in lines.splitlines()]
    assert records
    return [(record.spec, record.numbers()) for record in records]
