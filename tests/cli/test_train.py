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


def test_it_ends_in_a_table_and_the_folder_of_the_results(command: Command, tmp_path: Path) -> None:
    result = command("train", *TINY, "--attn", "softmax,gpam:plus=0.25", "--pos", "learned,none", "--seeds", "2")
    assert result.status == 0
    assert result.out.startswith("copy, symbols 2 (chance 53.1 %)")
    assert result.out.rstrip().endswith("Stored in results/: records.jsonl, weights/, optimizer/.")
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
    assert result.error.splitlines()[0] == "copy symbols=2 · softmax · fourier · seed 0: 1,888 weights on cpu"
    assert result.error.splitlines()[1].startswith("  step 3/3  loss ")


def test_quiet_shows_no_progress(command: Command) -> None:
    assert command("train", *TINY, "--quiet").error == ""


def test_json_prints_records_and_nothing_else(command: Command) -> None:
    settings = ("--set", "train.weight_decay=0.5", "--set", "model.norm=post", "--lr", "1e-2")
    result = command("train", *TINY, "--json", *settings)
    record = Record.from_line(result.out)
    assert record.spec.train.weight_decay == 0.5
    assert record.spec.train.lr == 0.01
    assert record.spec.model.norm == "post"
    assert record.steps == 3


def test_steps_are_not_compiled_with_never(command: Command) -> None:
    (line,) = command("train", *TINY, "--json", "--compile", "never").out.splitlines()
    assert Record.model_validate_json(line).environment["compiled"] is False
    assert command("train", *TINY, "--compile", "perhaps").status == 2


def test_the_same_command_gives_the_same_numbers(command: Command) -> None:
    first, second, other = (
        Record.from_line(command("train", *TINY, "--json", "--seed", seed).out) for seed in ("3", "3", "4")
    )
    assert first.numbers() == second.numbers()
    assert first.history != other.history


def test_a_plugin_registers_a_variant(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from attnlab.attention import Attention, register\n"
        "@register('mine', source='me')\n"
        "class Mine(Attention):\n"
        "    'Mine.'\n"
        "    def score(self, qkv):\n"
        "        return super().score(qkv) * 2\n"
    )
    result = command("train", *TINY, "--plugin", "mine.py", "--attn", "mine", "--json")
    assert Record.from_line(result.out).spec.variant == "mine"
    shown = command("show", "mine", "--plugin", "mine.py")
    assert shown.out.startswith("mine  attention, version 1\nMine.\n")


def test_resume_skips_finished_runs(command: Command, tmp_path: Path) -> None:
    command("train", *TINY)
    result = command("train", *TINY, "--seeds", "2", "--resume", "--json")
    assert [json.loads(line)["spec"]["seed"] for line in result.out.splitlines()] == [0, 1]
    assert len((tmp_path / "results" / "records.jsonl").read_text().splitlines()) == 2


def test_an_interrupted_run_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    words = ["--task", "copy", "--complexity", "3", "--width", "16", "--steps", "300", "--json", "--quiet"]
    words += ["--set", "train.early_stop_accuracy=null", "--set", "train.eval_every=50", "--set", "train.batch_size=4"]
    starter = "import attnlab.training.run as r; r.train_groups.__kwdefaults__['checkpoint_seconds'] = 0.05; "
    line = [sys.executable, "-c", f"{starter}from attnlab.cli import main; main()", "train", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(store: str, *more: str) -> subprocess.CompletedProcess[str]:
        whole = [*line, "--store", store, *more]
        return subprocess.run(whole, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    whole = run("whole")
    for kind in (signal.SIGINT, signal.SIGKILL):
        store = kind.name
        stopped = subprocess.Popen(
            [*line, "--store", store], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
        )
        checkpoints = tmp_path / store / "checkpoints"
        while not [path for path in checkpoints.glob("*.safetensors") if path.name[0] != "."]:
            assert stopped.poll() is None, "it ended before it could be stopped"
            time.sleep(0.01)
        stopped.send_signal(kind)
        _, error = stopped.communicate()
        if kind == signal.SIGINT:
            assert stopped.returncode == 130
            assert error.startswith("attnlab: Interrupted at step ")
            assert "The checkpoint is kept; add --resume to go on from it." in error
            assert error.rstrip().endswith(f"--store {store} --resume")
        resumed = run(store, "--resume")
        assert (resumed.returncode, whole.returncode) == (0, 0), resumed.stderr + whole.stderr
        assert Record.from_line(resumed.stdout).numbers() == Record.from_line(whole.stdout).numbers()
        weights = [(tmp_path / one / "weights").glob("*") for one in (store, "whole")]
        assert next(weights[0]).read_bytes() == next(weights[1]).read_bytes()
        assert not list(checkpoints.glob("*.safetensors"))


UNVMAPPABLE = """
from attnlab.attention import Attention, register

@register("branchy", source="nobody")
class Branchy(Attention):
    \"\"\"Branches on a weight.\"\"\"

    def score(self, qkv):
        scores = super().score(qkv)
        return scores if self.query.weight.sum() > -1e9 else -scores
"""


def test_vmap_trains_seeds_together(command: Command) -> None:
    result = command("train", *TINY, "--seeds", "3", "--vmap", "2", "--json", "--quiet")
    records = [Record.from_line(line) for line in result.out.splitlines()]
    assert [record.spec.seed for record in records] == [0, 1, 2]
    assert [record.environment["vmap"] for record in records] == [2, 2, 1]


@pytest.mark.parametrize("word", ["0", "-1", "many", "2.5", ""])
def test_a_number_of_vmapped_runs_is_at_least_one(command: Command, word: str) -> None:
    result = command("train", *TINY, f"--vmap={word}")
    assert result.status == 2
    assert f"'{word}' is not a number of runs." in result.error
    assert "Write auto, or a number such as 8." in result.error


def test_vmap_of_an_attention_that_cannot_be_vmapped_is_refused_by_both_commands(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(UNVMAPPABLE)
    for words in (("train", *TINY), ("sweep", "--task", "copy", "--complexity", "2", "--seeds", "2")):
        result = command(*words, "--plugin", "mine.py", "--attn", "branchy", "--vmap", "2")
        assert result.status == 2
        assert "--vmap 2\n  'branchy' cannot be vmapped: RuntimeError: vmap: It looks like" in result.error
        assert not (tmp_path / "results").exists()
    assert command("train", *TINY, "--plugin", "mine.py", "--attn", "branchy", "--vmap", "auto").status == 0


def test_a_run_is_continued_and_the_tables_say_from_which(command: Command) -> None:
    words = [word for word in TINY if word not in ("--steps", "3")]
    first = Record.from_line(command("train", *words, "--steps", "3", "--json").out)
    longer = command("train", *words, "--steps", "6", "--resume")
    assert f"run {first.id} of this variant has taken 3 steps; this one begins at step 0." in longer.error
    result = command("train", *words, "--steps", "9", "--continue-from", first.id[:6])
    assert "resumed at step 3" in result.error
    assert "softmax · continues" in result.out
    assert first.id in result.out
    record = Store(Path("results")).records()[-1]
    assert (record.steps, record.spec.continue_from) == (9, first.id)
    assert f"continues {first.id}" in " ".join(command("ls", "results").out.split())
    refused = command("train", *words, "--steps", "9", "--heads", "1", "--continue-from", first.id)
    assert refused.status == 2
    assert refused.error == (
        f"attnlab: --continue-from {first.id}\n  Run {first.id} has model.heads 2, not 1.\n"
        "  Give it the values of that run, or leave --continue-from out.\n"
    )
