"""``attnlab train`` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attnlab.records import Record
from attnlab.storage import Store
from tests.cli.conftest import TINY, Command


def test_it_ends_in_a_table_and_says_where_it_wrote(command: Command, tmp_path: Path) -> None:
    result = command("train", *TINY, "--attn", "softmax,gpam:plus=0.25", "--pos", "learned,none", "--seeds", "2")
    assert result.status == 0
    assert result.out.startswith("copy, symbols 2 (chance 6.2 %)")
    assert result.out.rstrip().endswith("Kept in results/: records.jsonl, weights/.")
    assert max(map(len, result.out.splitlines())) <= 80
    records = Store(tmp_path / "results").records()
    variants = [(record.spec.variant, record.spec.model.position.name, record.spec.seed) for record in records]
    assert variants[:3] == [("softmax", "learned", 0), ("softmax", "learned", 1), ("softmax", "none", 0)]
    assert len(set(variants)) == 8
    assert "gpam:plus=0.25" in result.out
    assert "· rotary" not in result.out
    assert result.out.count("· none") == 4
    assert len(list((tmp_path / "results" / "weights").iterdir())) == 8


def test_progress_goes_to_the_standard_error_as_plain_lines(command: Command) -> None:
    result = command("train", *TINY)
    assert result.error.splitlines()[0] == "copy symbols=2 · softmax · learned · seed 0: 1,920 weights on cpu"
    assert result.error.splitlines()[1].startswith("  step 3/3  loss ")


def test_quiet_says_nothing_on_the_way(command: Command) -> None:
    assert command("train", *TINY, "--quiet").error == ""


def test_json_prints_records_and_nothing_else(command: Command) -> None:
    result = command("train", *TINY, "--json", "--set", "train.decay=0.5", "--set", "model.norm=post", "--lr", "1e-2")
    record = Record.from_line(result.out)
    assert record.spec.train.weight_decay == 0.5
    assert record.spec.train.lr == 0.01
    assert record.spec.model.norm == "post"
    assert record.steps == 3


def test_steps_are_compiled_only_where_it_is_asked_for_or_pays(command: Command) -> None:
    (line,) = command("train", *TINY, "--json", "--compile", "never").out.splitlines()
    assert Record.model_validate_json(line).environment["compiled"] is False
    assert command("train", *TINY, "--compile", "perhaps").status == 2


def test_the_same_command_gives_the_same_numbers(command: Command) -> None:
    first, second, other = (
        Record.from_line(command("train", *TINY, "--json", "--seed", seed).out) for seed in ("3", "3", "4")
    )
    assert first.numbers() == second.numbers()
    assert first.history != other.history


def test_a_users_file_brings_a_variant(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from attnlab.attention import Attention, register\n"
        "@register('mine', source='me')\n"
        "class Mine(Attention):\n"
        "    'Mine.'\n"
        "    def score(self, heads):\n"
        "        return super().score(heads) * 2\n"
    )
    result = command("train", *TINY, "--with", "mine.py", "--attn", "mine", "--json")
    assert Record.from_line(result.out).spec.variant == "mine"
    shown = command("show", "mine", "--with", "mine.py")
    assert shown.out.startswith("mine  attention, version 1\nMine.\n")


def test_resume_skips_what_is_done(command: Command, tmp_path: Path) -> None:
    command("train", *TINY)
    result = command("train", *TINY, "--seeds", "2", "--resume", "--json")
    assert [json.loads(line)["spec"]["seed"] for line in result.out.splitlines()] == [0, 1]
    assert len((tmp_path / "results" / "records.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(kind: signal.Signals, tmp_path: Path) -> None:
    words = ["--task", "copy", "--complexity", "3", "--width", "16", "--steps", "300", "--json", "--quiet"]
    words += ["--set", "train.stop_at=null", "--set", "train.validate_every=50", "--set", "train.batch=4"]
    starter = "import attnlab.training.run as r, attnlab.training.loop; r.trained.__kwdefaults__['pause'] = 0.05; "
    line = [sys.executable, "-c", f"{starter}from attnlab.cli import main; main()", "train", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(store: str, *more: str) -> subprocess.CompletedProcess[str]:
        whole = [*line, "--store", store, *more]
        return subprocess.run(whole, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    stopped = subprocess.Popen(
        [*line, "--store", "stopped"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    saved = tmp_path / "stopped" / "checkpoints"
    while not (
        saved.is_dir() and any(path.suffix == ".safetensors" and path.name[0] != "." for path in saved.iterdir())
    ):
        assert stopped.poll() is None, "it ended before it could be stopped"
        time.sleep(0.01)
    stopped.send_signal(kind)
    _, error = stopped.communicate()
    if kind == signal.SIGINT:
        assert stopped.returncode == 130
        assert error.startswith("attnlab: InterruptedTraining at step ")
        assert "The checkpoint is kept; add --resume to go on from it." in error
        assert error.rstrip().endswith("--store stopped --resume")
    resumed, whole = run("stopped", "--resume"), run("whole")
    assert (resumed.returncode, whole.returncode) == (0, 0), resumed.stderr + whole.stderr
    assert Record.from_line(resumed.stdout).numbers() == Record.from_line(whole.stdout).numbers()
    weights = [(tmp_path / store / "weights").glob("*") for store in ("stopped", "whole")]
    assert next(weights[0]).read_bytes() == next(weights[1]).read_bytes()
    assert not list(saved.glob("*.safetensors"))


UNSTACKABLE = """
from attnlab.attention import Attention, register

@register("branchy", source="nobody")
class Branchy(Attention):
    \"\"\"Branches on a number.\"\"\"

    def score(self, heads):
        scores = super().score(heads)
        return scores if scores.sum() > 0 else -scores
"""


def test_lanes_train_seeds_together(command: Command) -> None:
    result = command("train", *TINY, "--seeds", "3", "--lanes", "2", "--json", "--quiet")
    records = [Record.from_line(line) for line in result.out.splitlines()]
    assert [record.spec.seed for record in records] == [0, 1, 2]
    assert [record.environment["lanes"] for record in records] == [2, 2, 1]


@pytest.mark.parametrize("word", ["0", "-1", "many", "2.5", ""])
def test_a_word_that_is_no_number_of_lanes(command: Command, word: str) -> None:
    result = command("train", *TINY, f"--lanes={word}")
    assert result.status == 2
    assert f"'{word}' is no number of lanes." in result.error
    assert "Write auto, or a number such as 8." in result.error


def test_lanes_of_what_cannot_be_stacked_are_refused_by_both_commands(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(UNSTACKABLE)
    for words in (("train", *TINY), ("sweep", "--task", "copy", "--complexity", "2", "--seeds", "2")):
        result = command(*words, "--with", "mine.py", "--attn", "branchy", "--lanes", "2")
        assert result.status == 2
        assert "--lanes 2\n  'branchy' cannot be stacked: RuntimeError: vmap: It looks like" in result.error
        assert not (tmp_path / "results").exists()
    assert command("train", *TINY, "--with", "mine.py", "--attn", "branchy", "--lanes", "auto").status == 0
