"""``attnlab sweep`` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from attnlab.config.experiment import experiment
from attnlab.records import Record
from attnlab.storage import Store
from tests.cli.conftest import Command
from tests.experiments.sweeps import drive, numbers

TINY = ["--task", "copy", "--complexity", "1,2", "--executor", "inline", "--device", "cpu"]
SIZES = ["model.width=8", "model.layers=1", "train.max_steps=3", "train.batch_size=4"]
SIZES += ["train.test_examples=8", "train.validation_examples=4"]
TINY += [word for size in SIZES for word in ("--set", size)]
FILE = """\
name: mine
question: Does it?
ladders: [{ladder: copy, levels: [1, 2]}]
grid: {attention: [softmax, gpam]}
seeds: 2
model: {width: 8, layers: 1}
train: {max_steps: 3, batch_size: 4, test_examples: 8, validation_examples: 4}
presets: {smoke: {seeds: 1}}
"""


def test_it_ends_in_a_report_and_running_it_again_runs_nothing(command: Command, tmp_path: Path) -> None:
    result = command("sweep", *TINY, "--attn", "softmax,gpam", "--seeds", "2")
    assert result.status == 0, result.error
    assert "copy: 8 runs, 0 done already; this process, one run after the other; results/copy/" in result.error
    assert "8/8" in result.error
    assert "gpam" in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    again = command("sweep", *TINY, "--attn", "softmax,gpam", "--seeds", "2")
    assert "8 done already" in again.error
    assert again.out == result.out
    assert len((tmp_path / "results/copy/records.jsonl").read_bytes().splitlines()) == 8


def test_a_sweep_that_goes_on_has_the_rows_of_one_that_was_not_stopped(command: Command) -> None:
    words = ["sweep", "--task", "delay:lags=[2,3]", *TINY[2:]]
    first = command(*words, "--seeds", "1", "--complexity", "3,5")
    assert first.status == 0, first.error
    more = command(*words, "--seeds", "3", "--complexity", "3,5")
    assert "2 done already" in more.error
    whole = command(*words, "--seeds", "3", "--complexity", "3,5", "--store", "whole")
    assert more.out.replace("results/delay", "whole") == whole.out


def test_json_prints_records_in_the_order_of_the_plan(command: Command) -> None:
    result = command("sweep", *TINY, "--attn", "gpam", "--seeds", "2", "--json", "--quiet", "--no-weights")
    records = [Record.from_line(line) for line in result.out.splitlines()]
    assert [(record.spec.task.level, record.spec.seed) for record in records] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert result.error == ""
    assert not Path("results/copy/weights").exists()


def test_a_dry_run_writes_nothing(command: Command, tmp_path: Path) -> None:
    result = command("sweep", *TINY, "--seeds", "3", "--dry-run")
    assert result.status == 0, result.error
    assert "6 runs, 0 already done, 6 to run" in result.out
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_a_decided_sweep_says_that_its_runs_are_the_most(command: Command) -> None:
    words = ("sweep", *TINY, "--until", "decided", "--budget", "10s", "--dry-run")
    text = " ".join(command(*words).out.split())
    assert "These are the most runs: until decided, fewer may be enough, and it ends after 10s." in text


def test_a_dry_run_tells_start_up_and_has_json(command: Command, tmp_path: Path) -> None:
    words = " ".join(command("sweep", "quickstart", "--preset", "smoke", "--dry-run").out.split())
    assert "Expected: " in words
    assert "of it to start and to plan." in words
    assert "At most 12 steps in all" in words
    data = json.loads(command("sweep", "quickstart", "--preset", "smoke", "--dry-run", "--json").out)
    low, high = data["range"]
    assert 0 < data["start_up"] < data["expected"] <= data["whole"]
    assert low < data["expected"] < high
    assert (data["most_steps"], data["missing"], len(data["shapes"])) == (12, 2, 2)
    assert list(tmp_path.iterdir()) == []


def test_an_experiment_file_at_a_preset(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FILE)
    result = command("sweep", "mine.yaml", "--preset", "smoke", "--executor", "inline", "--quiet", "--json")
    assert (result.status, len(result.out.splitlines())) == (0, 4), result.error
    more = command("sweep", "mine.yaml", "--executor", "inline", "--quiet", "--json", "--set", "train.max_steps=2")
    assert len(more.out.splitlines()) == 8
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["mine"]


def test_a_recipe_of_an_experiment_is_what_setting_its_fields_is(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FILE)
    quick = ("--preset", "smoke", "--executor", "inline", "--quiet", "--json")
    spelled = command("sweep", "mine.yaml", *quick, "--set", "train.optimizer=muon", "--lr", "0.01")
    named = command("sweep", "mine.yaml", *quick, "--recipe", "muon")
    assert (named.status, named.out) == (0, spelled.out), named.error
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["mine"]
    wrong = command("sweep", "mine.yaml", *quick, "--recipe", "muno")
    assert (wrong.status, wrong.error.splitlines()[0]) == (2, "attnlab: --recipe")


def test_a_failed_run_ends_in_status_one_and_is_tried_again(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ArithmeticError("the sum is wrong")

    with monkeypatch.context() as context:
        context.setattr("attnlab.training.loop.Loop._step", broken)
        result = command("sweep", *TINY, "--seeds", "1", "--json")
    assert result.status == 1
    assert {Record.from_line(line).status for line in result.out.splitlines()} == {"failed"}
    assert "ArithmeticError: the sum is wrong" in result.error
    mended = command("sweep", *TINY, "--seeds", "1", "--json")
    assert mended.status == 0
    assert {Record.from_line(line).status for line in mended.out.splitlines()} == {"done"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "copi"], "attnlab: task\n  There is no task 'copi'; did you mean 'copy'?"),
        (["--attn", "softmax"], "attnlab: sweep\n  There is nothing to sweep.\n  Name an experiment"),
        (["nosuch"], "attnlab: There is no experiment 'nosuch'"),
        (["mine.yaml", "--attn", "gpam"], "attnlab: --attn\n  The experiment 'mine.yaml' sets that itself."),
        (["mine.yaml", "--preset", "paper"], "attnlab: --preset\n  'mine' has no preset 'paper'"),
        (["mine.yaml", "--set", "modle.width=3"], "attnlab: --set modle\n  There is no section 'modle'; did you mean"),
        (["mine.yaml", "--set", "model=3"], "attnlab: --set model\n  'model' is a section."),
        (
            ["mine.yaml", "--set", "task.alphabet=3"],
            "attnlab: --set task\n  The ladders of an experiment set the options of their tasks.",
        ),
        (["--task", "copy", "--preset", "smoke"], "attnlab: --preset\n  An experiment without a file has no presets."),
        (["--task", "copy", "--complexity", ","], "attnlab: --complexity\n  No level is given."),
        (["--task", "copy", "--complexity", ""], "attnlab: --complexity\n  No level is given."),
        (["--task", "copy", "--grid", "lr="], "attnlab: --grid\n  'lr=' has no values."),
        (["--task", "copy", "--grid", "lrr=1"], "attnlab: grid.lrr\n  There is no key 'lrr'; did you mean 'lr'?"),
        (["--task", "copy", "--grid", "lr=0"], "attnlab: train.lr\n  It cannot be 0"),
        (
            ["--task", "copy", "--attn", "delta", "--pos", "alibi"],
            "attnlab: model.position\n  'delta' has no attention scores",
        ),
        (["--task", "copy", "--executor", "proces"], "attnlab: --executor\n  There is no executor 'proces'"),
        (["--task", "copy", "--plugin", "absent.py"], "attnlab: --plugin absent.py\n  There is no such Python file."),
    ],
)
def test_a_mistake_gives_one_message_before_anything_starts(
    words: list[str], message: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(FILE)
    result = command("sweep", *words)
    assert result.status == 2
    assert result.error.startswith(message)
    assert (result.out, [path.name for path in tmp_path.iterdir()]) == ("", ["mine.yaml"])


def test_the_store_of_another_experiment_and_a_second_sweep_are_refused(command: Command, tmp_path: Path) -> None:
    from filelock import FileLock

    assert command("sweep", *TINY, "--seeds", "1", "--store", "here").status == 0
    (tmp_path / "mine.yaml").write_text(FILE)
    result = command("sweep", "mine.yaml", "--store", "here", "--executor", "inline")
    assert result.status == 2
    assert "attnlab: here\n  This store belongs to the experiment 'copy'." in result.error
    with FileLock(tmp_path / "here" / "sweep.lock"):
        result = command("sweep", *TINY, "--seeds", "2", "--store", "here")
    assert result.status == 2
    assert "attnlab: here\n  Another sweep is running here." in result.error


@pytest.mark.parametrize("twice", [pytest.param(False, marks=pytest.mark.slow), True])
def test_ctrl_c_ends_in_130_and_the_same_command_resumes(twice: bool, tmp_path: Path) -> None:
    """In a terminal, Ctrl-C sends the signal to the whole group of processes, workers too."""
    words = ["sweep", *TINY, "--executor", "processes:2", "--seeds", "2", "--set", "train.max_steps=3000", "--json"]
    words += ["--set", "train.early_stop_accuracy=null", "--set", "train.eval_every=1000"]
    script = f"import sys; sys.argv = {['attnlab', *words]}\nif __name__ == '__main__':\n"
    script += "    from attnlab.cli import main; main()"
    stopped = drive(script, tmp_path)
    journal = tmp_path / "results" / "copy" / "records.jsonl"
    deadline = time.monotonic() + 240
    while not (journal.exists() and journal.stat().st_size):
        assert stopped.poll() is None, stopped.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(stopped.pid, signal.SIGINT)
    if twice:
        time.sleep(0.01)
        os.killpg(stopped.pid, signal.SIGINT)
    _, error = stopped.communicate(timeout=120)
    assert stopped.returncode == 130, error
    assert "Traceback" not in error
    store = Store(tmp_path / "results" / "copy")
    done = len(store.records())
    assert 1 <= done < 4
    if twice:
        return
    assert f"attnlab: Interrupted: {done} of 4 runs are done.\n  Nothing is lost" in error
    assert len(list((store.path / "checkpoints").iterdir())) >= 1
    resumed, whole = (
        drive(script, tmp_path),
        drive(script.replace("'--json'", "'--json', '--store', 'whole'"), tmp_path),
    )
    outputs = [process.communicate(timeout=400) for process in (resumed, whole)]
    assert (resumed.returncode, whole.returncode) == (0, 0), outputs
    records = [numbers(map(Record.from_line, out.splitlines())) for out, _ in outputs]
    assert records[0] == records[1]
    assert len(records[0]) == 4


def test_a_page_has_the_command_that_was_typed_and_the_file_as_it_was(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"# <mine> & yours\n{FILE}")
    words = ("sweep", "./mine.yaml", "--preset", "smoke", "--executor", "inline", "--device", "cpu", "--quiet")
    assert command(*words).status == 0
    (tmp_path / "mine.yaml").write_text("edited since")
    assert command("report", "mine", "--html", "a.html").status == 0
    page = (tmp_path / "a.html").read_text()
    assert f"attnlab {' '.join(words)}" in page
    assert "# &lt;mine&gt; &amp; yours" in page
    assert "edited since" not in page


def test_an_edited_copy_of_a_shipped_experiment_has_a_store_of_its_own(tmp_path: Path, command: Command) -> None:
    names = []
    for target in ("quickstart.yaml", "wider.yaml"):
        assert command("cp", "quickstart", target).status == 0
        names.append(experiment(f"./{target}").name)  # as it was shipped
        path = tmp_path / target
        path.write_text(f"{path.read_text()}\nnotes: mine\n" if "notes:" not in path.read_text() else "")
        names.append(experiment(f"./{target}").name)
    assert names == ["quickstart", "quickstart-edited", "quickstart", "wider"]


def test_auto_tells_which_positions_were_left_out_and_goes_on_where_it_stopped(
    command: Command, tmp_path: Path
) -> None:
    constructor = "    def __init__(self, width):\n        super().__init__(width, width)\n"
    (tmp_path / "own.py").write_text(f"from torch import nn\nclass Own(nn.Linear):\n{constructor}")
    words = ("sweep", *TINY, "--attn", "softmax,own.py:Own", "--pos", "auto", "--seeds", "1")
    planned = command(*words, "--dry-run")
    assert planned.status == 0, planned.error
    assert "Left out: own.py:Own with rotary. " in planned.error
    assert "14 runs, 0 already done" in planned.out  # four positions of softmax and three of the other, on two levels
    assert command("sweep", *TINY, "--attn", "softmax", "--pos", "rotary", "--seeds", "1").status == 0
    result = command(*words)
    assert result.status == 0, result.error
    assert "14 runs, 2 done already" in result.error
    assert "in each cell, the one with a *" in result.out
    assert command("report", "copy").out in result.out
