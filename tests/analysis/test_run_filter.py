from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attnlab.analysis.run_filter import parse_filter
from attnlab.analysis.run_rows import RunRow, check_run_field, sort_rows
from attnlab.errors import AttnlabError
from attnlab.run_fields import run_fields
from attnlab.specs import ModelSpec
from tests.rendering.fake_runs import run


def row(width: int, tags: tuple[str, ...] = (), attention: str = "softmax", **more: Any) -> RunRow:
    record = run(**more)
    model = ModelSpec.model_validate({"width": width, "attention": attention})
    if attention == "dape":
        model = ModelSpec.model_validate({"width": width, "attention": {"name": "dape", "kernel": 3}})
    record = record.model_copy(update={"spec": record.spec.model_copy(update={"model": model})})
    return RunRow(record, Path("s"), tags, stale=False, settings=run_fields(record.spec))


ROWS = [
    row(16, seed=0, accuracy=0.25),
    row(32, ("good",), seed=1, accuracy=0.995),
    row(64, ("good", "x"), "dape", seed=2, accuracy=0.5),
    row(64, (), "dape", seed=3, status="failed", reason="out of memory"),
]
FILTERS = [
    ("width>32", [2, 3]),
    ("width>=32 and seed<3", [1, 2]),
    ("model.width=16|32", [0, 1]),
    ("width=16 or width=64 and seed=2", [0, 2]),
    ("(width=16 or width=64) and seed=2", [2]),
    ("not width=64", [0, 1]),
    ("attention=dape", [2, 3]),
    ("attention=dape:kernel=3", [2, 3]),
    ("attention=dape:kernel=5", []),
    ("attention~SOFT", [0, 1]),
    ("tag=good", [1, 2]),
    ("tag!=good", [0, 3]),
    ("tag = x", [2]),
    ("accuracy>=99%", [1]),
    ("accuracy<0.5", [0]),
    ("solved=true", [1]),
    ("status=failed", [3]),
    ('reason="out of memory"', [3]),
    ("failure_mode=solved", [1]),
    ("pairs=4", [0, 1, 2, 3]),
    ("level!=4", []),
    ("modifiers.qk_norm=false", [0, 1, 2, 3]),
    ("lr==3e-3", [0, 1, 2, 3]),
]


@pytest.mark.parametrize(("text", "passing"), FILTERS)
def test_runs_that_pass(text: str, passing: list[int]) -> None:
    test = parse_filter(text, ROWS)
    assert [one.record.spec.seed for one in ROWS if test(one)] == passing


MISTAKES = [
    ("widht>3", "There is no field 'widht'; did you mean 'width'?"),
    ("width>", "After 'width>' a value is missing."),
    ("width", "After 'width' an operator is missing"),
    ("", "A condition is missing."),
    ("=3", "A field is missing before '=3'."),
    ("(width>3", "A parenthesis is not closed."),
    ("width>3 seed=1", "'seed=1' is one word too many."),
    ("width>wide", "'>' compares with one number, and 'wide' is none."),
    ("attention>3", "'attention' is no number: '>' cannot compare it."),
    ("accuracy>90", "'accuracy' is a share from 0 to 1."),
    ("__import__('os').system('true')", "After '__import__' an operator is missing"),
    ("width.__class__=3", "There is no field 'width.__class__'"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_mistake_is_one_block_with_the_filter(text: str, message: str) -> None:
    with pytest.raises(AttnlabError) as caught:
        parse_filter(text, ROWS)
    assert message in caught.value.problem
    assert caught.value.where == f"--where '{text}'"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("field", "seeds"),
    [
        ("accuracy", [1, 2, 0, 3]),
        ("-accuracy", [0, 2, 1, 3]),
        ("width", [0, 1, 2, 3]),
        ("-width", [2, 3, 1, 0]),
        ("tag", [1, 2, 0, 3]),
        ("seconds", [0, 1, 2, 3]),
    ],
)
def test_the_best_metric_comes_first_and_runs_without_the_field_last(field: str, seeds: list[int]) -> None:
    check_run_field(field.removeprefix("-"), ROWS, "--sort")
    assert [one.record.spec.seed for one in sort_rows(ROWS, field)] == seeds
