"""Sizes of a plan that do not fit are refused before anything is built, by the name of the size that is too large."""

from __future__ import annotations

from typing import Any

import pytest

from attnlab.errors import InvalidValueError
from attnlab.experiments import plan as planning
from attnlab.experiments import size_check
from attnlab.experiments.plan import plan
from attnlab.experiments.request import Request, parse_request
from attnlab.sizes import MAX_RUNS
from attnlab.specs import ModelSpec, TaskSpec, TrainSpec
from attnlab.tasks.io import size_check as task_sizes
from attnlab.tasks.io.streams import Source

GIGABYTE = 10**9


@pytest.fixture(autouse=True)
def _one_gigabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every machine has one gigabyte here, and nothing is tried: what is refused is refused before."""
    for module in (size_check, task_sizes):
        monkeypatch.setattr(module, "available_memory", lambda: GIGABYTE)
    monkeypatch.setattr("attnlab.sizes.available_memory", lambda: GIGABYTE)
    monkeypatch.setattr(planning, "try_run", lambda *arguments: pytest.fail("a model was built"))


def request(task: str = "copy:symbols=2", attention: str | None = None, **settings: Any) -> Request:
    nested: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        section, _, name = key.partition("_")
        nested.setdefault(section, {})[name] = value
    return parse_request(task, attention, settings=nested)


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("model.width", {"model_width": 10**6}),
        ("model.width", {"model_width": 10**18}),
        ("model.layers", {"model_layers": 2000, "model_width": 512}),
        ("model.mlp_ratio", {"model_mlp_ratio": 1e300}),
        ("train.batch_size", {"train_batch_size": 10**15}),
        ("train.validation_examples", {"train_validation_examples": 10**12}),
        ("train.train_examples", {"train_train_examples": 10**12}),
    ],
)
def test_the_size_to_blame_is_named_with_the_largest_that_would_fit(field: str, settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError) as caught:
        plan(request(**settings))
    assert caught.value.where == field
    assert "1 GB are available" in caught.value.problem
    fits = int(caught.value.hint.split()[1].replace(",", ""))
    assert fits > 0
    check(field, settings, fits)  # which is not refused
    with pytest.raises(InvalidValueError, match="available"):
        check(field, settings, int(fits * 1.05) + 4)


def check(field: str, settings: dict[str, Any], value: float) -> None:
    """Check the sizes with another value of one field."""
    section, _, name = field.partition(".")
    data: dict[str, dict[str, Any]] = {"model": {}, "train": {}}
    for key, given in settings.items():
        data[key.partition("_")[0]][key.partition("_")[2]] = given
    data[section][name] = float(value) if name == "mlp_ratio" else int(value) // 4 * 4 if name == "width" else value
    model, train = ModelSpec.model_validate(data["model"]), TrainSpec.model_validate(data["train"])
    size_check.check_sizes(model, train, Source(TaskSpec(name="copy", options={"symbols": 2}), 0))


def test_an_option_of_a_part_is_named() -> None:
    with pytest.raises(InvalidValueError, match="The largest option is 'width' of dape, which is 1,000,000,000"):
        plan(request(attention="dape:width=1000000000"))


def test_a_task_is_refused_by_its_largest_option() -> None:
    with pytest.raises(InvalidValueError, match=r"'alphabet' = 99,999,999,999 would take .*\n.*At most 62,500,000"):
        plan(request("copy:alphabet=99999999999"))
    with pytest.raises(InvalidValueError, match="'vocabulary' is 60,000,000"):
        plan(request("recall:vocabulary=60000000"))
    with pytest.raises(InvalidValueError, match="larger than 2\\^64"):
        plan(request("copy:alphabet=99999999999999999999"))


def test_layers_and_runs_have_limits() -> None:
    with pytest.raises(InvalidValueError, match="These are 1,000,000,000 layers; at most 2,000"):
        plan(request(model_layers=10**9))
    with pytest.raises(InvalidValueError, match="Use at most 1,000,000 seeds"):
        plan(parse_request("copy", seeds=range(MAX_RUNS + 1)))
    with pytest.raises(InvalidValueError, match="as a seed"):
        plan(parse_request("copy", seeds=range(2**63, 2**63 + 1)))


def test_a_plain_request_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size_check, "model_bytes", lambda *sizes, **more: pytest.fail("a model was counted"))
    size_check.check_sizes(ModelSpec(), TrainSpec(), Source(TaskSpec(name="copy"), 0))
