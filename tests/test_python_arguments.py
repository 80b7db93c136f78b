"""Arguments of the functions for Python: what is no count is refused, and numbers of numpy are numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import attnlab
from attnlab._api._python_words import python_text, python_where
from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.rendering.notebook import WIDTH

FAST: dict[str, Any] = {
    "model": {"layers": 1, "width": 8, "heads": 1},
    "train": {"max_steps": 2, "batch_size": 4, "validation_examples": 4, "test_examples": 4},
    "device": "cpu",
}
TINY: dict[str, Any] = {"model": {"layers": 1, "width": 8}, "length": 8}


TRAIN: Callable[..., Any] = attnlab.train
SWEEP: Callable[..., Any] = attnlab.sweep
CHECK: Callable[..., Any] = attnlab.check
LOAD_RECORDS: Callable[..., Any] = attnlab.load_records
"""The functions without their types."""


@pytest.mark.parametrize(
    ("call", "where"),
    [
        (lambda: TRAIN("copy", seeds=0, store=None, **FAST), "seeds"),
        (lambda: TRAIN("copy", seeds=-1, store=None, **FAST), "seeds"),
        (lambda: TRAIN("copy", seeds=1.5, store=None, **FAST), "seeds"),
        (lambda: TRAIN("copy", seeds="2", store=None, **FAST), "seeds"),
        (lambda: TRAIN("copy", seeds=True, store=None, **FAST), "seeds"),
        (lambda: TRAIN("copy", seed=-1, store=None, **FAST), "seed"),
        (lambda: TRAIN("copy", store="", **FAST), "store"),
        (lambda: attnlab.sweep("copy", seeds=0, **FAST), "seeds"),
        (lambda: attnlab.sweep("copy", store="", **FAST), "store"),
        (lambda: attnlab.diagnose(attention="softmax", seeds=0, **TINY), "seeds"),
        (lambda: attnlab.diagnose(attention="softmax", batch=0, **TINY), "batch"),
        (lambda: attnlab.audit("copy", samples=0), "samples"),
        (lambda: attnlab.audit("copy", seed=-1), "seed"),
        (lambda: attnlab.evaluate("abc", sequences=0), "sequences"),
        (lambda: CHECK([]), "attention"),
        (lambda: attnlab.report("there is no such folder"), "there is no such folder"),
    ],
)
def test_what_is_no_count_is_refused(call: Callable[[], Any], where: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        call()
    assert caught.value.where == where


PATHS: tuple[Any, ...] = (None, True, 1.5, b"results", "", "a\0b", {})
FUNCTIONS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "train": (attnlab.train, {"task": "copy", "store": None, **FAST}),
    "sweep": (attnlab.sweep, {"task": "copy", "complexity": [4], "executor": "inline", **FAST}),
    "diagnose": (attnlab.diagnose, {"attention": "softmax", **TINY}),
    "evaluate": (attnlab.evaluate, {"run": "abc"}),
    "report": (attnlab.report, {}),
    "check": (attnlab.check, {}),
    "audit": (attnlab.audit, {"task": "copy", "complexity": 4}),
    "load_records": (attnlab.load_records, {}),
    "load_run": (attnlab.load_run, {"run": "abc"}),
    "load_model": (attnlab.load_model, {"run": "abc"}),
    "load_plugin": (attnlab.load_plugin, {}),
    "make_task": (attnlab.make_task, {"task": "copy"}),
}
WRONG: dict[str, tuple[Any, ...]] = {
    "train task": (None, ["copy"], Path("copy.yaml"), 3, b"copy"),
    "train attention": (1.5, Path("a.py"), {"softmax": 1}, {"softmax", "linear"}, b"softmax"),
    "train position": (1.5, [None], {"rotary": 1}, {"rotary", "none"}, max),
    "train model": (3, {1: 2}, {"a", "b"}),
    "train train": ("max_steps=3", [("max_steps", 3)], 3, {1: 2}),
    "train options": ("length=3", [("length", 3)], 3, {1: 2}),
    "train match": ("size", True, ["flops"]),
    "train store": PATHS[1:],
    "train device": (None, 0, ["cpu"]),
    "train vmap": (None, 0, -1, True, False, 1.5, "8"),
    "train compile": (None, True, False, "yes"),
    "train threads": (0, -1, True, "2", 1.5),
    "train resume": (None, 2, "no", [True]),
    "train continue_from": (3, ["abc"], Path("abc")),
    "train track": (3, [None], {"tensorboard": 1}),
    "train progress": (None, "yes"),
    "train seed": (np.arange(2), None, 2**63),
    "sweep task": (None, [], [None], 3, Path("copy.yaml"), {"copy": 1}),
    "sweep complexity": (b"2", {2: 4}, {2, 4}, max),
    "sweep grid": ([("lr", [1e-3])], "lr=1e-3", {1: [2]}),
    "sweep executor": (None, 2, ["inline"]),
    "sweep slurm": (3, [("partition", "gpu")]),
    "sweep vmap": (0, True, 1.5, -1),
    "sweep until": ("done", True),
    "sweep equal": ("little", float("nan"), True),
    "diagnose kind": ("heat", 3, ["gradients"]),
    "diagnose loss": (3, "loss"),
    "diagnose position": (3, [None]),
    "diagnose task": (["copy"], 3),
    "diagnose only": (3, [None]),
    "diagnose attention_map": (1.1, [1, 1]),
    "diagnose control": (None, "yes"),
    "diagnose branch_gain": ("1", True, float("inf")),
    "diagnose options": ("length=3", {1: 2}),
    "diagnose batch": (2**63,),
    "diagnose store": PATHS,
    "evaluate run": (None, 3, ["abc"]),
    "evaluate length": (0, 1.5, "64", [None], {64}),
    "evaluate complexity": (b"2", {2: 4}),
    "evaluate extrapolation": (None, "far"),
    "evaluate rollout": (2, "yes"),
    "evaluate store": PATHS,
    "evaluate device": (None, 0),
    "report results": (None, 3, ["first", "second"], [Path("first")], "", {}),
    "report published": (None, "yes"),
    "report metric": (3, ["accuracy"]),
    "report index": (3, [None]),
    "report columns": (3, ["seed"]),
    "check attention": (3, Path("a.py")),
    "audit task": (None, ["copy"]),
    "audit options": ("length=3", {1: 2}),
    "load_records store": (*PATHS, [None], ["results", ""]),
    "load_records published": (None, "yes"),
    "load_run run": (None, 3, ["abc"]),
    "load_run store": (*PATHS, ["results"]),
    "load_model run": (None, 3),
    "load_model store": PATHS,
    "load_plugin path": (*PATHS, 3),
    "make_task task": (None, ["copy"]),
    "make_task options": ("length=3", {1: 2}),
}
"""Function and argument -> what it is not."""


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        pytest.param(name, value, id=f"{name} {number}")
        for name, values in WRONG.items()
        for number, value in enumerate(values)
    ],
)
def test_what_is_of_another_kind_is_refused_before_anything_is_written(
    argument: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    function, given = FUNCTIONS[argument.split()[0]]
    name = argument.split()[1]
    with pytest.raises(AttnlabError) as caught:
        function(**{**given, name: value})
    assert caught.value.where == name
    assert caught.value.problem
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_field_of_a_grid_without_values_is_named() -> None:
    with pytest.raises(InvalidValueError) as caught:
        SWEEP("copy", grid={"lr": None}, **FAST)
    assert str(caught.value) == (
        "grid['lr']\n  It cannot be None.\n  Give its values as a list, or one value, such as {'lr': [1e-3, 3e-3]}."
    )


def test_runs_to_compare_are_records_and_ids() -> None:
    compare: Callable[..., Any] = attnlab.compare
    for wrong in (None, 3, ["abc", None], {"abc": 1}):
        with pytest.raises(InvalidValueError) as caught:
            compare("abc", wrong)
        assert caught.value.where == "runs"


def test_an_argument_that_does_not_exist_is_an_error_of_python() -> None:
    with pytest.raises(TypeError, match=r"train\(\) got an unexpected keyword argument 'seedz'"):
        TRAIN("copy", seedz=3)


def test_one_text_is_one_value_of_a_grid_and_generators_are_lists(tmp_path: Path) -> None:
    how: dict[str, Any] = {"seeds": 1, "executor": "inline", **FAST}
    (alone,) = SWEEP("copy", complexity=2, grid={"position": "rotary"}, store=tmp_path / "one", **how)
    assert str(alone.spec.model.position) == "rotary"
    seen: list[Any] = []
    records = SWEEP(
        (word for word in ["copy"]),
        (word for word in ["softmax", "linear"]),
        complexity=(level for level in (2, 4)),
        grid={"lr": (rate for rate in [1e-3])},
        callbacks=(one for one in [seen.append]),
        store=tmp_path / "two",
        **how,
    )
    assert [(record.spec.variant, record.spec.task.level) for record in records] == [
        ("softmax", 2),
        ("linear", 2),
        ("softmax", 4),
        ("linear", 4),
    ]
    assert seen
    texts = SWEEP("copy", "softmax,linear", complexity="2,4", grid={"lr": 1e-3}, store=tmp_path / "three", **how)
    assert [record.id for record in texts] == [record.id for record in records]


def test_devices_of_torch_and_nothing_to_continue_are_accepted() -> None:
    how = {**FAST, "device": torch.device("cpu")}
    (one,) = TRAIN("copy", continue_from=None, resume=np.bool_(False), store=None, **how)
    (other,) = TRAIN("copy", continue_from="", track=None, store=None, **FAST)
    assert one.id == other.id


def test_reports_take_one_field_and_records_come_of_several_stores(tmp_path: Path) -> None:
    first = attnlab.train("copy", "softmax", complexity=2, store=tmp_path / "first", **FAST)
    second = attnlab.train("copy", "linear", complexity=2, store=tmp_path / "second", **FAST)
    both = LOAD_RECORDS([tmp_path / "first", tmp_path / "second", tmp_path / "first", tmp_path])
    assert [record.id for record in both] == [first[0].id, second[0].id]
    one = attnlab.report(both, index="attention")
    assert one.to_pandas().equals(attnlab.report(both, index=["attention"]).to_pandas())
    assert (
        attnlab.report(both, index="attention,width").panels[0].by
        == attnlab.report(both, index=("attention", "width")).panels[0].by
    )
    assert attnlab.load_run(first[0], tmp_path) == first[0]


@pytest.mark.parametrize(
    ("option", "argument"),
    [
        ("--complexity", "complexity"),
        ("--attn", "attention"),
        ("--vmap 3", "vmap=3"),
        ("--executor processes:0", "executor='processes:0'"),
        ("--continue-from 123", "continue_from='123'"),
        ("--sequences", "batch"),
        ("--steps", "train['max_steps']"),
        ("--set task", "options"),
        ("--set train.betas", "train['betas']"),
        ("--slurm-time", "slurm['time']"),
        ("--unknown 3", "--unknown 3"),
        ("file.yaml:3: --vmap", "file.yaml:3: --vmap"),
    ],
)
def test_a_location_names_the_argument(option: str, argument: str) -> None:
    names = ("complexity", "attention", "vmap", "executor", "continue_from", "batch", "train", "options", "slurm")
    assert python_where(option, names) == argument


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("Add --until decided.", "Add until='decided'."),
        ("Leave --vmap out to train.", "Leave vmap out to train."),
        ("Without --until it has no meaning.", "Without until it has no meaning."),
        ("add --resume to go on", "add resume=True to go on"),
        ("fits: add --set train.batch_size=16.", "fits: add train={'batch_size': 16}."),
        ("Add --set model.modifiers.qk_norm=true.", "Add model={'modifiers': {'qk_norm': True}}."),
        ("Give more: --steps 20", "Give more: train={'max_steps': 20}"),
        ("trained: --watch rank,attention.", "trained: train={'log_diagnostics': ['rank', 'attention']}."),
        ("Use noise: --input gaussian.", "Use noise: task=None."),
        ("Try: attnlab train --task recall --vmap 2", "Try: attnlab train --task recall --vmap 2"),
        ("With `attnlab train --resume`, or --resume.", "With `attnlab train --resume`, or resume=True."),
        ("Wait with --wait, or --vmap.", "Wait with --wait, or vmap."),
    ],
)
def test_problems_and_hints_name_arguments_but_in_commands(text: str, rewritten: str) -> None:
    assert python_text(text, ("until", "vmap", "resume", "train", "model", "task")) == rewritten


def test_errors_of_a_call_name_its_arguments(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError) as caught:
        SWEEP("copy", budget="20m", store=tmp_path / "s", **FAST)
    assert str(caught.value) == "budget\n  Without until it has no meaning.\n  Add until='decided'."
    assert caught.value.args == (caught.value.problem, caught.value.hint, "budget")
    with pytest.raises(AttnlabError) as unknown:
        TRAIN("copy", recipe="muno", store=None)
    assert unknown.value.where == "recipe"


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    fast = {**FAST, "train": {**FAST["train"], "max_steps": np.int32(2), "lr": np.float64(1e-3)}}
    level, seeds = np.int64(4), np.int64(2)
    records = TRAIN("copy", complexity=level, seeds=seeds, seed=np.int64(3), store=tmp_path / "s", **fast)
    same = attnlab.train(
        "copy", complexity=4, seeds=2, seed=3, store=None, **{**FAST, "train": {**fast["train"], "lr": 1e-3}}
    )
    assert [record.id for record in records] == [record.id for record in same]
    scores = attnlab.evaluate(records[0], complexity=np.array([2, 4]), store=tmp_path / "s", device="cpu")
    assert [score.level for score in scores] == [2, 4]


def test_one_level_and_one_value_may_stand_alone(tmp_path: Path) -> None:
    how: dict[str, Any] = {"seeds": 1, "executor": "inline", **FAST}
    (alone,) = attnlab.sweep("copy", complexity=4, grid={"lr": 1e-3}, store=tmp_path / "one", **how)
    (listed,) = attnlab.sweep("copy", complexity=[4], grid={"lr": [1e-3]}, store=tmp_path / "two", **how)
    assert alone.id == listed.id


def test_runs_to_compare_may_be_a_list_and_a_variant_named_twice_is_one(tmp_path: Path) -> None:
    records = attnlab.train("copy", "softmax,softmax,linear", store=tmp_path, **FAST)
    assert [record.spec.variant for record in records] == ["softmax", "linear"]
    assert attnlab.compare(records, store=tmp_path).fields == attnlab.compare(*records, store=tmp_path).fields


def test_results_print_what_a_terminal_shows(tmp_path: Path) -> None:
    records = attnlab.train("copy", store=tmp_path, **FAST)
    report, table = str(attnlab.report(records)), str(records)
    assert "accuracy in % by symbols" in report
    assert "softmax" in table
    assert all(len(line) <= WIDTH for line in (*report.splitlines(), *table.splitlines()))
    assert not report.startswith("Report(")
    assert not table.startswith("[Record(")
