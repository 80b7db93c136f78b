"""A part whose code is changed is another run: it is run anew, and what was run before is told apart."""

from __future__ import annotations

import json
import linecache
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import attnlab
from attnlab.analysis.records import records as reported
from attnlab.attention import ATTENTIONS
from attnlab.errors import InvalidValueError, PluginError, UnknownNameError
from attnlab.execution._inline import Inline
from attnlab.execution.jobs import Failed, Job, Message, WorkerSettings, run_job
from attnlab.metrics import METRICS
from attnlab.plugins import load_plugin, plugin_module
from attnlab.position import POSITIONS
from attnlab.records import Record
from attnlab.registry import Registry
from attnlab.rendering.status import Overview, reasons
from attnlab.storage.status import store_status
from attnlab.tasks import TASKS
from tests.rendering.capture import drawn

ATTENTION = """
from attnlab import Attention, register_attention
from factor import FACTOR

@register_attention("changing", source="tests")
class Changing(Attention):
    def score(self, qkv):
        return FACTOR * super().score(qkv)
"""
POSITION = """
from attnlab.position import Position, register

@register("changing", source="tests")
class Changing(Position):
    def embed(self, tokens_BTD):
        return {factor} * tokens_BTD
"""
TASK = """
from attnlab.tasks import register
from attnlab.tasks.copying import Copy

@register("changing", source="tests")
class Changing(Copy):
    \"\"\"Copy.\"\"\"

    factor = {factor}
"""
MODEL = {"layers": 1, "width": 8, "heads": 1}
TRAIN = {"max_steps": 3, "batch_size": 4, "validation_examples": 4, "test_examples": 32, "eval_every": 3}


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    registries: list[Registry[Any]] = [ATTENTIONS, POSITIONS, TASKS]
    before = [dict(registry._entries) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry._entries.clear()
        registry._entries.update(entries)


def load(folder: Path, factor: float) -> Path:
    (folder / "factor.py").write_text(f"FACTOR = {factor}\n")
    (folder / "mine.py").write_text(ATTENTION)
    load_plugin(folder / "mine.py")
    return folder / "mine.py"


def sweep(folder: Path) -> list[Record]:
    return attnlab.sweep(
        "copy", "changing", complexity=[4], seeds=1, model=MODEL, train=TRAIN, store=folder, executor="inline"
    )


def test_a_changed_module_beside_the_file_is_another_run(tmp_path: Path) -> None:
    store = tmp_path / "store"
    load(tmp_path, 1.0)
    (before,) = sweep(store)
    load(tmp_path, -8.0)
    (after,) = sweep(store)
    (fresh,) = sweep(tmp_path / "fresh")
    assert before.id != after.id
    assert before.numbers() != after.numbers()
    assert after.numbers() == fresh.numbers()
    load(tmp_path, 1.0)
    assert sweep(store) == [before]


def test_the_record_has_path_and_digest_and_the_status_says_what_has_changed(tmp_path: Path) -> None:
    store = tmp_path / "store"
    path = load(tmp_path, 1.0)
    (before,) = sweep(store)
    (code,) = before.environment["code"]
    assert (code["kind"], code["name"], code["path"]) == ("attention", "changing", str(path))
    assert code["digest"] == before.spec.model.attention[0].code_digest
    assert (dict(store_status(store).stale), len(store_status(store).done)) == ({}, 1)
    (tmp_path / "factor.py").write_text("FACTOR = 2.0")
    reason = f"the code of the attention 'changing' has changed, {tmp_path / 'factor.py'}"
    assert store_status(store).stale == {before.id: reason}
    load(tmp_path, 2.0)
    (after,) = sweep(store)
    status = store_status(store)
    assert (status.stale, status.done) == ({before.id: reason}, (after,))
    assert [record.id for record in reported(store)] == [after.id]
    path.unlink()
    assert dict(store_status(store).stale).keys() == {before.id}, "the plan tells what has changed"


def test_without_a_plan_the_last_of_two_runs_is_reported(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {
        "model": MODEL,
        "train": TRAIN,
        "store": tmp_path / "store",
        "device": "cpu",
        "resume": True,
    }
    load(tmp_path, 1.0)
    (before,) = attnlab.train("copy", "changing", complexity=4, **arguments)
    load(tmp_path, 2.0)
    (after,) = attnlab.train("copy", "changing", complexity=4, **arguments)
    assert before.id != after.id
    assert [record.id for record in reported(tmp_path / "store")] == [after.id]


def test_old_weights_are_not_evaluated_with_new_code(tmp_path: Path) -> None:
    store = tmp_path / "store"
    path = load(tmp_path, 1.0)
    (record,) = sweep(store)
    assert len(attnlab.evaluate(record, store=store, device="cpu")) == 1
    load(tmp_path, 2.0)
    message = rf"other code of the attention 'changing' than that in {path}"
    for use in (attnlab.evaluate, attnlab.load_model):
        with pytest.raises(InvalidValueError, match=message):
            use(record, store=store)
    with pytest.raises(InvalidValueError, match=message):
        attnlab.diagnose(record, store=store)


@pytest.mark.parametrize(("kind", "text"), [("position", POSITION), ("task", TASK)])
def test_positions_and_tasks_have_code_too(kind: str, text: str, tmp_path: Path) -> None:
    ids = set()
    for factor in (1.0, 2.0, 1.0):
        (tmp_path / "mine.py").write_text(text.format(factor=factor))
        load_plugin(tmp_path / "mine.py")
        task, position = ("changing", "none") if kind == "task" else ("copy", "changing")
        (record,) = attnlab.train(task, position=position, model=MODEL, train=TRAIN, store=None, device="cpu")
        ids.add(record.id)
        assert [part["kind"] for part in record.environment["code"]] == [kind]
    assert len(ids) == 2


def test_a_subtask_of_a_mixture_has_code_too(tmp_path: Path) -> None:
    ids = set()
    for factor in (1.0, 2.0):
        (tmp_path / "mine.py").write_text(TASK.format(factor=factor))
        load_plugin(tmp_path / "mine.py")
        task = "mixture:tasks=[copy,changing]"
        (record,) = attnlab.train(task, model=MODEL, train=TRAIN, store=tmp_path / "store", device="cpu")
        ids.add(record.id)
        if factor == 1.0:
            first = record
    assert len(ids) == 2
    with pytest.raises(InvalidValueError, match="other code of the task 'changing'"):
        attnlab.evaluate(first, store=tmp_path / "store")


def test_a_worker_with_other_code_than_was_planned_runs_nothing(tmp_path: Path) -> None:
    load(tmp_path, 1.0)
    (record,) = sweep(tmp_path / "store")
    load(tmp_path, 2.0)
    sent: list[Message] = []
    run_job(Job(record.id, (record.spec,)), Inline(WorkerSettings()).settings, sent.append)
    (failed,) = sent
    assert isinstance(failed, Failed)
    assert "the attention 'changing' has changed since the sweep was planned" in failed.reason


def test_where_a_part_is_not_known_the_file_that_registers_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = load(tmp_path, 1.0)
    (record,) = sweep(tmp_path / "store")
    del ATTENTIONS._entries["changing"]
    for use in (attnlab.evaluate, attnlab.load_model, attnlab.diagnose):
        with pytest.raises(UnknownNameError) as caught:
            use(record, store=tmp_path / "store")
        assert caught.value.where == f"run {record.id}"
        lines = caught.value.hint.splitlines()
        assert lines[0] == f"The code of 'changing' was in {path}."
        assert lines[1].startswith(f"Add --plugin {path}: attnlab ")
        assert lines[1].endswith(f"{record.id} --store {tmp_path / 'store'} --plugin {path}")
        assert ("attnlab diagnose rank-collapse --run " in lines[1]) == (use is attnlab.diagnose)
        assert lines[2] == f'In Python, before this call: attnlab.load_plugin("{path}")'
    monkeypatch.chdir(tmp_path)
    for change, said in ((lambda: load(tmp_path, 2.0), "has changed since"), (path.unlink, "is no longer there")):
        change()
        ATTENTIONS._entries.pop("changing", None)
        with pytest.raises(UnknownNameError, match=rf"(?s)was in {path.name}\. .*{said}.*--plugin {path.name}\n"):
            attnlab.load_model(record, store=tmp_path / "store")


def test_the_advised_command_has_the_options_that_were_given(tmp_path: Path) -> None:
    path = load(tmp_path, 1.0)
    (record,) = sweep(tmp_path / "store")
    del ATTENTIONS._entries["changing"]
    with pytest.raises(UnknownNameError) as caught:
        attnlab.evaluate(record, complexity=[4, 5], sequences=8, store=tmp_path / "store", device="cpu")
    expected = f" --complexity 4,5 --sequences 8 --device cpu --plugin {path}"
    assert caught.value.hint.splitlines()[1].endswith(expected)


SCRIPT_CLASS = """
from torch import nn

class Mixer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.projection = nn.Linear(dim, dim{bias})

    def forward(self, x):
        return self.projection(x)
"""


def define(text: str, name: str, monkeypatch: pytest.MonkeyPatch) -> type:
    """Run the text of a class as an interactive session does."""
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), main.__dict__)
    cls: type = main.__dict__["Mixer"]
    return cls


def test_a_run_of_a_class_of_a_session_is_loaded_where_the_class_is_defined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: dict[str, Any] = {"model": MODEL, "train": TRAIN, "store": tmp_path / "store", "device": "cpu"}
    first = define(SCRIPT_CLASS.format(bias=""), "<input-1>", monkeypatch)
    (record,) = attnlab.train("copy", first, complexity=4, **arguments)
    del ATTENTIONS._entries["Mixer"]
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    with pytest.raises(UnknownNameError, match=r"(?s)'Mixer' was a class of .*Define it with the same code") as caught:
        attnlab.load_model(record, store=tmp_path / "store")
    assert "--plugin" not in caught.value.hint
    again = define(SCRIPT_CLASS.format(bias=""), "<input-2>", monkeypatch)
    model = attnlab.load_model(record, store=tmp_path / "store")
    assert sum(isinstance(one, again) for one in model.modules()) == MODEL["layers"]
    del ATTENTIONS._entries["Mixer"]
    define(SCRIPT_CLASS.format(bias=", bias=False"), "<input-3>", monkeypatch)
    with pytest.raises(InvalidValueError, match="other code of the attention 'Mixer'"):
        attnlab.load_model(record, store=tmp_path / "store")


def test_no_record_holds_a_metric_of_a_plugin() -> None:
    from attnlab.training._log_diagnostics import ATTENTION_METRICS, RANK_METRICS

    logged = [METRICS[name].measure.__module__ for name in (*RANK_METRICS, *ATTENTION_METRICS)]
    assert all(module.startswith("attnlab.") for module in logged)


NOTEBOOK = """
import json, attnlab
from attnlab import Attention, register_attention

{first}
FACTOR = {factor}

def scaled(scores):
    return FACTOR * scores

@register_attention("mine", source="tests")
class Mine(Attention):
    def score(self, qkv):
        return scaled(super().score(qkv))

records = attnlab.sweep("copy", "mine", complexity=[4], seeds=2, model={model}, train={train}, store="{store}",
    executor="{executor}", device="cpu")
print(json.dumps([[one.id, one.status, one.reason, one.accuracy.correct] for one in records]))
"""


def notebook(
    folder: Path, factor: float, executor: str, first: str = "", store: str = ""
) -> subprocess.CompletedProcess[str]:
    place = folder / (store or executor)
    script = NOTEBOOK.format(factor=factor, executor=executor, first=first, model=MODEL, train=TRAIN, store=place)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_a_class_of_a_notebook_is_sent_to_workers(tmp_path: Path) -> None:
    here, there = (json.loads(notebook(tmp_path, 1.0, executor).stdout) for executor in ("inline", "processes:1"))
    assert here == there
    assert [status for _, status, *_ in there] == ["done", "done"]
    changed = json.loads(notebook(tmp_path, -8.0, "processes:1").stdout)
    assert {id for id, *_ in changed}.isdisjoint(id for id, *_ in there)


@pytest.mark.parametrize("word", ["script.py", "-"])
def test_a_script_needs_no_main_guard_and_may_be_standard_input(tmp_path: Path, word: str) -> None:
    script = NOTEBOOK.format(
        factor=1.0, executor="processes:1", first="", model=MODEL, train=TRAIN, store=tmp_path / "s"
    )
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, word], input=script, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert [status for _, status, *_ in json.loads(done.stdout)] == ["done", "done"]
    assert done.stderr == ""


def test_a_class_that_cannot_be_sent_is_refused_before_the_first_run(tmp_path: Path) -> None:
    first = "import threading\nLOCK = threading.Lock()\nclass Held:\n    lock = LOCK"
    text = NOTEBOOK.replace("FACTOR * scores", "FACTOR * scores if Held.lock else scores")
    script = text.format(
        factor=1.0, executor="processes:1", first=first, model=MODEL, train=TRAIN, store=tmp_path / "s"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "PluginError" in done.stderr
    assert "attention mine\n  The attention 'mine' cannot be sent to workers: TypeError: " in done.stderr
    assert "inline" in done.stderr
    assert not (tmp_path / "s").exists()


LATE = """
from pathlib import Path

from attnlab import Attention, register_attention

@register_attention("changing", source="tests")
class Changing(Attention):
    def score(self, qkv):
        from factor import FACTOR
        import importlib
        power = importlib.import_module("power").POWER
        return FACTOR**power * super().score(qkv) + float((Path(__file__).parent / "shift.txt").read_text())
"""


def write_late(folder: Path, **values: float) -> Path:
    """Write a plugin whose functions import modules and read a file."""
    texts = {"factor": "FACTOR = {}", "power": "POWER = {}", "shift": "{}"}
    for name, value in {"factor": 2.0, "power": 1.0, "shift": 0.0, **values}.items():
        (folder / f"{name}.{'txt' if name == 'shift' else 'py'}").write_text(texts[name].format(value))
    (folder / "mine.py").write_text(LATE)
    return folder / "mine.py"


def sweep_line(path: Path, executor: str) -> tuple[int, str]:
    """Run a sweep by the command line, and its store below the folder of the plugin."""
    model = ["--layers", "1", "--width", "8", "--heads", "1", "--steps", "2", "--batch", "4"]
    line = ["sweep", "--plugin", str(path), "--task", "copy", "--attn", "changing", "--complexity", "4", "--seeds", "1"]
    more = ["--executor", executor, "--store", str(path.parent / "store"), "--set", "train.test_examples=32"]
    done = subprocess.run(
        [sys.executable, "-m", "attnlab", *line, *model, *more], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_late_imports_and_data_work_in_workers_and_the_file_that_changed_is_named(tmp_path: Path) -> None:
    path, store = write_late(tmp_path), tmp_path / "store"
    assert sweep_line(path, "processes:1")[0] == 0
    (before,) = store_status(store).done
    assert before.environment["code"][0]["files"].keys() == {"", "factor.py", "power.py", "shift.txt"}
    for name, value in (("factor", 3.0), ("power", 2.0), ("shift", 1.0)):
        write_late(tmp_path, **{name: value})
        (reason,) = store_status(store).stale.values()
        file = tmp_path / ("shift.txt" if name == "shift" else f"{name}.py")
        assert reason == f"the code of the attention 'changing' has changed, {file}"
    (tmp_path / "factor.py").unlink()
    write_late(tmp_path).with_name("power.py").unlink()
    assert store_status(store).stale == {
        before.id: f"the code of the attention 'changing' has changed, {tmp_path / 'power.py'} (gone)"
    }
    write_late(tmp_path)
    assert store_status(store).stale == {}


def test_a_run_that_was_run_again_is_marked_as_stale_and_names_the_other(tmp_path: Path) -> None:
    store = tmp_path / "store"
    load(tmp_path, 1.0)
    (before,) = sweep(store)
    (tmp_path / "factor.py").write_text("FACTOR = 2.0")
    (text,) = (str(one) for one in reasons(store_status(store)))
    assert text.endswith(f"{tmp_path / 'factor.py'}; the same command runs it again")
    load(tmp_path, 2.0)
    (after,) = sweep(store)
    status = store_status(store)
    assert status.replaced == {before.id: after.id}
    (text,) = (str(one) for one in reasons(status))
    assert text.endswith(f"{tmp_path / 'factor.py'}; run again as {after.id}")
    rows = [line for line in drawn(Overview([status]), width=120) if " changing " in line and " % " in line]
    assert len(rows) == 2
    assert [("stale" in row, "solved" in row) for row in rows] == [(True, False), (False, True)]


def test_a_constant_that_the_session_has_set_is_recorded_and_no_worker_runs_without_it(tmp_path: Path) -> None:
    store = tmp_path / "store"
    load(tmp_path, 1.0)
    (before,) = sweep(store)
    sys.modules[plugin_module(tmp_path / "mine.py")].FACTOR = -8.0  # type: ignore[attr-defined]
    (after,) = sweep(store)
    assert before.id != after.id
    (code,) = after.environment["code"]
    assert (code["values"], before.numbers() == after.numbers()) == ({"mine.py: FACTOR": "-8.0"}, False)
    assert (list(store_status(store).stale), store_status(store).done) == ([before.id], (after,))
    assert any("mine.py: FACTOR = -8.0" in line for line in drawn(Overview([store_status(store)]), width=160))
    with pytest.raises(InvalidValueError, match=r"mine.py: FACTOR is -8.0 in this session") as caught:
        attnlab.sweep("copy", "changing", complexity=[4], seeds=1, model=MODEL, train=TRAIN, store=tmp_path / "other")
    assert "inline" in caught.value.hint
    assert not (tmp_path / "other").exists()


def test_an_edited_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    load(tmp_path, 1.0)
    (tmp_path / "factor.py").write_text("FACTOR = 2.0")
    for use in (attnlab.sweep, attnlab.train):
        with pytest.raises(PluginError, match="edited after it was loaded; this session runs its old code") as caught:
            use("copy", "changing", model=MODEL, train=TRAIN, store=tmp_path / "store")
        assert caught.value.where == str(tmp_path / "factor.py")
    assert not (tmp_path / "store").exists()


def test_failed_runs_of_a_sweep_from_python_are_told_by_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OSError("no space")

    monkeypatch.setattr("attnlab.training.run.train_groups", fails)
    sizes: dict[str, Any] = {"complexity": [4], "seeds": 2, "model": MODEL, "train": TRAIN}
    with pytest.warns(UserWarning, match="2 of 2 runs failed; copy .* seed 0: OSError: no space") as caught:
        records = attnlab.sweep("copy", store=tmp_path / "s", executor="inline", device="cpu", **sizes)
    assert [record.status for record in records] == ["failed", "failed"]
    assert len([one for one in caught if "runs failed" in str(one.message)]) == 1
    assert {one.filename for one in caught} == {__file__}
