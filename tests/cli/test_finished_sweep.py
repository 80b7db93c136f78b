"""A sweep of which all runs are finished is recognized by what its plan was made of, and by nothing less."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from attnlab.config.experiment import Experiment, experiment
from attnlab.experiments import expand as expanding
from attnlab.experiments import finished_sweep
from attnlab.experiments.finished_sweep import finished_records, planned_from
from attnlab.storage import Store
from attnlab.storage.status import plan_digest, planned_ids, read_plan
from tests.cli.conftest import Command
from tests.cli.test_sweep import TINY

PUBLISHED = """\
published:
  - table: Table 1
    source: arXiv:1
    quantity: accuracy
    values: [{of: {attention: {name: gpam}, level: [1, 2]}, value: 0.5}]
    differs: Theirs is larger.
"""
WORDS = ["sweep", *TINY, "--attn", "softmax,gpam", "--seeds", "2"]
TEXT = """\
name: mine
question: Does it?
ladders: [{{ladder: {ladder}, levels: [1, 2]}}]
grid: {{attention: [softmax, gpam]}}
seeds: {seeds}
model: {{width: 8, layers: 1}}
train: {{max_steps: 3, batch_size: 4, test_examples: 8, validation_examples: 4}}
"""
OWN = """\
from attnlab import Attention

class Mine(Attention):
    pass
"""


def written(folder: Path, more: str = "", ladder: str = "copy", seeds: int = 2) -> Experiment:
    path = folder / "mine.yaml"
    path.write_text(TEXT.format(ladder=ladder, seeds=seeds) + more)
    return experiment(str(path))


@pytest.fixture
def planless(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts how often a sweep is planned."""
    found: list[int] = []
    expand = expanding.expand

    def counted(*args: object) -> object:
        found.append(1)
        return expand(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(expanding, "expand", counted)
    return found


def test_it_is_not_planned_again_and_says_the_same(command: Command, tmp_path: Path, planless: list[int]) -> None:
    first = command(*WORDS)
    assert (first.status, len(planless)) == (0, 1)
    store = tmp_path / "results/copy"
    (store / "checkpoints").mkdir(exist_ok=True)
    left = store / "checkpoints" / f"{planned_ids(store)[0]}.safetensors"
    left.write_bytes(b"")
    again = command(*WORDS)
    assert (again.status, again.out, len(planless)) == (0, first.out, 1)
    assert "copy: 8 runs, 8 done already; nothing to run; results/copy/" in again.error
    assert not left.exists()
    data = command(*WORDS, "--json", "--quiet")
    assert [json.loads(line)["id"] for line in data.out.splitlines()] == [run.id for run in read_plan(store)]
    assert (data.error, len(planless)) == ("", 1)
    assert "--quiet" in json.loads((store / "provenance.json").read_text())["command"]


def test_published_values_are_in_both_reports(command: Command, tmp_path: Path, planless: list[int]) -> None:
    written(tmp_path, PUBLISHED)
    first, again = (command("sweep", "./mine.yaml") for _ in range(2))
    assert (first.status, again.status, len(planless)) == (0, 0, 1)
    assert "published values  arXiv:1, Table 1: accuracy" in first.out
    assert again.out == first.out


def test_it_does_not_import_torch(command: Command, tmp_path: Path) -> None:
    assert command(*WORDS).status == 0
    code = "import sys\nfrom attnlab.cli import main\ntry:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code, *WORDS], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    "change", ["a record", "seeds", "the source", "the experiment", "the plan", "lines of the plan"]
)
def test_it_is_planned_where_anything_is_another(
    change: str, command: Command, tmp_path: Path, planless: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(*WORDS).status == 0
    store, words = tmp_path / "results/copy", [*WORDS]
    if change == "a record":
        lines = (store / "records.jsonl").read_bytes().splitlines(keepends=True)
        (store / "records.jsonl").write_bytes(b"".join(lines[1:]))
    elif change == "seeds":
        words[-1] = "1"
    elif change == "the source":
        monkeypatch.setattr(finished_sweep, "_source", lambda: b"another")
    elif change == "the experiment":
        data = json.loads((store / "experiment.json").read_text())
        (store / "experiment.json").write_text(json.dumps({**data, "question": "Which?"}))
    elif change == "the plan":
        (store / "plan.jsonl").unlink()
    else:
        lines = (store / "plan.jsonl").read_bytes().splitlines(keepends=True)
        (store / "plan.jsonl").write_bytes(b"".join(lines[:-1]))
    again = command(*words)
    assert (again.status, len(planless)) == (0, 2), again.error
    assert len((store / "records.jsonl").read_bytes().splitlines()) == 8
    assert command(*words).out == again.out
    assert len(planless) == (2 if change != "lines of the plan" else 3)  # write_plan goes by the first line


def test_own_parts_are_planned_each_time(command: Command, tmp_path: Path, planless: list[int]) -> None:
    (tmp_path / "own.py").write_text(OWN)
    words = ["sweep", *TINY, "--attn", "own.py:Mine", "--seeds", "1"]
    for count in (1, 2):
        result = command(*words)
        assert (result.status, len(planless)) == (0, count), result.error
    assert plan_digest(tmp_path / "results/copy") == ("", 0)


def test_what_else_decides_the_plan_leaves_no_digest(tmp_path: Path) -> None:
    plain = planned_from(written(tmp_path))
    assert len(plain) == 64
    assert planned_from(written(tmp_path)) == plain
    assert planned_from(written(tmp_path, seeds=3)) not in ("", plain)
    assert planned_from(written(tmp_path, ladder="recall")) not in ("", plain)
    for more in ("until: decided\n", "match: parameters\n", "zip: [{train.precision: [auto, float32], lr: [1, 2]}]\n"):
        assert planned_from(written(tmp_path, more)) == "", more
    assert planned_from(written(tmp_path, ladder="text")) == ""  # a file of the user's
    (tmp_path / "copy.yaml").write_text("name: copy")
    assert planned_from(written(tmp_path, ladder=str(tmp_path / "copy.yaml"))) == ""


def test_a_store_without_a_plan_or_with_a_damaged_one_is_not_recognized(tmp_path: Path) -> None:
    wanted, store = written(tmp_path), Store(tmp_path / "store")
    digest = planned_from(wanted)
    assert finished_records(wanted, store, digest) is None
    store.open()
    for text in ("{", "[]\n", '{"planned_from": 3}\n', json.dumps({"planned_from": digest}) + "\n{\n"):
        (store.path / "plan.jsonl").write_text(text)
        assert finished_records(wanted, store, digest) is None
    assert finished_records(wanted, store, "") is None
